package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/redisstore"
)

// overtaken lets something happen while a chunk of entries, counted from 1, is on its
// way: before it reaches Redis, and after.
type overtaken struct {
	chunk         int
	before, after func(context.Context)
}

func (h *overtaken) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *overtaken) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *overtaken) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "set" {
			return next(ctx, cmds)
		}
		if h.chunk--; h.chunk != 0 {
			return next(ctx, cmds)
		}
		h.before(ctx)
		defer h.after(ctx)
		return next(context.WithoutCancel(ctx), cmds) // it was on its way already
	}
}

// A writer across slots whose second chunk arrives under a newer meta marks that meta,
// whatever it was writing and whether or not it was cancelled meanwhile.
func TestStaleWriterConfesses(t *testing.T) {
	for name, c := range map[string]struct{ repair, cancelled bool }{
		"apply": {}, "apply, cancelled": {cancelled: true}, "repair": {repair: true}, "repair, cancelled": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, "", "")
			a := openWith(t, redisstore.Options{URL: b.Address()})
			a.Small(2, true)
			b.Small(2, true)
			heal(t, b, many(6, 1), meta(1, 1))
			fence := mustMeta(t, b).Fence()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			a.Hook(&overtaken{
				chunk:  2,
				before: func(context.Context) { heal(t, b, many(6, 2), meta(2, 2)) },
				after: func(context.Context) {
					if c.cancelled {
						cancel()
					}
				},
			})
			var err error
			if c.repair {
				_, err = a.Repair(ctx, fence, many(6, 1), nil)
			} else {
				_, err = a.Apply(ctx, fence, redisstore.Change{Set: many(6, 3), Meta: meta(2, 1)})
			}
			if want := map[bool]error{false: redisstore.ErrConflict, true: context.Canceled}[c.cancelled]; !errors.Is(err, want) {
				t.Errorf("the stale writer got %v, want %v", err, want)
			}
			if m := mustMeta(t, b); m.Generation != 2 || m.Epoch != 2 || m.Pending == "" {
				t.Errorf("meta %+v: the new leader is not told to look", m)
			}
			heal(t, b, many(6, 2), meta(2, 2))
			expectLive(t, b, many(6, 2), 2)
		})
	}
}

// What is cut off while meta is still the writer's own says nothing new: an apply has
// its mark, a repair leaves drift. Only a cancelled apply changes its mark, which the next
// leader may have read too early.
func TestCutOffWriterUnderItsOwnMeta(t *testing.T) {
	for name, c := range map[string]struct{ repair, cancelled bool }{
		"apply": {}, "apply, cancelled": {cancelled: true}, "repair": {repair: true}, "repair, cancelled": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, "", "")
			a := openWith(t, redisstore.Options{URL: b.Address()})
			a.Small(2, true)
			heal(t, b, many(6, 1), meta(1, 1))
			fence := mustMeta(t, b).Fence()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			read := ""
			a.Hook(&overtaken{
				chunk:  2,
				before: func(context.Context) { read = mustMeta(t, b).Pending },
				after:  func(context.Context) { cancel() },
			})
			if !c.cancelled {
				a.Hook(&brokenAt{chunk: 3})
				ctx = t.Context()
			}
			var err error
			if c.repair {
				_, err = a.Repair(ctx, fence, many(6, 3), nil)
			} else {
				_, err = a.Apply(ctx, fence, redisstore.Change{Set: many(6, 3), Meta: meta(2, 1)})
			}
			if err == nil {
				t.Fatal("the write went through")
			}
			if m := mustMeta(t, b); (m.Pending != read) != (c.cancelled && !c.repair) || m.Generation != 1 {
				t.Errorf("meta bore the mark %q, and after %v is %+v", read, err, m)
			}
		})
	}
}

// brokenAt lets a chunk of entries, counted from 1, be refused.
type brokenAt struct{ chunk int }

func (h *brokenAt) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *brokenAt) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *brokenAt) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "set" {
			if h.chunk--; h.chunk == 0 {
				return errors.New("refused")
			}
		}
		return next(ctx, cmds)
	}
}

// led is a reconciler on a namespace of a Cluster.
type led struct {
	t     *testing.T
	store *redisstore.Store
	r     *reconciler.Reconciler
}

func lead(t *testing.T, stage *flagtest.Stage, url, ns, name string, interval time.Duration) *led {
	t.Helper()
	dir := t.TempDir()
	repo, err := gitrepo.Open(t.Context(), gitrepo.Options{URL: stage.Repo.URL(), Branch: "main", Dir: dir + "/repo"})
	if err != nil {
		t.Fatal(err)
	}
	l := &led{t: t, store: openWith(t, redisstore.Options{URL: url, Namespace: ns})}
	l.r, err = reconciler.Open(reconciler.Config{
		Repo: repo, Store: l.store, Branch: "main", Dir: dir, Trust: stage.Trust, Name: name, Lease: 3 * time.Second, Interval: interval,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.r.Close(); _ = repo.Close() })
	return l
}

func (l *led) pass(role string) {
	l.t.Helper()
	if _, err := l.r.Pass(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	if got := l.r.Status().Role; role != "" && got != role {
		l.t.Fatalf("it is the %s, want %s", got, role)
	}
}

// landed lands a spec of so many tenants and gives the entries it stands for.
func landed(t *testing.T, stage *flagtest.Stage, generation, tenants int) []redisstore.KV {
	t.Helper()
	src := fmt.Sprintf(`{"version":"flags-v%d","features":{"receipts":{"pct":%d,"tenants":{"t":{"pct":%d}`, generation, generation, generation)
	for i := range tenants {
		src += fmt.Sprintf(`,"tenant-%d":{"pct":%d}`, i, generation)
	}
	src += "}}}}"
	stage.Repo.Write("specs/flags.json", src)
	stage.Sign("alice")
	stage.Land("step")
	spec, err := flags.Decode("flags.json", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	var want []redisstore.KV
	for k, e := range spec.Entries() {
		want = append(want, redisstore.KV{Key: k, Value: e.AppendJSON(nil)})
	}
	return want
}

// A leader on a Cluster stands still in the midst of a chunk until another leads and has
// made a newer generation live; then the chunk arrives, and the leader's write is cut off,
// since it lost its lease. There are more entries than a pass reads back: only the word of
// the one that was deposed makes the other look at them all.
func TestDeposedInTheMidstOfAWriteOnACluster(t *testing.T) {
	t.Parallel() // it waits, mostly
	const tenants = 11_000
	cluster := flagtest.Cluster(t)
	for name, ns := range map[string]string{"apply": "apply:", "repair": "repair:"} {
		t.Run(name, func(t *testing.T) {
			stage := flagtest.NewStage(t, nil, `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}`)
			want := landed(t, stage, 1, tenants)
			a := lead(t, stage, cluster.URL(), ns, "a", time.Hour) // reads all entries back at each pass
			b := lead(t, stage, cluster.URL(), ns, "b", 0)
			a.pass(reconciler.RoleLeader)
			b.pass(reconciler.RoleFollower)
			next := 2
			if name == "apply" {
				landed(t, stage, 2, tenants)
				next = 3
			} else if _, err := b.store.Repair(t.Context(), mustMeta(t, b.store).Fence(), nil, keys(want[:3_000])); err != nil {
				t.Fatal(err)
			}
			cut := false
			a.store.Hook(&overtaken{
				chunk: 2,
				before: func(context.Context) {
					want = landed(t, stage, next, tenants)
					if _, err := b.store.AcquireLease(t.Context(), redisstore.Claim{Holder: "nobody", TTL: time.Millisecond, Force: true}); err != nil {
						t.Fatal(err)
					}
					flagtest.Eventually(t, "the other to lead", func() bool { b.pass(""); return b.r.Status().Role == reconciler.RoleLeader })
					b.pass(reconciler.RoleLeader)
					expectEntries(t, b.store, want)
				},
				after: func(ctx context.Context) {
					select {
					case <-ctx.Done():
						cut = true
					case <-time.After(30 * time.Second):
					}
				},
			})
			_, err := a.r.Pass(t.Context())
			if !cut {
				t.Fatalf("the loss of the lease did not end the write: %v", err)
			}
			b.pass(reconciler.RoleLeader)
			expectEntries(t, b.store, want)
			if m := mustMeta(t, b.store); m.Pending != "" || m.Version != fmt.Sprintf("flags-v%d", next) {
				t.Errorf("meta is %+v", m)
			}
		})
	}
}
