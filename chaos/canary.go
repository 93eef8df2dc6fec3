package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
)

// mortal is a key with a time to live.
const (
	mortal    = "chaos:mortal"
	mortalFor = 30 * 24 * time.Hour // longer than any clock jumps
)

// plant puts keys beside, around and inside the namespace that nobody may touch: among
// them another namespace whose keys have the form of our entries. With flush everything
// else goes, in the same transaction. The caller holds canaries.
func (c *checker) plant(ctx context.Context, flush bool) error {
	inner := namespace + "inner:"
	_, err := c.w.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		if flush {
			p.FlushAll(ctx)
		}
		p.Set(ctx, "chaos:canary", "sings", 0)
		p.Set(ctx, mortal, "sings for a while", mortalFor)
		p.HSet(ctx, "flags:meta", "generation", "3", "digest", "sha256:of another")
		p.Set(ctx, "flags:spec", "{}", 0)
		p.Set(ctx, "flags:v1x:alpha:acme", "another namespace", 0)
		p.HSet(ctx, inner+"meta", "generation", "9")
		p.Set(ctx, inner+"spec", "{}", 0)
		p.Set(ctx, inner+"alpha:acme", "an entry of the inner one", 0)
		p.Set(ctx, "flags:v1", "the name without its colon", 0)
		return nil
	})
	if err != nil {
		return fmt.Errorf("planting canaries: %w", err)
	}
	if len(c.planted) > 0 {
		return nil
	}
	for _, name := range []string{"chaos:canary", mortal, "flags:meta", "flags:spec", "flags:v1x:alpha:acme", inner + "meta", inner + "spec", inner + "alpha:acme", "flags:v1"} {
		dump, err := c.w.rdb.Dump(ctx, name).Result()
		if err != nil {
			return fmt.Errorf("looking at the canary %s: %w", name, err)
		}
		c.planted[name] = dump
	}
	return nil
}

// keepOlder keeps a snapshot of Redis now and then, for a restart with older data.
func (c *checker) keepOlder(ctx context.Context) {
	c.mu.Lock()
	due := time.Since(c.lastOlder) > 5*time.Second
	if due {
		c.lastOlder = time.Now()
	}
	c.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	c.canaries.Lock()
	defer c.canaries.Unlock()
	if c.w.rdb.Save(ctx).Err() != nil {
		return
	}
	dir := filepath.Join(c.w.dir, "redis")
	next, kept := filepath.Join(dir, "next.rdb"), filepath.Join(dir, olderFile)
	if _, err := os.Stat(next); err == nil { // the one before this one: some seconds old
		if os.Rename(next, kept) == nil {
			c.mu.Lock()
			c.haveOlder = true
			c.mu.Unlock()
		}
	}
	if err := os.Rename(filepath.Join(dir, "dump.rdb"), next); err != nil {
		c.w.trace.note("keeping a snapshot of Redis: %v", err)
	}
}

// older says whether there is a snapshot to go back to.
func (c *checker) older(context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.haveOlder
}
