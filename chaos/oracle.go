package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/rampart-flags/rampart/flags"
)

// oracle knows, because it had the commits made, which contents were authorized and in
// what order. It never asks Rampart about that.
type oracle struct {
	mu       sync.Mutex
	contents map[string]*content // by digest
	line     []landed            // the branch, oldest first
	retired  map[string]landed   // commits that an honest rewrite took off it
	place    map[string]int      // commit -> its place in line
	keys     map[flags.Key]bool  // every entry that an authorized content ever had
}

// content is one flags.json.
type content struct {
	digest     string
	spec       *flags.Spec // nil where it is none
	entries    map[flags.Key]flags.Entry
	compiled   *flags.Snapshot
	authorized bool
	signer     string
}

// landed is a commit on the branch.
type landed struct {
	commit  string
	content *content
}

func newOracle() *oracle {
	return &oracle{contents: map[string]*content{}, retired: map[string]landed{}, place: map[string]int{}, keys: map[flags.Key]bool{}}
}

// land takes note of a commit at the branch's end. signedBy is who signed its bytes and
// was allowed to make this change, "" for nobody. Content that was authorized before
// stays so, whoever brings it back.
func (o *oracle) land(commit string, src []byte, signedBy string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.contentOf(src)
	if signedBy != "" && c.spec != nil && !c.authorized {
		c.authorized, c.signer = true, signedBy
		for k := range c.spec.Entries() {
			o.keys[k] = true
		}
	}
	o.place[commit] = len(o.line)
	o.line = append(o.line, landed{commit, c})
}

// unland takes the newest commit back: git did not take it.
func (o *oracle) unland(commit string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.line); n > 0 && o.line[n-1].commit == commit {
		o.line = o.line[:n-1]
		delete(o.place, commit)
	}
}

func (o *oracle) contentOf(src []byte) *content {
	spec, err := flags.Decode("flags.json", src)
	digest := digestOf(src)
	c := o.contents[digest]
	if c != nil {
		return c
	}
	c = &content{digest: digest}
	if err == nil {
		c.spec, c.entries = spec, maps.Collect(spec.Entries())
		c.compiled, _ = flags.Compile(spec)
	}
	o.contents[digest] = c
	return c
}

// rewind forgets the branch after a commit: its history was rewritten on purpose. What
// was authorized stays authorized.
func (o *oracle) rewind(to string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.line[o.place[to]+1:] {
		o.retired[l.commit] = l
	}
	o.line = o.line[:o.place[to]+1]
}

// head is the branch's end, and newest the newest commit whose content is authorized:
// what must be live once all is quiet.
func (o *oracle) head() landed {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.line[len(o.line)-1]
}

// headCommit is the branch's end, "" before the first commit.
func (o *oracle) headCommit() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.line) == 0 {
		return ""
	}
	return o.line[len(o.line)-1].commit
}

func (o *oracle) newest() landed {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := len(o.line) - 1; i >= 0; i-- {
		if o.line[i].content.authorized {
			return o.line[i]
		}
	}
	return landed{content: &content{}}
}

// before is the commit before the branch's end.
func (o *oracle) before() (landed, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.line) < 2 {
		return landed{}, false
	}
	return o.line[len(o.line)-2], true
}

// authorized finds a content that was authorized, by its digest.
func (o *oracle) authorized(digest string) (*content, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.contents[digest]
	switch {
	case c == nil:
		return nil, fmt.Errorf("content %.19s was never committed", digest)
	case !c.authorized:
		return nil, fmt.Errorf("content %.19s was never authorized", digest)
	}
	return c, nil
}

// at is the content of a commit that was ever on the branch, and its place there.
func (o *oracle) at(commit string) (*content, int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i, ok := o.place[commit]
	if !ok {
		return nil, 0, fmt.Errorf("commit %.12s was never on the branch", commit)
	}
	l, ok := o.retired[commit]
	if !ok {
		l = o.line[i]
	}
	if l.content.authorized {
		return l.content, i, nil
	}
	return nil, i, fmt.Errorf("commit %.12s was never authorized", commit)
}

func (o *oracle) placeOf(commit string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.place[commit]
}

// every lists every entry that was ever authorized, sorted.
func (o *oracle) every() []flags.Key {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.SortedFunc(maps.Keys(o.keys), func(a, b flags.Key) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
}

func (o *oracle) size() (commits, contents int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.contents {
		if c.authorized {
			contents++
		}
	}
	return len(o.line), contents
}
