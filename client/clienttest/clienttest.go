// Package clienttest gives tests of a service flags that they set themselves.
//
//	f := clienttest.New(t)
//	f.On("receipts")
//	srv := newServer(f.Client)      // what is under test
//	f.Set("receipts", "acme", flags.Entry{Enabled: true, Pct: 20_000})
//
// The client is a real one: decisions, snapshots, middleware and events are
// those of production.
package clienttest

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
)

// Flags are the flags of one test, and the client that decides by them.
type Flags struct {
	Client *client.Client

	t       testing.TB
	mu      sync.Mutex
	entries map[flags.Key]flags.Entry
	source  *client.Settable
}

// New makes a client without any flags, which ends with the test. The
// environment of the process has no part in it.
func New(t testing.TB) *Flags {
	t.Helper()
	f := &Flags{t: t, entries: map[flags.Key]flags.Entry{}, source: client.NewSettable("test")}
	if err := f.source.Set(maps.All(f.entries)); err != nil {
		t.Fatal(err)
	}
	f.open()
	return f
}

// NewSpec makes a client of one flags.json, given as text.
func NewSpec(t testing.TB, spec string) *Flags {
	t.Helper()
	s, err := flags.Decode("flags.json", []byte(spec))
	if err != nil {
		t.Fatalf("the test's spec:\n%v", err)
	}
	f := &Flags{t: t, entries: maps.Collect(s.Entries()), source: client.NewSettable("test")}
	if err := f.source.Set(maps.All(f.entries)); err != nil {
		t.Fatal(err)
	}
	f.open()
	return f
}

// NewFile is NewSpec of a file, a service's own specs/flags.json for instance.
func NewFile(t testing.TB, path string) *Flags {
	t.Helper()
	src, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return NewSpec(t, string(src))
}

func (f *Flags) open() {
	f.t.Helper()
	c, err := client.Open(f.t.Context(), client.Options{
		Sources: []client.Source{f.source.Source()}, Environ: []string{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Client = c
	f.t.Cleanup(func() { c.Close() })
}

// On turns a feature on for everybody without an entry of their own.
func (f *Flags) On(feature string) {
	f.t.Helper()
	f.Set(feature, flags.DefaultTenant, flags.Entry{Version: "v1", Enabled: true, Pct: flags.Full})
}

// Off turns a feature off for everybody without an entry of their own.
func (f *Flags) Off(feature string) {
	f.t.Helper()
	f.Set(feature, flags.DefaultTenant, flags.Entry{Version: "v1"})
}

// Set gives a tenant, or [flags.DefaultTenant], its entry. It is what decides
// when Set returns.
func (f *Flags) Set(feature, tenant string, e flags.Entry) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries[flags.Key{Feature: feature, Tenant: tenant}] = e
	f.publish(fmt.Sprintf("setting %s:%s", feature, tenant))
}

// Remove takes an entry away.
func (f *Flags) Remove(feature, tenant string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.entries, flags.Key{Feature: feature, Tenant: tenant})
	f.publish(fmt.Sprintf("removing %s:%s", feature, tenant))
}

// Fail makes the source fail, as a lost Redis does: the client is stale from now
// on, until Set or Remove.
func (f *Flags) Fail(err error) { f.source.Fail(err) }

func (f *Flags) publish(what string) {
	f.t.Helper()
	if err := f.source.Set(maps.All(f.entries)); err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
}
