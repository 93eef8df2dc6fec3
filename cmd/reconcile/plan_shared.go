package main

import (
	"context"
	"time"

	"github.com/rampart-flags/rampart/reconciler"
)

// plans answers for the plans that anybody may ask a running reconciler for. A plan holds up the passes and people's commands for
// as long as it takes, so that one is made at a time, whoever waits shares the next, and between two of them is as long a time as
// the last one took.
type plans struct {
	draw func(ctx context.Context, onto string) (*reconciler.Plan, error)
	turn chan struct{} // holds one while nobody has it
	free time.Time     // no plan is begun before
	last struct {
		onto  string
		began time.Time
		plan  *reconciler.Plan
		err   error
	}
}

func newPlans(draw func(context.Context, string) (*reconciler.Plan, error)) *plans {
	p := &plans{draw: draw, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// get is a plan that was begun after it was asked for. A caller that goes away waits no longer, and costs nothing.
func (p *plans) get(ctx context.Context, onto string) (*reconciler.Plan, error) {
	came := time.Now()
	select {
	case <-p.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { p.turn <- struct{}{} }()
	if l := p.last; l.onto == onto && l.began.After(came) {
		return l.plan, l.err
	}
	rest := time.NewTimer(time.Until(p.free))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	began := time.Now()
	plan, err := p.draw(ctx, onto)
	p.free = time.Now().Add(time.Since(began))
	if ctx.Err() == nil { // else it was cut short, for this caller alone
		p.last.onto, p.last.began, p.last.plan, p.last.err = onto, began, plan, err
	}
	return plan, err
}
