package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

var errDied = errors.New("the process died")

// act is what becomes of an exchange that a worker is about to have with Redis.
type act int

const (
	goes      act = iota
	dies          // and so does the worker
	cancelled     // it is not sent, and the worker's context is over
)

// stepper lets a worker go on one exchange at a time.
type stepper struct {
	on, dead atomic.Bool
	wait     chan struct{} // a worker is about to send
	leave    chan act
	cancel   context.CancelFunc
}

func (h *stepper) hold(ctx context.Context) error {
	switch {
	case h.dead.Load():
		return errDied
	case ctx.Err() != nil:
		return ctx.Err() // nothing is sent any more
	case !h.on.Load():
		return nil
	}
	h.wait <- struct{}{}
	switch <-h.leave {
	case dies:
		h.dead.Store(true)
		return errDied
	case cancelled:
		h.cancel()
		return ctx.Err() // of a confession, nil: it has a context of its own
	}
	return nil
}

func (h *stepper) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *stepper) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "hello" || cmd.Name() == "publish" {
			return next(ctx, cmd) // a new connection introduces itself; what others are told changes nothing
		}
		if err := h.hold(ctx); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (h *stepper) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "hello" {
			return next(ctx, cmds)
		}
		if err := h.hold(ctx); err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		return next(ctx, cmds)
	}
}

// reconcilerModel is one reconciler, with a store of its own.
type reconcilerModel struct {
	name    string
	epoch   uint64
	addr    string
	store   *redisstore.Store
	step    *stepper
	plan    *redisstore.Fence // made before the schedule begins; nil reads first
	repairs bool              // writes the entries of "first" back under the plan
	takes   bool              // takes the lease before all else, and reads everything back
	done    chan error
}

const modelEntries = 3

// modelValue is what an entry should be by a reconciler's spec. That of b leaves the
// first one as it was: what b has read there already, it does not write.
func modelValue(name string, i int) string {
	if name == "b" && i == 0 {
		return "first"
	}
	return name
}

func modelSet(name string) []redisstore.KV {
	set := make([]redisstore.KV, modelEntries)
	for i := range set {
		set[i] = redisstore.KV{Key: flags.Key{Feature: "f", Tenant: fmt.Sprint(i)}, Value: []byte(modelValue(name, i))}
	}
	return set
}

// pass does what a reconciler does: reads meta, makes a plan from it, from the
// entries themselves where something is unfinished or its term is new, and applies it.
func (r *reconcilerModel) pass(ctx context.Context) error {
	if r.repairs {
		_, err := r.store.Repair(ctx, *r.plan, modelSet("first"), nil)
		return err
	}
	if r.takes {
		l, err := r.store.AcquireLease(ctx, redisstore.Claim{Holder: r.name, TTL: time.Hour, Force: true})
		if err != nil {
			return err
		}
		r.epoch = l.Term
	}
	fence := r.plan
	if fence == nil {
		m, err := r.store.Meta(ctx)
		if err != nil && !errors.Is(err, redisstore.ErrNoMeta) {
			return err
		}
		f := m.Fence()
		if fence = &f; r.takes {
			f.Owner = r.name
		}
	}
	set := modelSet(r.name)
	if fence.Pending != "" || r.takes {
		got, err := r.store.Read(ctx, keys(set))
		if err != nil {
			return err
		}
		var differ []redisstore.KV
		for i, kv := range set {
			if string(got[i]) != string(kv.Value) {
				differ = append(differ, kv)
			}
		}
		set = differ
	}
	m := meta(fence.Generation+1, r.epoch)
	m.Reconciler = r.name
	_, err := r.store.Apply(ctx, *fence, redisstore.Change{Set: set, Meta: m, Spec: []byte(r.name), Bundle: []byte(r.name)})
	return err
}

func newModel(t *testing.T, name, addr string, chunk int, apart bool) *reconcilerModel {
	t.Helper()
	s := openWith(t, redisstore.Options{URL: addr, Timeout: 10 * time.Minute}) // nothing here takes time
	s.Small(chunk, apart)
	r := &reconcilerModel{name: name, epoch: 1, addr: addr, store: s, done: make(chan error, 1),
		step: &stepper{wait: make(chan struct{}), leave: make(chan act)}}
	s.Hook(r.step)
	return r
}

// world is Redis as an onlooker sees it.
type world struct {
	fields  map[string]string
	spec    string
	bundle  string
	entries []any
	owner   string // of the lease
}

func look(ctx context.Context, c *redis.Client) world {
	p := c.TxPipeline()
	fields, spec, bundle := p.HGetAll(ctx, "flags:v1:meta"), p.Get(ctx, "flags:v1:spec"), p.Get(ctx, "flags:v1:bundle")
	entries := p.MGet(ctx, "flags:v1:f:0", "flags:v1:f:1", "flags:v1:f:2")
	owner := p.HGet(ctx, "flags:v1:lease", "owner")
	_, _ = p.Exec(ctx)
	return world{fields.Val(), spec.Val(), bundle.Val(), entries.Val(), owner.Val()}
}

// whole tells whether everything is of the generation that meta names, or is drift that
// was there before anybody wrote.
func (w world) whole() bool {
	name := w.fields["reconciler"]
	for i, v := range w.entries {
		if v != modelValue(name, i) && (name != "first" || v != drift) {
			return false
		}
	}
	return w.spec == name && w.bundle == name
}

const drift = "drift"

func (w world) String() string {
	return fmt.Sprintf("meta %v spec %q entries %q, the lease is %q's", w.fields, w.spec, w.entries, w.owner)
}
