package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

// cacheFormat names the file's form, which is text, one line after the other:
//
//	{"format":"client-cache/v1","namespace":"flags:v1:","saved_at":…,"meta":{…},"sha256":…}
//	{"key":"receipts:acme","entry":{…}}      one for each entry, or, where signatures count,
//	{"spec":"…","bundle":"…"}                what was signed, base64
//
// sha256 is that of all lines after the first.
const cacheFormat = "client-cache/v1"

// cacheEvery is how often the file is written at most.
const cacheEvery = 10 * time.Second

// errCached is what the cache says of itself as long as it serves.
var errCached = errors.New("serving what was cached")

type cacheHead struct {
	Format    string          `json:"format"`
	Namespace string          `json:"namespace"`
	SavedAt   time.Time       `json:"saved_at"`
	Meta      redisstore.Meta `json:"meta"`
	SHA256    string          `json:"sha256"`
}

type cacheLine struct {
	Key    string         `json:"key,omitzero"`
	Entry  jsontext.Value `json:"entry,omitzero"`
	Spec   []byte         `json:"spec,omitzero"`
	Bundle []byte         `json:"bundle,omitzero"`
}

// withCache puts the cache behind the Redis source that fills it.
func withCache(sources []Source, path string) []Source {
	for i, s := range sources {
		if s.name == redisName {
			cache := Source{name: "cache", open: func(c *Client) (feed, error) { return &cacheFeed{c: c, path: path}, nil }}
			return slices.Insert(slices.Clone(sources), i+1, cache)
		}
	}
	return sources
}

// cacheFeed serves what a former run of the program saved.
type cacheFeed struct {
	c    *Client
	path string
}

func (f *cacheFeed) run(ctx context.Context, to sink) {
	head, d, err := readCache(f.c, f.path)
	if err != nil {
		to.fail(err)
		return
	}
	d.Source = "cache"
	d.Generation, d.Commit, d.Version = head.Meta.Generation, head.Meta.Commit, head.Meta.Version
	d.Digest, d.Environment, d.Revision = head.Meta.Digest, head.Meta.Environment, "cache-"+head.SHA256
	d.savedAt, d.stale = head.SavedAt, fmt.Errorf("%w at %s", errCached, head.SavedAt.Format(time.RFC3339))
	to.install(d)
	<-ctx.Done()
}

// readCache reads and, where signatures count, verifies the file.
func readCache(c *Client, path string) (cacheHead, delivery, error) {
	var head cacheHead
	src, err := os.ReadFile(path)
	if err != nil {
		return head, delivery{}, fmt.Errorf("reading the cache: %w", err)
	}
	first, rest, _ := bytes.Cut(src, []byte("\n"))
	if err := json.Unmarshal(first, &head); err != nil || head.Format != cacheFormat {
		return head, delivery{}, fmt.Errorf("reading the cache %s: not of format %s", path, cacheFormat)
	}
	if sum := sha256.Sum256(rest); hex.EncodeToString(sum[:]) != head.SHA256 {
		return head, delivery{}, fmt.Errorf("reading the cache %s: it is damaged", path)
	}
	if head.Namespace != c.namespace {
		return head, delivery{}, fmt.Errorf("reading the cache %s: it is of namespace %s, not %s", path, head.Namespace, c.namespace)
	}
	if want := c.opts.Environment; want != "" && head.Meta.Environment != want {
		return head, delivery{}, fmt.Errorf("reading the cache %s: it is of environment %q", path, head.Meta.Environment)
	}
	var d delivery
	if c.opts.Verify != nil {
		d, err = readCachedSpec(c, head, rest)
	} else {
		d.compiled, err = readCachedEntries(rest)
	}
	if err != nil {
		return head, delivery{}, fmt.Errorf("reading the cache %s: %w", path, err)
	}
	return head, d, nil
}

func readCachedEntries(lines []byte) (*flags.Snapshot, error) {
	entries := map[flags.Key]flags.Entry{}
	for line := range bytes.Lines(lines) {
		var l cacheLine
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, err
		}
		feature, tenant, ok := bytes.Cut([]byte(l.Key), []byte(":"))
		if !ok {
			return nil, errors.New("it holds a signed spec; set Verify, or remove it")
		}
		e, err := flags.ParseEntry(l.Entry)
		if err != nil {
			return nil, err
		}
		entries[flags.Key{Feature: string(feature), Tenant: string(tenant)}] = e
	}
	return compileMap(entries)
}

func compileMap(entries map[flags.Key]flags.Entry) (*flags.Snapshot, error) {
	return flags.CompileEntries(func(yield func(flags.Key, flags.Entry) bool) {
		for k, e := range entries {
			if !yield(k, e) {
				return
			}
		}
	})
}

func readCachedSpec(c *Client, head cacheHead, line []byte) (delivery, error) {
	var l cacheLine
	if err := json.Unmarshal(line, &l); err != nil || l.Spec == nil {
		return delivery{}, fmt.Errorf("%w: it holds no signed spec", ErrUnverified)
	}
	spec, err := flags.Decode("cached spec", l.Spec)
	if err != nil {
		return delivery{}, err
	}
	f := redisFeed{c: c}
	signers, err := f.verify(redisstore.Live{Meta: head.Meta, Spec: l.Spec, Bundle: l.Bundle}, spec)
	if err != nil {
		return delivery{}, err
	}
	d, err := ofSpec(spec)
	d.Signers = signers
	return d, err
}

// cacheFile writes the file for the Redis source, now and then and at the end.
type cacheFile struct {
	path    string
	saved   time.Time
	meta    redisstore.Meta // what is to be written, when pending
	flags   *flags.Snapshot
	signed  *cacheLine
	pending bool
}

// floor is the generation that was saved last, 0 when there is none. It counts
// only where the file's own attestation holds.
func (f *cacheFile) floor(c *Client) uint64 {
	if c.opts.Verify == nil || len(c.opts.Verify.Reconciler) == 0 {
		return 0
	}
	head, _, err := readCache(c, f.path)
	if err != nil {
		return 0
	}
	return head.Meta.Generation
}

// changed notes what serves and writes it, unless the file is young.
func (f *cacheFile) changed(c *Client, meta redisstore.Meta, compiled *flags.Snapshot, signed *cacheLine) {
	f.meta, f.flags, f.signed, f.pending = meta, compiled, signed, true
	if c.now().Sub(f.saved) >= cacheEvery {
		f.flush(c)
	}
}

// flush writes what was noted. A cache that cannot be written is a nuisance and
// no reason to stop.
func (f *cacheFile) flush(c *Client) {
	if !f.pending {
		return
	}
	f.pending, f.saved = false, c.now()
	if err := f.write(c.namespace, c.now()); err != nil {
		c.log.Warn("the cache cannot be written", slog.String("file", f.path), slog.Any("err", err))
	}
}

func (f *cacheFile) write(namespace string, now time.Time) error {
	var body bytes.Buffer
	enc := func(l cacheLine) error {
		b, err := json.Marshal(l)
		if err == nil {
			body.Write(append(b, '\n'))
		}
		return err
	}
	if f.signed != nil {
		if err := enc(*f.signed); err != nil {
			return err
		}
	} else {
		for k, e := range f.flags.Entries() {
			if err := enc(cacheLine{Key: k.String(), Entry: e.AppendJSON(nil)}); err != nil {
				return err
			}
		}
	}
	sum := sha256.Sum256(body.Bytes())
	head, err := json.Marshal(cacheHead{cacheFormat, namespace, now.UTC(), f.meta, hex.EncodeToString(sum[:])})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	w := bufio.NewWriter(tmp)
	w.Write(append(head, '\n'))
	w.Write(body.Bytes())
	if err := errors.Join(w.Flush(), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), f.path)
}
