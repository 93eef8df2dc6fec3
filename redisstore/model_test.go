package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

// The protocol of Apply under every interleaving of two reconcilers, each of whose
// exchanges with Redis is held until the schedule lets it go, and with the first
// one dying at every point. It is the real code that runs, on the embedded Redis.
// Across slots there are too many interleavings; there it is every one in which the
// schedule goes from one reconciler to the other three times at most before the first
// of them is done.

var errDied = errors.New("the process died")

// stepper lets a worker go on one exchange at a time.
type stepper struct {
	on    atomic.Bool
	wait  chan struct{} // a worker is about to send
	leave chan bool     // false: it dies instead
}

func (h *stepper) hold() error {
	if !h.on.Load() {
		return nil
	}
	h.wait <- struct{}{}
	if !<-h.leave {
		h.on.Store(false)
		return errDied
	}
	return nil
}

func (h *stepper) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *stepper) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "hello" {
			return next(ctx, cmd) // a new connection introduces itself
		}
		if err := h.hold(); err != nil {
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
		if err := h.hold(); err != nil {
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
	name  string
	epoch uint64
	addr  string
	store *redisstore.Store
	step  *stepper
	plan  *redisstore.Fence // made before the schedule begins; nil reads first
	done  chan error
}

const modelEntries = 3

func modelSet(name string) []redisstore.KV {
	set := make([]redisstore.KV, modelEntries)
	for i := range set {
		set[i] = redisstore.KV{Key: flags.Key{Feature: "f", Tenant: fmt.Sprint(i)}, Value: []byte(name)}
	}
	return set
}

// pass does what a reconciler does: reads meta, makes a plan from it, from the
// entries themselves where something is unfinished, and applies it.
func (r *reconcilerModel) pass(ctx context.Context) error {
	fence := r.plan
	if fence == nil {
		m, err := r.store.Meta(ctx)
		if err != nil && !errors.Is(err, redisstore.ErrNoMeta) {
			return err
		}
		f := m.Fence()
		fence = &f
	}
	set := modelSet(r.name)
	if fence.Pending != "" {
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

// world is Redis as an onlooker sees it.
type world struct {
	fields  map[string]string
	spec    string
	bundle  string
	entries []any
}

func look(ctx context.Context, c *redis.Client) world {
	p := c.TxPipeline()
	fields, spec, bundle := p.HGetAll(ctx, "flags:v1:meta"), p.Get(ctx, "flags:v1:spec"), p.Get(ctx, "flags:v1:bundle")
	entries := p.MGet(ctx, "flags:v1:f:0", "flags:v1:f:1", "flags:v1:f:2")
	_, _ = p.Exec(ctx)
	return world{fields.Val(), spec.Val(), bundle.Val(), entries.Val()}
}

// whole tells whether everything is of the generation that meta names.
func (w world) whole() bool {
	name := w.fields["reconciler"]
	for _, v := range w.entries {
		if v != name {
			return false
		}
	}
	return w.spec == name && w.bundle == name
}

func (w world) String() string {
	return fmt.Sprintf("meta %v spec %q entries %q", w.fields, w.spec, w.entries)
}

type modelCase struct {
	chunk [2]int // how many entries each reconciler writes at once
	apart bool   // across slots
	dies  bool   // the first reconciler dies at some point
	turns int    // how often the schedule may turn to the other one; 0 is any number
}

func TestEveryInterleavingOfTwoReconcilers(t *testing.T) {
	for name, c := range map[string]modelCase{
		"both at once":              {chunk: [2]int{10, 10}},
		"both at once, one dies":    {chunk: [2]int{10, 10}, dies: true},
		"in chunks against at once": {chunk: [2]int{2, 10}},
		"both in chunks":            {chunk: [2]int{2, 2}},
		"both in chunks, one dies":  {chunk: [2]int{2, 2}, dies: true},
		"across slots":              {chunk: [2]int{2, 10}, apart: true, turns: 3},
		"across slots, one dies":    {chunk: [2]int{10, 10}, apart: true, dies: true, turns: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs := explore(t, c)
			t.Logf("%d interleavings", runs)
			if runs < 6 {
				t.Errorf("only %d interleavings: the schedule is not in control", runs)
			}
		})
	}
}

// explore runs every schedule of a case: depth first, a schedule being the choice
// at each point who goes on.
func explore(t *testing.T, c modelCase) int {
	home := open(t, "", "")
	raw := rawClient(t, home)
	cast := map[string]*reconcilerModel{}
	for i, name := range []string{"a", "b", "first", "healer"} {
		chunk := 10
		if i < 2 {
			chunk = c.chunk[i]
		}
		cast[name] = newModel(t, name, home.Address(), chunk, c.apart)
	}
	var choices, options []int
	for run := 1; ; run++ {
		options = options[:0]
		at := 0
		pick := func(n int) int {
			if at == len(choices) {
				choices = append(choices, 0)
			}
			options = append(options, n)
			at++
			return choices[at-1]
		}
		oneSchedule(t, c, cast, raw, pick)
		if t.Failed() {
			t.Fatalf("in schedule %v", choices)
		}
		for len(choices) > 0 && choices[len(choices)-1]+1 >= options[len(choices)-1] {
			choices = choices[:len(choices)-1]
		}
		if len(choices) == 0 {
			return run
		}
		choices[len(choices)-1]++
	}
}

// oneSchedule starts from generation 1, with a plan of the first reconciler made,
// and lets pick decide who goes on.
func oneSchedule(t *testing.T, c modelCase, cast map[string]*reconcilerModel, raw *redis.Client, pick func(n int) int) {
	ctx := context.Background()
	raw.FlushAll(ctx)
	if err := cast["first"].pass(ctx); err != nil {
		t.Fatal(err)
	}
	a, b := cast["a"], cast["b"]
	a.epoch, b.epoch = 1, 2
	a.plan = &redisstore.Fence{Generation: 1, Epoch: 1}

	errs := map[string]error{}
	active := []*reconcilerModel{}
	settle := func(r *reconcilerModel) { // until it waits again or is done
		select {
		case <-r.step.wait:
			active = append(active, r)
		case errs[r.name] = <-r.done:
		}
	}
	for _, r := range []*reconcilerModel{a, b} {
		r.step.on.Store(true)
		go func() { r.done <- r.pass(ctx) }()
		settle(r)
	}
	generation, died, turns := "1", false, 0
	var last *reconcilerModel
	for len(active) > 0 {
		r, lives := choose(c, active, last, turns, died, pick)
		if last != nil && r != last && len(active) == 2 {
			turns++
		}
		died, last = died || !lives, r
		active = slices.DeleteFunc(active, func(x *reconcilerModel) bool { return x == r })
		r.step.leave <- lives
		settle(r)
		slices.SortFunc(active, func(x, y *reconcilerModel) int { return strings.Compare(x.name, y.name) })
		w := look(ctx, raw)
		if now := w.fields["generation"]; now < generation {
			t.Errorf("generation fell from %s to %s", generation, now)
		} else {
			generation = now
		}
		if !c.apart && w.fields["pending"] == "" && !w.whole() {
			t.Errorf("half of something is live and nothing says so: %v", w)
		}
	}
	checkEnd(t, c, ctx, raw, errs, died)
	if died { // its connection went with it
		cast["a"] = newModel(t, "a", a.addr, c.chunk[0], c.apart)
	}
	heal(t, cast["healer"].store, modelSet("healer"), meta(9, 3))
	if w := look(ctx, raw); w.fields["pending"] != "" || w.fields["generation"] != "9" || fmt.Sprint(w.entries) != "[healer healer healer]" {
		t.Errorf("after a healing pass: %v", w)
	}
}

// choose lets pick decide who goes on, among those who may, and whether the first
// reconciler dies instead.
func choose(c modelCase, active []*reconcilerModel, last *reconcilerModel, turns int, died bool, pick func(int) int) (r *reconcilerModel, lives bool) {
	may := active
	if c.turns > 0 && turns == c.turns && slices.Contains(active, last) {
		may = []*reconcilerModel{last}
	}
	n := len(may)
	if c.dies && !died && may[0].name == "a" {
		n++
	}
	if i := pick(n); i < len(may) {
		return may[i], true
	}
	return may[0], false
}

// checkEnd looks at what two reconcilers leave behind.
func checkEnd(t *testing.T, c modelCase, ctx context.Context, raw *redis.Client, errs map[string]error, died bool) {
	for name, err := range errs {
		if err != nil && !errors.Is(err, redisstore.ErrConflict) && !(died && name == "a" && errors.Is(err, errDied)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := look(ctx, raw)
	// Across slots a writer may die after a stale chunk and before it can say so; then
	// only the healing pass, which reads everything, finds it.
	if w.fields["pending"] == "" && !w.whole() && !(c.apart && died) {
		t.Errorf("at the end, half of something is live and nothing says so: %v", w)
	}
	if errs["a"] == nil && errs["b"] == nil && w.fields["generation"] != "3" {
		t.Errorf("both won the same generation: %v", w)
	}
	if errs["a"] != nil && errs["b"] != nil && w.fields["generation"] != "1" {
		t.Errorf("nobody won, yet %v", w)
	}
	if errs["a"] != nil && errs["b"] == nil && w.fields["pending"] == "" && !died && !strings.HasPrefix(w.spec, "b") {
		t.Errorf("b won, yet %v", w)
	}
}

func newModel(t *testing.T, name, addr string, chunk int, apart bool) *reconcilerModel {
	t.Helper()
	s := openWith(t, redisstore.Options{URL: addr, Timeout: 10 * time.Minute}) // nothing here takes time
	s.Small(chunk, apart)
	r := &reconcilerModel{name: name, epoch: 1, addr: addr, store: s, done: make(chan error, 1),
		step: &stepper{wait: make(chan struct{}), leave: make(chan bool)}}
	s.Hook(r.step)
	return r
}
