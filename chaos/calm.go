package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// quietIn is how long everything has to come together once the last fault is lifted.
// What takes longest is a pause after trouble with git, which doubles from 0.75 s: six
// seconds of trouble make a pause of nine at most, a few storms in a row more.
const quietIn = 60 * time.Second

// calm waits until everything converges, and says how long that took.
func (c *checker) calm(ctx context.Context, r *readers) (time.Duration, bool) {
	began := time.Now()
	why := ""
	err := eventually(quietIn, "calm", func() bool {
		why = c.apart(ctx, r)
		return why == "" || ctx.Err() != nil
	})
	took := time.Since(began)
	if err == nil {
		c.w.trace.add("calm", "converged", map[string]any{"seconds": took.Seconds(), "commit": c.w.oracle.newest().commit})
		return took, true
	}
	c.w.trace.breaks(invConverges, "not within %v: %s", quietIn, why)
	c.tell()
	for _, name := range c.w.names {
		_, _, _ = c.w.ask(name, http.MethodPost, "/admin/reconcile", "")
	}
	if eventually(quietIn, "calm", func() bool { return c.apart(ctx, r) == "" }) == nil {
		c.w.trace.say("a nudge brought it together after all")
	}
	return time.Since(began), false
}

// apart says in a sentence what is not as it must be when all is quiet; "" when it is.
func (c *checker) apart(ctx context.Context, r *readers) string {
	want := c.w.oracle.newest()
	v, err := c.look(ctx)
	if err != nil {
		return fmt.Sprintf("Redis does not answer: %v", err)
	}
	now, generation, t := c.judge(v)
	switch {
	case t != nil:
		return "Redis: " + t.why
	case now.content.digest != want.content.digest:
		return fmt.Sprintf("Redis holds commit %.12s, the branch %.12s", now.commit, want.commit)
	case v.meta["pending"] != "":
		return "an apply is pending"
	}
	c.inOrder(v, now, generation)
	if why := c.exact(v, want.content); why != "" {
		return why
	}
	for _, name := range c.w.names {
		if why := c.unready(name, want); why != "" {
			return why
		}
	}
	for name, at := range r.at() {
		if at.Generation != generation || at.Commit != now.commit {
			return fmt.Sprintf("%s serves generation %d of %.12s, live is %d of %.12s", name, at.Generation, at.Commit, generation, now.commit)
		}
	}
	return ""
}

// exact compares entries and statements as they must be in the quiet: those that were
// acknowledged are in force, and nothing else lowers.
func (c *checker) exact(v *view, now *content) string {
	hold := c.excuse.mustHold()
	for i, k := range v.keys {
		want, ok := now.entries[k]
		raw, _ := v.values[i].(string)
		if !ok {
			continue // judge has seen to it that it is not there
		}
		got, err := flags.ParseEntry([]byte(raw))
		if err != nil {
			return fmt.Sprintf("entry %s does not parse: %v", k, err)
		}
		for _, o := range hold {
			if v.overrides[o.ID] == "" {
				return fmt.Sprintf("statement %s was acknowledged and is not in Redis", o.ID)
			}
			if low := o.Entry(k, want); got.Enabled && !low.Enabled {
				return fmt.Sprintf("statement %s was acknowledged, and %s is on", o.ID, k)
			}
		}
		if len(v.overrides) == 0 && !got.Equal(want) {
			return fmt.Sprintf("entry %s is %s, and no statement is in force", k, raw)
		}
	}
	return ""
}

// status is what is read of /api/v1/status.
type status struct {
	HeadLive bool `json:"head_live"`
	Verified *struct {
		Commit     string `json:"commit"`
		Digest     string `json:"digest"`
		Generation uint64 `json:"generation"`
	} `json:"verified"`
	Suspended *struct{ Reason string } `json:"suspended"`
}

func (c *checker) unready(name string, want landed) string {
	code, _, err := c.w.ask(name, http.MethodGet, "/readyz", "")
	if err != nil || code != http.StatusOK {
		return fmt.Sprintf("%s is not ready: %d %v", name, code, err)
	}
	_, body, err := c.w.ask(name, http.MethodGet, "/api/v1/status", "")
	var s status
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	switch {
	case err != nil:
		return fmt.Sprintf("%s says no status: %v", name, err)
	case s.Verified == nil || s.Verified.Digest != want.content.digest:
		return fmt.Sprintf("%s has not accepted commit %.12s", name, want.commit)
	}
	return ""
}

// tell puts what the processes say of themselves into the trace, for whoever looks into
// a broken run.
func (c *checker) tell() {
	for _, name := range c.w.names {
		_, body, err := c.w.ask(name, http.MethodGet, "/api/v1/status", "")
		if err != nil {
			c.w.trace.note("status of %s: %v", name, err)
			continue
		}
		c.w.trace.add("observe", "status of "+name, json.RawMessage(bytes.TrimSpace(body)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if v, err := c.look(ctx); err == nil {
		v.meta["attestation"] = ""
		c.w.trace.add("observe", "redis", map[string]any{"meta": v.meta, "overrides": len(v.overrides)})
	}
}

// lines are the JSON lines of a command's output.
func lines[T any](out string) ([]T, error) {
	var all []T
	in := bufio.NewScanner(strings.NewReader(out))
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var v T
		if err := json.Unmarshal(in.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("reading a line of JSON: %w", err)
		}
		all = append(all, v)
	}
	return all, in.Err()
}
