package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// The invariants, by the letters under which docs/chaos.md explains them.
const (
	invWhole      = "a: Redis holds the entries of one accepted generation"
	invRising     = "b: generations never fall"
	invVerified   = "c: no decision comes from an unverified spec"
	invReceipts   = "d: no acknowledged receipt is lost"
	invOutside    = "e: nothing outside the namespace is touched"
	invConverges  = "f: everything converges once the faults are lifted"
	invFlat       = "g: memory and descriptors are flat"
	invBreakGlass = "h: an acknowledged statement is in force"
	invAlive      = "i: no process ends by itself"
)

// checker looks at the world all the time. It reads Redis on a way of its own.
type checker struct {
	w          *world
	excuse     *excuses
	reconciler signing.PublicKey
	canaries   sync.Mutex // held while they are looked at, or planted anew

	mu         sync.Mutex
	floor      uint64            // the highest generation that was seen in order
	place      int               // of its commit on the branch
	stoodFor   map[uint64]string // generation -> digest
	looks      int
	lagged     map[uint64]bool   // floors that a refill by one that lagged was below
	raised     bool              // a number was written into meta by hand
	renumbered int               // generations whose content has a receipt under another number only
	planted    map[string]string // canary -> its dump
	lastOlder  time.Time
	haveOlder  bool
	generation map[string]uint64 // of each reader, in this life of it
	life       map[string]int
}

func newChecker(w *world) (*checker, error) {
	key, err := signing.ParsePublicKey([]byte(w.keys["reconciler"].pem))
	if err != nil {
		return nil, fmt.Errorf("reading the reconcilers' key: %w", err)
	}
	return &checker{
		w: w, excuse: newExcuses(), reconciler: key, stoodFor: map[uint64]string{}, lagged: map[uint64]bool{}, planted: map[string]string{},
		generation: map[string]uint64{}, life: map[string]int{},
	}, nil
}

func (c *checker) acknowledged(o *trust.Override) { c.excuse.acknowledge(o) }

// view is one consistent look at Redis: a single MULTI.
type view struct {
	began     time.Time
	meta      map[string]string
	spec      string
	overrides map[string]string
	keys      []flags.Key
	values    []any
}

// look reads everything in one transaction. The error says that Redis did not answer,
// which proves nothing.
func (c *checker) look(ctx context.Context) (*view, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	c.canaries.Lock()
	defer c.canaries.Unlock()
	v := &view{began: time.Now(), keys: c.w.oracle.every()}
	names := make([]string, len(v.keys))
	for i, k := range v.keys {
		names[i] = namespace + k.String()
	}
	var meta, over *redis.MapStringStringCmd
	var spec *redis.StringCmd
	var entries *redis.SliceCmd
	dumps := map[string]*redis.StringCmd{}
	var ttl *redis.DurationCmd
	_, err := c.w.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		meta, over = p.HGetAll(ctx, namespace+"meta"), p.HGetAll(ctx, namespace+"overrides")
		spec, entries = p.Get(ctx, namespace+"spec"), p.MGet(ctx, names...)
		for name := range c.planted {
			dumps[name] = p.Dump(ctx, name)
		}
		ttl = p.TTL(ctx, mortal)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	v.meta, v.overrides, v.spec, v.values = meta.Val(), over.Val(), spec.Val(), entries.Val()
	for name, d := range dumps {
		if want := c.planted[name]; want != "" && d.Val() != want {
			c.w.trace.breaks(invOutside, "%s is not what was planted", name)
		}
	}
	if left := ttl.Val(); len(c.planted) > 0 && (left <= 0 || left > 2*mortalFor) {
		c.w.trace.breaks(invOutside, "%s lives for %v", mortal, left)
	}
	return v, nil
}

// trouble is what is wrong with a view.
type trouble struct{ invariant, why string }

// judge says what is wrong with a view, and what it shows when nothing is.
func (c *checker) judge(v *view) (now landed, generation uint64, t *trouble) {
	wrong := func(invariant, format string, args ...any) (landed, uint64, *trouble) {
		return landed{}, generation, &trouble{invariant, fmt.Sprintf(format, args...)}
	}
	generation, err := strconv.ParseUint(v.meta["generation"], 10, 64)
	if err != nil {
		return wrong(invWhole, "meta is gone, or has no generation: %v", v.meta)
	}
	digest := v.meta["digest"]
	if _, err := c.w.oracle.authorized(digest); err != nil {
		return wrong(invVerified, "generation %d in Redis: %v", generation, err)
	}
	if v.meta["pending"] == "" && digestOf([]byte(v.spec)) != digest {
		return wrong(invWhole, "generation %d: spec is not what meta's digest says", generation)
	}
	if why := c.attested(v.meta, generation); why != "" {
		return wrong(invVerified, "generation %d in Redis: %s", generation, why)
	}
	content, place, err := c.w.oracle.at(v.meta["commit"])
	if err != nil {
		return wrong(invVerified, "generation %d in Redis: %v", generation, err)
	}
	if content.digest != digest {
		return wrong(invWhole, "generation %d: commit %.12s has another content", generation, v.meta["commit"])
	}
	if v.meta["pending"] == "" {
		if why := c.entries(v, content); why != "" {
			return wrong(invWhole, "generation %d: %s", generation, why)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch was := c.stoodFor[generation]; {
	case generation < c.floor:
		return wrong(invRising, "generation %d is live after %d", generation, c.floor)
	case was != "" && was != digest:
		return wrong(invRising, "generation %d stood for %.19s and now stands for %.19s", generation, was, digest)
	case place < c.place:
		return wrong(invRising, "generation %d brought back commit %.12s, which is older than what was live", generation, v.meta["commit"])
	}
	return landed{v.meta["commit"], content}, generation, nil
}

// attested says what is wrong with the reconciler's signature over what is live.
func (c *checker) attested(meta map[string]string, generation uint64) string {
	m := redisstore.Meta{Environment: meta["environment"], Generation: generation, Digest: meta["digest"]}
	bundle := []signing.NamedBundle{{Path: "attestation", Data: []byte(meta["attestation"])}}
	who := []signing.Identity{{Name: "reconciler", Keys: []signing.PublicKey{c.reconciler}}}
	if len(signing.Verify(signing.NewArtifact(m.Attested()), bundle, who, signing.Options{}).Valid) == 0 {
		return "its attestation does not hold"
	}
	return ""
}

// entries compares every entry with what the spec says, statements in force taken in.
func (c *checker) entries(v *view, now *content) string {
	for i, k := range v.keys {
		want, exists := now.entries[k]
		raw, present := v.values[i].(string)
		if !present {
			if exists {
				return fmt.Sprintf("entry %s is missing", k)
			}
			continue
		}
		got, err := flags.ParseEntry([]byte(raw))
		if err != nil {
			return fmt.Sprintf("entry %s does not parse: %v", k, err)
		}
		if !exists { // statements of the schedule reach entries of the spec alone
			return fmt.Sprintf("entry %s stands there and is not in the spec", k)
		}
		if !c.excuse.allows(k, got, want) {
			return fmt.Sprintf("entry %s is %s", k, raw)
		}
	}
	return ""
}

// sample looks once and says what it thinks of it.
func (c *checker) sample(ctx context.Context) {
	v, err := c.look(ctx)
	if err != nil {
		return
	}
	c.mu.Lock()
	c.looks++
	c.mu.Unlock()
	now, generation, t := c.judge(v)
	if t == nil {
		c.inOrder(v, now, generation)
		return
	}
	switch {
	case c.excuse.has("drift"):
	case len(v.meta) == 0 && c.excuse.has("emptied"):
	case c.excuse.has("rewound"):
	case t.invariant == invRising && c.excuse.has("lagging"):
		c.mu.Lock()
		c.lagged[c.floor] = true
		c.mu.Unlock()
	default:
		c.w.trace.breaks(t.invariant, "%s", t.why)
	}
}

// inOrder takes note of a look that found nothing wrong.
func (c *checker) inOrder(v *view, now landed, generation uint64) {
	if v.meta["pending"] != "" {
		return
	}
	c.excuse.ordered(v.began, "emptied", "lagging", "rewound", "drift")
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation > c.floor {
		c.w.trace.add("observe", "generation", map[string]any{
			"generation": generation, "commit": now.commit, "digest": now.content.digest, "by": v.meta["reconciler"], "epoch": v.meta["epoch"],
		})
		c.floor, c.place = generation, c.w.oracle.placeOf(now.commit)
	}
	c.stoodFor[generation] = now.content.digest
}

// watch samples until ctx ends.
func (c *checker) watch(ctx context.Context) {
	for ctx.Err() == nil {
		c.sample(ctx)
		c.keepOlder(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(40 * time.Millisecond):
		}
	}
}

// seen are the generations that were live, with their digests.
func (c *checker) seen() map[uint64]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.stoodFor)
}

func (c *checker) newestSeen() (generation uint64, looks, lagged int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.floor, c.looks, len(c.lagged)
}

func sortedKeys[V any](m map[uint64]V) []uint64 { return slices.Sorted(maps.Keys(m)) }
