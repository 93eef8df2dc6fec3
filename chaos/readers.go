package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// readers ask everything that answers: the two evaluators over OFREP, and two Go
// clients in this process.
type readers struct {
	c       *checker
	clients map[string]*client.Client
}

func newReaders(c *checker) (*readers, error) {
	via, err := c.w.link("client-redis", c.w.url["redis"])
	if err != nil {
		return nil, err
	}
	src, err := os.ReadFile(filepath.Join(c.w.dir, "trust.json"))
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	policy, err := trust.Parse("trust.json", src)
	if err != nil {
		return nil, err
	}
	r := &readers{c: c, clients: map[string]*client.Client{}}
	for name, verify := range map[string]*client.Verification{
		"client-strict": {Policy: policy, Reconciler: []signing.PublicKey{c.reconciler}},
		"client-plain":  nil,
	} {
		o := client.Options{
			Sources: []client.Source{client.Redis(redisstore.Options{URL: "redis://" + via, Namespace: namespace, Log: slog.New(slog.DiscardHandler)})},
			Verify:  verify, Poll: interval, StartEmpty: true, Environ: []string{}, Log: slog.New(slog.DiscardHandler),
		}
		if r.clients[name], err = client.Open(context.Background(), o); err != nil {
			return nil, fmt.Errorf("opening %s: %w", name, err)
		}
	}
	return r, nil
}

func (r *readers) close() {
	for _, c := range r.clients {
		_ = c.Close()
	}
}

// watch asks until ctx ends.
func (r *readers) watch(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		for _, name := range []string{"strict", "plain"} {
			if _, ok := r.c.w.procs[name].active(); ok {
				r.evaluator(name, n)
			}
		}
		for name, cl := range r.clients {
			r.client(name, cl)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// believes says whether a reader may serve something unverified now: one that believes
// Redis, while somebody writes into it.
func (r *readers) believes(name string) bool {
	return (name == "plain" || name == "client-plain") && r.c.excuse.recent("drift", 4*interval)
}

// answer is what is read of OFREP's answer for all features.
type answer struct {
	Flags []struct {
		Key      string `json:"key"`
		Value    bool   `json:"value"`
		Metadata struct {
			Generation uint64 `json:"generation"`
			Commit     string `json:"commit"`
		} `json:"metadata"`
	} `json:"flags"`
}

var subjects = [][2]string{{"acme", "user-1"}, {"globex", "user-2"}, {"public", "user-3"}, {"t1", "A"}}

func (r *readers) evaluator(name string, n int) {
	life := r.c.w.procs[name].starts
	who := subjects[n%len(subjects)]
	code, body, err := r.c.w.ask(name, http.MethodPost, "/ofrep/v1/evaluate/flags", fmt.Sprintf(`{"context":{"targetingKey":%q,"tenant":%q}}`, who[1], who[0]))
	if err != nil || code != http.StatusOK {
		return // it has nothing to serve yet, or was just killed
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		r.c.w.trace.breaks(invVerified, "%s answers what is no JSON: %v", name, err)
		return
	}
	for _, f := range a.Flags {
		if r.believes(name) {
			return
		}
		content, _, err := r.c.w.oracle.at(f.Metadata.Commit)
		if err != nil {
			r.c.w.trace.breaks(invVerified, "%s serves generation %d: %v", name, f.Metadata.Generation, err)
			return
		}
		want := content.compiled.Decide(f.Key, who[0], who[1]).On
		if f.Value != want && (f.Value || !r.c.excuse.lowersAny(f.Key)) {
			r.c.w.trace.breaks(invVerified, "%s says %s is %v for %s of %s at commit %.12s, which says %v", name, f.Key, f.Value, who[1], who[0], f.Metadata.Commit, want)
		}
		r.rises(name, life, f.Metadata.Generation)
	}
}

// rises holds a reader that verifies to never going back, in one life of it.
func (r *readers) rises(name string, life int, generation uint64) {
	if name != "strict" && name != "client-strict" {
		return
	}
	c := r.c
	c.mu.Lock()
	before := c.generation[name]
	if c.life[name] != life {
		before = 0
	}
	c.generation[name], c.life[name] = generation, life
	c.mu.Unlock()
	if generation < before {
		c.w.trace.breaks(invRising, "%s serves generation %d after %d", name, generation, before)
	}
}

func (r *readers) client(name string, cl *client.Client) {
	snap := cl.Snapshot()
	if snap.Generation == 0 || r.believes(name) {
		return
	}
	content, err := r.c.w.oracle.authorized(snap.Digest)
	if err != nil {
		r.c.w.trace.breaks(invVerified, "%s serves generation %d: %v", name, snap.Generation, err)
		return
	}
	for k, got := range snap.Flags().Entries() {
		want, ok := content.entries[k]
		if !ok || !r.c.excuse.allows(k, got, want) {
			r.c.w.trace.breaks(invVerified, "%s serves %s as %s in generation %d", name, k, got.AppendJSON(nil), snap.Generation)
		}
	}
	r.rises(name, 1, snap.Generation)
}

// at is the generation and the commit that each reader serves now.
func (r *readers) at() map[string]client.Decision {
	all := map[string]client.Decision{}
	for _, name := range []string{"strict", "plain"} {
		_, body, err := r.c.w.ask(name, http.MethodPost, "/ofrep/v1/evaluate/flags", `{"context":{"targetingKey":"user-1","tenant":"acme"}}`)
		var a answer
		if err == nil && json.Unmarshal(body, &a) == nil && len(a.Flags) > 0 {
			all[name] = client.Decision{Generation: a.Flags[0].Metadata.Generation, Commit: a.Flags[0].Metadata.Commit}
		} else {
			all[name] = client.Decision{}
		}
	}
	for name, cl := range r.clients {
		s := cl.Snapshot()
		all[name] = client.Decision{Generation: s.Generation, Commit: s.Commit}
	}
	return all
}
