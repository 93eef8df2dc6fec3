package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/redisstore"
)

// The protocol of Apply and Repair under every interleaving of two reconcilers, each of
// whose exchanges with Redis is held until the schedule lets it go; with one of them dying
// at every point, with the second taking the lease at every point, and with the first
// one's context ending at every point, as it does when it learns of that. It is the real
// code that runs, on the embedded Redis. Where there are too many interleavings it is every
// one in which the schedule goes from one reconciler to the other a few times at most
// before the first of them is done.

type modelCase struct {
	chunk    [2]int // how many entries each reconciler writes at once
	apart    bool   // across slots
	repair   bool   // the first reconciler repairs, and applies nothing
	takeover bool   // the second one takes the lease, which is the first one's, and reads everything back
	forgot   bool   // Redis has lost that lease before: the term is the same
	dies     string // who may die at some point
	cancels  bool   // the first one's context ends at some point
	turns    int    // how often the schedule may turn to the other one; 0 is any number
}

func TestEveryInterleavingOfTwoReconcilers(t *testing.T) {
	once, chunks, both := [2]int{10, 10}, [2]int{2, 10}, [2]int{2, 2}
	for name, c := range map[string]modelCase{
		"both at once":              {chunk: once},
		"both at once, one dies":    {chunk: once, dies: "a"},
		"in chunks against at once": {chunk: chunks},
		"both in chunks":            {chunk: both},
		"both in chunks, one dies":  {chunk: both, dies: "a", turns: 3},
		"across slots":              {chunk: chunks, apart: true, turns: 3},
		"across slots, one dies":    {chunk: once, apart: true, dies: "a", turns: 2},

		"taken over":                       {chunk: once, takeover: true, dies: "ab", turns: 2},
		"taken over, and Redis forgot":     {chunk: once, takeover: true, forgot: true},
		"taken over in chunks":             {chunk: both, takeover: true, turns: 3},
		"taken over in chunks, cancelled":  {chunk: chunks, takeover: true, cancels: true, dies: "b", turns: 2},
		"a repair":                         {chunk: both, repair: true, dies: "ab", turns: 2},
		"a repair is taken over":           {chunk: both, repair: true, takeover: true, turns: 3},
		"a repair, and Redis forgot":       {chunk: once, repair: true, takeover: true, forgot: true},
		"a repair is cancelled":            {chunk: chunks, repair: true, takeover: true, cancels: true, dies: "b", turns: 2},
		"across slots, taken over":         {chunk: once, apart: true, takeover: true, cancels: true, turns: 2},
		"across slots, one of two dies":    {chunk: once, apart: true, takeover: true, dies: "ab", turns: 1},
		"across slots, a repair":           {chunk: once, apart: true, repair: true, takeover: true, cancels: true, turns: 2},
		"across slots, a repair, one dies": {chunk: once, apart: true, repair: true, takeover: true, dies: "ab", turns: 1},
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
	a, b := begin(t, c, cast, raw)
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
		own, cancel := context.WithCancel(ctx)
		defer cancel()
		r.step.cancel = cancel
		r.step.on.Store(true)
		go func() { r.done <- r.pass(own) }()
		settle(r)
	}
	turns, over := 0, map[act]*reconcilerModel{}
	var last *reconcilerModel
	before := look(ctx, raw)
	for len(active) > 0 {
		r, what := choose(c, active, last, turns, over, pick)
		if last != nil && r != last && len(active) == 2 {
			turns++
		}
		if last = r; what != goes {
			over[what] = r
		}
		active = slices.DeleteFunc(active, func(x *reconcilerModel) bool { return x == r })
		r.step.leave <- what
		settle(r)
		slices.SortFunc(active, func(x, y *reconcilerModel) int { return strings.Compare(x.name, y.name) })
		now := look(ctx, raw)
		checkStep(t, c, r, before, now)
		before = now
	}
	checkEnd(t, c, ctx, raw, errs, over)
	for i, r := range []*reconcilerModel{a, b} {
		if r.step.on.Store(false); over[dies] == r { // its connection went with it
			_ = r.store.Close()
			cast[r.name] = newModel(t, r.name, r.addr, c.chunk[i], c.apart)
		}
	}
	heal(t, cast["healer"].store, modelSet("healer"), meta(9, 3))
	if w := look(ctx, raw); w.fields["pending"] != "" || w.fields["generation"] != "9" || fmt.Sprint(w.entries) != "[healer healer healer]" {
		t.Errorf("after a healing pass: %v", w)
	}
}

// begin makes the world that both find.
func begin(t *testing.T, c modelCase, cast map[string]*reconcilerModel, raw *redis.Client) (a, b *reconcilerModel) {
	ctx := context.Background()
	raw.FlushAll(ctx)
	if err := cast["first"].pass(ctx); err != nil {
		t.Fatal(err)
	}
	a, b = cast["a"], cast["b"]
	a.epoch, b.epoch = 1, 2
	a.plan, a.repairs, b.takes = &redisstore.Fence{Generation: 1, Epoch: 1}, c.repair, c.takeover
	if c.repair {
		raw.MSet(ctx, "flags:v1:f:0", drift, "flags:v1:f:1", drift, "flags:v1:f:2", drift)
	}
	if c.takeover {
		l, err := a.store.AcquireLease(ctx, redisstore.Claim{Holder: "a", TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		// A later term alone must keep a writer out, and where there is none, another owner.
		if a.plan.Term = l.Term; c.forgot {
			a.plan.Owner = "a"
			raw.Del(ctx, "flags:v1:lease")
		}
	}
	return a, b
}

// choose lets pick decide who goes on, among those who may, or what befalls him instead.
func choose(c modelCase, active []*reconcilerModel, last *reconcilerModel, turns int, over map[act]*reconcilerModel, pick func(int) int) (*reconcilerModel, act) {
	may := active
	if c.turns > 0 && turns == c.turns && slices.Contains(active, last) {
		may = []*reconcilerModel{last}
	}
	type option struct {
		r    *reconcilerModel
		what act
	}
	var all []option
	for _, r := range may {
		all = append(all, option{r, goes})
	}
	for _, r := range may {
		if over[dies] == nil && strings.Contains(c.dies, r.name) {
			all = append(all, option{r, dies})
		}
		if over[cancelled] == nil && c.cancels && r.name == "a" {
			all = append(all, option{r, cancelled})
		}
	}
	chosen := all[pick(len(all))]
	return chosen.r, chosen.what
}

// checkStep looks at what one exchange has changed.
func checkStep(t *testing.T, c modelCase, r *reconcilerModel, before, now world) {
	if now.fields["generation"] < before.fields["generation"] {
		t.Errorf("generation fell from %s to %s", before.fields["generation"], now.fields["generation"])
	}
	if c.apart {
		return
	}
	if now.fields["pending"] == "" && !now.whole() {
		t.Errorf("half of something is live and nothing says so: %v", now)
	}
	if r.name == "a" && before.owner == "b" && now.String() != before.String() {
		t.Errorf("b has the lease, and a made of %v: %v", before, now)
	}
}

// checkEnd looks at what two reconcilers leave behind.
func checkEnd(t *testing.T, c modelCase, ctx context.Context, raw *redis.Client, errs map[string]error, over map[act]*reconcilerModel) {
	for name, err := range errs {
		died := over[dies] != nil && over[dies].name == name && errors.Is(err, errDied)
		ended := over[cancelled] != nil && over[cancelled].name == name && errors.Is(err, context.Canceled)
		if err != nil && !errors.Is(err, redisstore.ErrConflict) && !died && !ended {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := look(ctx, raw)
	// Across slots a writer may die after a stale chunk and before it can say so; then
	// only the healing pass, which reads everything, finds it.
	if w.fields["pending"] == "" && !w.whole() && !(c.apart && over[dies] != nil) {
		t.Errorf("at the end, half of something is live and nothing says so: %v", w)
	}
	generation := 1
	for name, err := range errs {
		if err == nil && !(name == "a" && c.repair) {
			generation++
		}
	}
	if w.fields["generation"] != fmt.Sprint(generation) {
		t.Errorf("of a and b, which got %v, %d raised the generation, yet %v", errs, generation-1, w)
	}
	if errs["a"] != nil && errs["b"] == nil && w.fields["pending"] == "" && over[dies] == nil && !strings.HasPrefix(w.spec, "b") {
		t.Errorf("b won, yet %v", w)
	}
}
