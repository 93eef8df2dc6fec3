package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/rampart-flags/rampart/trust"
)

func (s *storm) flush(action) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.check.canaries.Lock()
	defer s.check.canaries.Unlock()
	defer s.emptied()()
	return s.check.plant(ctx, true)
}

// emptied excuses what follows when Redis loses everything: meta may be gone for a
// while. With several reconcilers, one that was stopped or cut off may be the first to
// fill it, with the newest generation that it knows; the others have to put that right.
func (s *storm) emptied() func() {
	gone := s.check.excuse.begin("emptied")
	if len(s.w.names) == 1 {
		return gone
	}
	lag := s.check.excuse.begin("lagging")
	return func() { gone(); lag() }
}

// restartRedis kills Redis and starts it again: with all it had, with nothing, or with
// what it had some time ago.
func (s *storm) restartRedis(a action) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s.check.canaries.Lock()
	defer s.check.canaries.Unlock()
	p, dir := s.w.procs["redis"], filepath.Join(s.w.dir, "redis")
	if a.Kind == "older" && !s.check.older(ctx) {
		return nil // nothing older was kept yet
	}
	switch a.Kind {
	case "empty":
		defer s.emptied()()
	case "older":
		defer s.check.excuse.begin("rewound")()
	}
	p.kill()
	if a.Kind != "kept" {
		if err := os.RemoveAll(filepath.Join(dir, "appendonlydir")); err != nil {
			return fmt.Errorf("emptying Redis: %w", err)
		}
	}
	s.mu.Lock()
	s.faults++
	s.mu.Unlock()
	time.Sleep(a.For)
	s.w.redisMu.Lock()
	if s.w.redisLoad = ""; a.Kind == "older" {
		s.w.redisLoad = filepath.Join(dir, olderFile)
	}
	s.w.redisMu.Unlock()
	s.w.trace.add("lift", "redis "+a.Kind, nil)
	if err := s.again(p); err != nil {
		return err
	}
	s.w.redisMu.Lock()
	loaded := s.w.redisLoad != ""
	s.w.redisLoad = ""
	s.w.redisMu.Unlock()
	if loaded {
		if err := s.w.rdb.ConfigSet(ctx, "appendonly", "yes").Err(); err != nil {
			return fmt.Errorf("making Redis remember again: %w", err)
		}
	}
	return s.check.plant(ctx, false)
}

// olderFile is a snapshot of Redis from some time ago.
const olderFile = "older.rdb"

// driftKinds are what somebody may write by hand into the namespace.
var driftKinds = []string{"entry", "entry", "unknown", "delete", "type", "spec", "bundle", "meta", "meta-up", "meta-gone", "override", "pending"}

// drift is a hand-made write that no git says.
func (s *storm) drift(a action) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	rdb, name := s.w.rdb, features[a.N%len(features)]
	entry := namespace + name + ":__default__"
	wrong := fmt.Sprintf(`{"version":"v1","enabled":true,"ramp_pct":%d,"cohorts":[]}`, evil)
	defer s.check.excuse.begin("drift")()
	s.mu.Lock()
	s.faults++
	s.mu.Unlock()
	switch a.Kind {
	case "entry":
		return rdb.Set(ctx, entry, wrong, 0).Err()
	case "unknown":
		return rdb.Set(ctx, namespace+"nobody-made-this:acme", wrong, 0).Err()
	case "delete":
		return rdb.Del(ctx, entry).Err()
	case "type":
		return errors.Join(rdb.Del(ctx, entry).Err(), rdb.RPush(ctx, entry, wrong).Err())
	case "spec":
		return rdb.Set(ctx, namespace+"spec", fmt.Sprintf(`{"version":"flags-v1+ramp.%d","environment":"prod","features":{%q:{"pct":%d}}}`, a.N, name, evil), 0).Err()
	case "bundle":
		return rdb.Set(ctx, namespace+"bundle", "{}", 0).Err()
	case "meta":
		return rdb.HSet(ctx, namespace+"meta", "digest", "sha256:00", "generation", "1").Err()
	case "meta-up":
		s.check.mu.Lock()
		s.check.raised = true
		s.check.mu.Unlock()
		return rdb.HIncrBy(ctx, namespace+"meta", "generation", 3).Err()
	case "meta-gone":
		return rdb.Del(ctx, namespace+"meta").Err()
	case "pending":
		return rdb.HSet(ctx, namespace+"meta", "pending", "chaos").Err()
	case "override":
		return rdb.HSet(ctx, namespace+"overrides", fmt.Sprintf("%032x", a.N), `{"format":"sealed/v1","statement":"{}","bundles":[]}`).Err()
	}
	return fmt.Errorf("no drift is called %q", a.Kind)
}

// override gives a break-glass statement to a reconciler. What it acknowledges, the
// checker remembers.
func (s *storm) override(a action) error {
	ttl := 6*time.Second + time.Duration(a.N%8)*time.Second
	src, err := s.w.people.statement([]string{"", "acme"}[a.N%2], ttl.String())
	if err != nil {
		return err
	}
	sealed, err := trust.ParseSealed("override", []byte(src))
	if err != nil {
		return fmt.Errorf("reading the statement: %w", err)
	}
	o, err := trust.ParseOverride("statement", sealed.Statement)
	if err != nil {
		return fmt.Errorf("reading the statement: %w", err)
	}
	s.check.excuse.lowering(o)
	code, body, err := s.w.ask(a.To, http.MethodPost, "/admin/override", src)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(src))
	s.w.trace.add("observe", "override", map[string]any{"id": o.ID, "to": a.To, "code": code, "answer": string(body), "statement": hex.EncodeToString(sum[:4])})
	if code == http.StatusOK {
		s.check.acknowledged(o)
	}
	return nil
}
