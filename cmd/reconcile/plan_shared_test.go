package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rampart-flags/rampart/reconciler"
)

// However many ask for a plan, one is made at a time, those who came before it began share it, who went away costs nothing, and
// the reconciler is left alone between two for as long as the last one took.
func TestPlansAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := map[string]int{}
		var began []time.Time
		p := newPlans(func(_ context.Context, onto string) (*reconciler.Plan, error) {
			began = append(began, time.Now()) // one at a time: else the race detector says so
			made[onto]++
			time.Sleep(3 * time.Second)
			return &reconciler.Plan{AcceptHistory: onto}, nil
		})
		start := time.Now()
		answers := make(chan *reconciler.Plan, 200)
		ask := func(ctx context.Context, onto string) {
			go func() {
				if plan, err := p.get(ctx, onto); err == nil {
					answers <- plan
				}
			}()
		}
		ask(t.Context(), "")
		synctest.Wait()
		gone, leave := context.WithCancel(t.Context())
		for range 50 {
			ask(t.Context(), "")
			ask(gone, "somewhere")
		}
		synctest.Wait()
		leave()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(made) != 1 || made[""] != 2 || len(answers) != 51 {
			t.Errorf("%v plans were made for %d answers", made, len(answers))
		}
		if len(began) != 2 || began[1].Sub(start) != 6*time.Second {
			t.Errorf("plans were begun at %v, of which the first was at %v and took 3 s", began, start)
		}
	})
}
