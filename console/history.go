package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

type historyData struct {
	Generations []accepted // newest first
	Refused     []reconciler.Refusal
	Before      []numbered // receipts of earlier refusals, newest first
	MoreBefore  bool
	Deferred    []reconciler.Refusal
	From, To    uint64
	Changes     []flags.Change
	Omitted     int
	Compared    bool
	Blast       blast
	Problem     string
	More        int
}

func (c *Console) history(r *http.Request) (string, view, error) {
	s := c.opt.Status()
	d := historyData{Refused: slices.Clone(s.Refused), Deferred: s.Deferred}
	slices.Reverse(d.Refused)
	now := map[string]bool{}
	for _, ref := range slices.Concat(d.Refused, d.Deferred) {
		now[ref.Commit] = true
	}
	var err error
	d.Before, d.MoreBefore, err = c.index.newest(maxRefusals, func(n numbered) bool {
		return n.Kind == receipt.Refusal && n.Phase == receipt.Outcome && !now[n.Commit]
	})
	if err != nil {
		return "", view{}, err
	}
	all, err := c.opt.Generations()
	if err != nil && !errors.Is(err, reconciler.ErrNoState) {
		return "", view{}, err
	}
	slices.Reverse(all)
	shown := all[:min(len(all), maxGenerations)]
	d.More = len(all) - len(shown)
	for i, g := range shown {
		row := accepted{Generation: g}
		if i+1 < len(all) {
			row.Before = all[i+1].Number
		}
		if c.opt.Author != nil {
			row.Author, row.Subject, _ = c.opt.Author(r.Context(), g.Commit)
		}
		d.Generations = append(d.Generations, row)
	}
	q := r.URL.Query()
	d.From, _ = strconv.ParseUint(q.Get("from"), 10, 64)
	d.To, _ = strconv.ParseUint(q.Get("to"), 10, 64)
	if d.From > 0 && d.To > 0 {
		d.Compared = true
		d.Changes, err = c.compare(r.Context(), all, d.From, d.To)
		if err != nil {
			d.Problem = err.Error()
		}
		d.Blast = blastOf(d.Changes)
		d.Changes, d.Omitted = cut(d.Changes)
	} else if len(all) > 1 {
		d.From, d.To = all[1].Number, all[0].Number
	}
	return "history", view{Title: "History", Nav: "history", Data: d}, nil
}

// accepted is a generation with who wrote its commit, and the one before it.
type accepted struct {
	reconciler.Generation
	Author, Subject string
	Before          uint64
}

const (
	maxGenerations = 200
	maxRefusals    = 50
	maxPlanLines   = 200
)

func cut(changes []flags.Change) ([]flags.Change, int) {
	if n := len(changes) - maxPlanLines; n > 0 {
		return changes[:maxPlanLines], n
	}
	return changes, 0
}

func (c *Console) compare(ctx context.Context, all []reconciler.Generation, from, to uint64) ([]flags.Change, error) {
	if c.opt.SpecAt == nil {
		return nil, errors.New("specs of earlier generations are not at hand")
	}
	read := func(n uint64) (*flags.Spec, error) {
		for _, g := range all {
			if g.Number == n {
				return c.opt.SpecAt(ctx, g.Commit)
			}
		}
		return nil, fmt.Errorf("there is no generation %d", n)
	}
	a, err := read(from)
	if err != nil {
		return nil, err
	}
	b, err := read(to)
	if err != nil {
		return nil, err
	}
	return flags.Diff(a, b), nil
}

type planData struct {
	*reconciler.Plan
	Omitted int
	blast
}

// blast is whom a set of changes reaches.
type blast struct{ Rises, Falls, Rebucket, Features, Tenants int }

func blastOf(changes []flags.Change) (b blast) {
	features, tenants := map[string]bool{}, map[string]bool{}
	for _, ch := range changes {
		if ch.Feature != "" {
			features[ch.Feature] = true
		}
		if ch.Tenant != "" && ch.Tenant != flags.DefaultTenant {
			tenants[ch.Tenant] = true
		}
		switch {
		case ch.Kind == flags.Salt:
			b.Rebucket++
		case ch.Rises:
			b.Rises++
		case ch.Kind == flags.RampDown, ch.Kind == flags.Disable, ch.Kind == flags.FeatureRemove, ch.Kind == flags.TenantRemove, ch.Kind == flags.CohortRemove:
			b.Falls++
		}
	}
	b.Features, b.Tenants = len(features), len(tenants)
	return b
}

func (c *Console) plan(r *http.Request) (string, view, error) {
	if c.opt.Plan == nil {
		return "", view{}, fmt.Errorf("%w: plans are not made here", errNotFound)
	}
	p, err := c.opt.Plan(r.Context())
	if err != nil {
		return "", view{}, err
	}
	d := planData{Plan: p, blast: blastOf(p.Changes)}
	d.Plan.Changes, d.Omitted = cut(p.Changes)
	return "plan", view{Title: "Plan", Nav: "history", Data: d}, nil
}
