package reconciler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/internal/wholefile"
	"github.com/rampart-flags/rampart/signing"
)

// The state folder:
//
//	lock               held while a reconciler lives; two never share a folder
//	generations.jsonl  one [Generation] a line, only ever appended; each append is fsynced,
//	                   and is the moment of acceptance. A line without its line end was
//	                   never acknowledged, and is cut off at the next start
//	state.json         the cursor: what else is worth keeping; replaced as a whole
//	spec/<hex>         the accepted spec's bytes, by their sha256, for a start without git
//	spec/<hex>.bundles the bundles it was accepted with, a JSON object path -> bytes
//	accept-history.used.json  the statement about history that was used last, to be said again
//	policy.json        the newest trust policy that was taken from the repository; replaced as a
//	                   whole, before it judges anything
//	repo/              the clone
//
// Losing the folder costs a cold start, never a wrong flag.
type folder struct {
	dir  string
	lock *os.File
	log  *os.File
	size int64 // of generations.jsonl up to its last acknowledged line
	torn bool  // something may stand behind size
}

// cursor is state.json. Nothing in it is needed to be safe; it saves work and tells
// a person what happened before a restart.
type cursor struct {
	Format string `json:"format"` // "state/v1"
	Path   string `json:"path"`
	// Namespace is the store's; "" in older files.
	Namespace string `json:"namespace,omitempty"`
	// Checked is the newest commit whose spec equals the last generation's; the walk
	// goes on from there. It counts only while Generation is the last one.
	Checked    string `json:"checked,omitempty"`
	Generation uint64 `json:"generation,omitzero"`
	// Onto says that Checked is where a maintainer said to go on, and is yet to be judged.
	Onto bool `json:"onto,omitzero"`
	// Statement is the id of the statement about history that was used last: it works once.
	Statement string    `json:"statement,omitempty"`
	Status    *Status   `json:"status,omitempty"`
	SavedAt   time.Time `json:"saved_at"`
	// Refused are the commits that were judged and not taken, so that a restart neither
	// judges nor reports them again.
	Refused []quarantined `json:"refused,omitempty"`
	// Revoked says that what is live is no longer held up by the policy.
	Revoked *revoked `json:"revoked,omitempty"`
	// Policy was in force, so that a new one is told of; PolicyRefused is why the newest one in the repository is not.
	Policy        *PolicyName `json:"policy,omitempty"`
	PolicyRefused *Refusal    `json:"policy_refused,omitempty"`
}

const cursorFormat = "state/v1"

// ErrStateDamaged: the state folder holds something that no reconciler wrote.
var ErrStateDamaged = errors.New("state folder is damaged")

// ErrStateElsewhere: generations of another path, or for another namespace, stand in the state folder.
var ErrStateElsewhere = errors.New("the state folder belongs to another environment")

// ErrStateInUse: another reconciler holds the state folder.
var ErrStateInUse = errors.New("another reconciler uses this state folder")

const (
	logName    = "generations.jsonl"
	cursorName = "state.json"
)

// openFolder takes the folder for this process, makes it where it is missing, and
// reads what it holds.
func openFolder(dir string) (*folder, []Generation, cursor, error) {
	if err := os.MkdirAll(filepath.Join(dir, "spec"), 0o700); err != nil {
		return nil, nil, cursor{}, fmt.Errorf("making the state folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, nil, cursor{}, fmt.Errorf("taking the state folder %s: %w", dir, err)
	}
	f := &folder{dir: dir, lock: lock}
	all, cur, err := f.load()
	if err != nil {
		f.close()
		return nil, nil, cursor{}, fmt.Errorf("reading the state folder %s: %w", dir, err)
	}
	return f, all, cur, nil
}

func (f *folder) close() {
	if f.log != nil {
		f.log.Close()
	}
	unlockFile(f.lock)
}

func (f *folder) load() ([]Generation, cursor, error) {
	var err error
	f.log, err = os.OpenFile(filepath.Join(f.dir, logName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, cursor{}, err
	}
	src, err := io.ReadAll(f.log)
	if err != nil {
		return nil, cursor{}, err
	}
	all, size, err := parseGenerations(src)
	if err != nil {
		return nil, cursor{}, err
	}
	f.size = size
	if int64(len(src)) > size { // a torn line: its writer was never told that it stands
		if err := f.cut(); err != nil {
			return nil, cursor{}, err
		}
	}
	if err := syncDir(f.dir); err != nil {
		return nil, cursor{}, err
	}
	cur, err := readCursor(f.dir)
	return all, cur, err
}

// parseGenerations reads the log and says where its last whole line ends.
func parseGenerations(src []byte) (all []Generation, size int64, err error) {
	for line := 1; ; line++ {
		end := bytes.IndexByte(src[size:], '\n')
		if end < 0 {
			return all, size, nil
		}
		var g Generation
		if err := json.Unmarshal(src[size:size+int64(end)], &g); err != nil {
			return nil, 0, fmt.Errorf("%s line %d: %v: %w", logName, line, err, ErrStateDamaged)
		}
		if g.Format != generationFormat {
			return nil, 0, fmt.Errorf("%s line %d: format %q, this version writes %q: %w", logName, line, g.Format, generationFormat, ErrStateDamaged)
		}
		if n := len(all); n > 0 && g.Number <= all[n-1].Number {
			return nil, 0, fmt.Errorf("%s line %d: generation %d follows %d: %w", logName, line, g.Number, all[n-1].Number, ErrStateDamaged)
		}
		all = append(all, g)
		size += int64(end) + 1
	}
}

func readCursor(dir string) (cursor, error) {
	src, err := os.ReadFile(filepath.Join(dir, cursorName))
	if errors.Is(err, fs.ErrNotExist) {
		return cursor{}, nil
	}
	if err != nil {
		return cursor{}, err
	}
	var c cursor
	if err := json.Unmarshal(src, &c); err != nil || c.Format != cursorFormat {
		return cursor{}, nil // it only saves work: start without it
	}
	return c, nil
}

// append makes generations stand: when it returns nil they are on disk. On an error
// none of them is, and the file is as it was.
func (f *folder) append(gs ...Generation) error {
	var buf bytes.Buffer
	for _, g := range gs {
		line, err := json.Marshal(g)
		if err != nil {
			return fmt.Errorf("encoding generation %d: %w", g.Number, err)
		}
		buf.Write(line)
		buf.WriteByte('\n')
	}
	if f.torn {
		if err := f.cut(); err != nil {
			return err
		}
	}
	_, err := f.log.WriteAt(buf.Bytes(), f.size)
	if err == nil {
		err = f.log.Sync()
	}
	if err != nil {
		f.torn = true
		return errors.Join(fmt.Errorf("writing %s: %w", logName, err), f.cut())
	}
	f.size += int64(buf.Len())
	return nil
}

// cut removes what stands behind the last acknowledged line.
func (f *folder) cut() error {
	if err := f.log.Truncate(f.size); err != nil {
		return fmt.Errorf("cutting the torn end of %s: %w", logName, err)
	}
	if err := f.log.Sync(); err != nil {
		return fmt.Errorf("cutting the torn end of %s: %w", logName, err)
	}
	f.torn = false
	return nil
}

func (f *folder) saveCursor(c cursor) error {
	c.Format = cursorFormat
	src, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", cursorName, err)
	}
	return wholefile.Write(filepath.Join(f.dir, cursorName), append(src, '\n'), 0o600)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// specFile is where a state folder keeps an accepted spec's bytes.
func specFile(dir, digest string) string {
	return filepath.Join(dir, "spec", strings.TrimPrefix(digest, "sha256:"))
}

// keepSpec keeps an accepted spec and its bundles, and drops the ones before it.
func (f *folder) keepSpec(digest string, src []byte, bundles []signing.NamedBundle) error {
	named := make(map[string][]byte, len(bundles))
	for _, b := range bundles {
		named[b.Path] = b.Data
	}
	encoded, err := json.Marshal(named)
	if err != nil {
		return fmt.Errorf("encoding bundles: %w", err)
	}
	path := specFile(f.dir, digest)
	if err := wholefile.Write(path+".bundles", encoded, 0o600); err != nil {
		return err
	}
	if err := wholefile.Write(path, src, 0o600); err != nil {
		return err
	}
	others, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("listing kept specs: %w", err)
	}
	for _, o := range others {
		if name := o.Name(); name != filepath.Base(path) && name != filepath.Base(path)+".bundles" {
			if err := os.Remove(filepath.Join(filepath.Dir(path), name)); err != nil {
				return fmt.Errorf("dropping an older spec: %w", err)
			}
		}
	}
	return nil
}

// readSpec reads what keepSpec kept. The caller compares the digest.
func (f *folder) readSpec(digest string) (src []byte, bundles []signing.NamedBundle, err error) {
	path := specFile(f.dir, digest)
	encoded, err := os.ReadFile(path + ".bundles")
	if err != nil {
		return nil, nil, err
	}
	named := map[string][]byte{}
	if err := json.Unmarshal(encoded, &named); err != nil {
		return nil, nil, fmt.Errorf("reading %s.bundles: %w", path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		bundles = append(bundles, signing.NamedBundle{Path: name, Data: named[name]})
	}
	src, err = os.ReadFile(path)
	return src, bundles, err
}

// ErrNoState: no reconciler has used the folder.
var ErrNoState = errors.New("no state")

// LastStatus reads the status that the last reconciler left in a state folder, also
// while one uses it. Its age is as of now.
func LastStatus(dir string) (*Status, error) {
	c, err := readCursor(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the state folder %s: %w", dir, err)
	}
	if c.Status == nil {
		return nil, fmt.Errorf("reading the state folder %s: %w", dir, ErrNoState)
	}
	c.Status.age(time.Now())
	return c.Status, nil
}
