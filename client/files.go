package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/signing"
)

// fixedFeed delivers once.
type fixedFeed struct{ d delivery }

func (f fixedFeed) run(ctx context.Context, to sink) {
	to.install(f.d)
	<-ctx.Done()
}

func newStaticFeed(c *Client, src []byte) (feed, error) {
	spec, err := flags.Decode("static", src)
	if err != nil {
		return nil, err
	}
	if err := c.opts.ofEnvironment(spec, nil); err != nil {
		return nil, err
	}
	d, err := ofSpec(spec)
	return fixedFeed{d}, err
}

// ofSpec is what a spec says of itself.
func ofSpec(spec *flags.Spec) (delivery, error) {
	compiled, err := flags.Compile(spec)
	return delivery{
		Snapshot: Snapshot{Version: spec.Version, Digest: spec.Digest(), Environment: spec.Environment, Revision: spec.Digest()},
		compiled: compiled,
	}, err
}

func newJSONFeed(text string) (feed, error) {
	var raw map[string]jsontext.Value
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fmt.Errorf("reading FLAGS_JSON: %w", err)
	}
	entries := make(map[flags.Key]flags.Entry, len(raw))
	for name, value := range raw {
		feature, tenant, ok := strings.Cut(name, ":")
		if !ok || feature == "" || tenant == "" || strings.Contains(tenant, ":") {
			return nil, fmt.Errorf("reading FLAGS_JSON: name %q: want feature:tenant", name)
		}
		e, err := flags.ParseEntry(value)
		if err != nil {
			return nil, fmt.Errorf("reading FLAGS_JSON: %q: %w", name, err)
		}
		entries[flags.Key{Feature: feature, Tenant: tenant}] = e
	}
	compiled, err := compileMap(entries)
	return fixedFeed{delivery{Snapshot: Snapshot{Revision: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))}, compiled: compiled}}, err
}

const (
	fileEvery = 500 * time.Millisecond
	// fileSettles is how long after its last change a file is read again although it
	// looks the same: a second write within one tick of its clock cannot be seen.
	fileSettles = 2 * time.Second
)

// fileFeed watches a flags.json, and the bundles beside it where signatures
// count. It looks at the file by its name, so that a file or folder that is
// replaced (an editor's save, a mounted ConfigMap) is noticed as well.
type fileFeed struct {
	c       *Client
	path    string
	decoder flags.Decoder
	seen    []fileState // as of the last reading, good or bad
	have    string      // digest of what was delivered
	prev    *flags.Spec
}

// fileState is what tells one content of a file from another, as long as it has
// settled.
type fileState struct {
	name     string
	size     int64
	modified time.Time
}

func (f *fileFeed) run(ctx context.Context, to sink) {
	tick := time.NewTicker(fileEvery)
	defer tick.Stop()
	for {
		if err := f.look(to); err != nil {
			to.fail(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look reads the file if it may have changed. What was read before the last
// change is not read again, whether it was good or bad, but its verdict stays.
func (f *fileFeed) look(to sink) error {
	now, err := f.stat()
	if err != nil {
		f.seen = nil
		return err
	}
	settled := func(s fileState) bool { return f.c.now().Sub(s.modified) > fileSettles }
	if f.seen != nil && slices.EqualFunc(now, f.seen, fileState.equal) {
		return nil
	}
	src, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("reading the spec: %w", err)
	}
	spec, err := f.decoder.Decode(f.path, src)
	if err != nil {
		f.remember(now, settled)
		return err
	}
	if err := f.c.opts.ofEnvironment(spec, f.prev); err != nil {
		f.remember(now, settled)
		return fmt.Errorf("%s: %w", f.path, err)
	}
	bundles, err := f.bundles()
	if err != nil {
		return err
	}
	if f.have == spec.Digest() && len(bundles) == 0 {
		f.remember(now, settled)
		to.confirm()
		return nil
	}
	signers, err := f.c.verify(check{spec: spec, previous: f.prev, bundles: bundles})
	if err != nil {
		f.remember(now, settled)
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.remember(now, settled)
	if f.have == spec.Digest() {
		to.confirm()
		return nil
	}
	d, err := ofSpec(spec)
	if err != nil {
		return err
	}
	d.Signers = signers
	if f.prev != nil {
		d.features = changedFeatures(f.prev, spec)
	}
	to.install(d)
	f.have, f.prev = spec.Digest(), spec
	return nil
}

// remember notes what was read, unless it may still change without showing.
func (f *fileFeed) remember(now []fileState, settled func(fileState) bool) {
	f.seen = nil
	if !slices.ContainsFunc(now, func(s fileState) bool { return !settled(s) }) {
		f.seen = now
	}
}

func (s fileState) equal(o fileState) bool {
	return s.name == o.name && s.size == o.size && s.modified.Equal(o.modified)
}

// stat looks at the spec and its bundles. A bundle that vanishes meanwhile is
// not there.
func (f *fileFeed) stat() ([]fileState, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, fmt.Errorf("reading the spec: %w", err)
	}
	states := []fileState{{f.path, info.Size(), info.ModTime()}}
	if f.c.opts.Verify == nil {
		return states, nil
	}
	for _, name := range f.bundleNames() {
		if info, err := os.Stat(name); err == nil {
			states = append(states, fileState{name, info.Size(), info.ModTime()})
		}
	}
	return states, nil
}

// bundleNames are the signatures beside the spec.
func (f *fileFeed) bundleNames() []string {
	dir, base := filepath.Split(f.path)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, base+".") && strings.HasSuffix(n, "sigstore.json") {
			names = append(names, filepath.Join(dir, n))
		}
	}
	return names
}

func (f *fileFeed) bundles() ([]signing.NamedBundle, error) {
	if f.c.opts.Verify == nil {
		return nil, nil
	}
	var bundles []signing.NamedBundle
	for _, name := range f.bundleNames() {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading a signature: %w", err)
		}
		bundles = append(bundles, signing.NamedBundle{Path: name, Data: data})
	}
	return bundles, nil
}

// changedFeatures are the features that decide differently, sorted.
func changedFeatures(a, b *flags.Spec) []string {
	names := map[string]bool{}
	for _, c := range flags.Diff(a, b) {
		if c.Feature != "" {
			names[c.Feature] = true
		}
	}
	return sortedKeys(names)
}

func sortedKeys(names map[string]bool) []string {
	out := make([]string, 0, len(names))
	for n := range names {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}
