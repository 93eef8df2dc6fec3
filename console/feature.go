package console

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/rampart-flags/rampart/flags"
)

type featureData struct {
	flagRow
	Version, Commit string
	Own             *flags.Ramped
	Chart           chart
	History         []dated
	Older           int // changes that the history leaves out
	Guard           []guardField
	Ladder          []rung
	Waves           []wave
	Heat            []entryRow
	Try             *tried
	TryTenant, User string
	Generation      uint64
}

type guardField struct{ Name, Value string }

// rung is one step of a ramp that climbs by a list.
type rung struct {
	Pct   string
	Class string // done, now, next
	Gate  bool   // waits for a person
}

// wave is a group of tenants that goes before others.
type wave struct {
	Name, Soak string
	Tenants    []entryRow
	More       int
}

// dated is a change with who wrote its commit.
type dated struct {
	happened
	Author, Subject string
	Before          uint64 // the generation to compare with, 0 where there is none
}

// tried is a decision that was asked for in the page.
type tried struct {
	flags.Decision
	Key    string
	Bucket flags.Pct
	Pct    flags.Pct
}

const maxHistory = 100

func (c *Console) feature(r *http.Request) (string, view, error) {
	live := c.opt.Live()
	name := r.PathValue("feature")
	if live == nil || live.Spec == nil || live.Spec.Feature(name) == nil {
		return "", view{}, fmt.Errorf("%w: no flag named %q is live", errNotFound, name)
	}
	f := live.Spec.Feature(name)
	d := featureData{flagRow: c.flagRow(f), Version: live.Version, Commit: live.Commit, Guard: guardFields(f.Ramp), Generation: live.Generation.Number}
	if f.Own != nil {
		d.Own = f.Own.Ramped
	}
	lowered := loweredTenants(live)[name]
	d.AnyLowered = d.Lowered || len(lowered) > 0
	for _, tenant := range tenantsOf(f, lowered) {
		d.Heat = append(d.Heat, c.row(f, tenant))
	}
	d.Ladder, d.Waves = c.climb(f, d.Pct)
	d.Guard = slices.DeleteFunc(d.Guard, func(g guardField) bool { // what is drawn
		return g.Name == "waves" && d.Waves != nil || d.Ladder != nil && (g.Name == "steps" || g.Name == "gates")
	})
	past, err := c.index.feature(name)
	if err != nil {
		return "", view{}, err
	}
	d.Chart = newChart(past, d.Own, d.Pct, d.Enabled, c.opt.Now())
	slices.Reverse(past)
	d.Older = max(0, len(past)-maxHistory)
	d.History = c.dated(r.Context(), past[:min(len(past), maxHistory)])
	q := r.URL.Query()
	d.TryTenant, d.User = q.Get("tenant"), q.Get("user")
	if d.TryTenant != "" || d.User != "" {
		e := live.Entry(f.Name, d.TryTenant)
		d.Try = &tried{Decision: flags.Decide(&e, d.TryTenant, d.User), Key: cmp.Or(d.User, d.TryTenant), Bucket: flags.Bucket(e.Salt, d.TryTenant, d.User), Pct: e.Pct}
	}
	return "feature", view{Title: name, Nav: "flags", Data: d}, nil
}

// dated adds what git knows of the commits. A commit that the clone does not hold any more stays without.
func (c *Console) dated(ctx context.Context, past []happened) []dated {
	out := make([]dated, len(past))
	type words struct{ author, subject string }
	known := map[string]words{}
	for i, h := range past {
		out[i].happened = h
		if g := h.Receipt.Generation; g > 1 && h.Receipt.PreviousDigest != "" {
			out[i].Before = g - 1
		}
		commit := h.Receipt.Commit
		if c.opt.Author == nil || commit == "" {
			continue
		}
		w, ok := known[commit]
		if !ok {
			w.author, w.subject, _ = c.opt.Author(ctx, commit)
			known[commit] = w
		}
		out[i].Author, out[i].Subject = w.author, w.subject
	}
	return out
}

// climb is a ramp's way as its guard describes it. What cannot be read is left out: the guard itself is shown as well.
func (c *Console) climb(f *flags.Feature, now flags.Pct) (ladder []rung, waves []wave) {
	var guard struct {
		Steps, Gates []float64
		Waves        []struct {
			Name, Soak string
			Tenants    []string
		}
	}
	if len(f.Ramp) == 0 || json.Unmarshal(f.Ramp, &guard) != nil {
		return nil, nil
	}
	at := float64(now) / 1000
	steps := slices.Clone(guard.Steps)
	if len(steps) > 0 && !slices.Contains(steps, at) {
		steps = append(steps, at) // somewhere between two steps
		slices.Sort(steps)
	}
	next := true
	for _, s := range steps {
		g := rung{Pct: strconv.FormatFloat(s, 'f', -1, 64), Class: "done", Gate: slices.Contains(guard.Gates, s)}
		switch {
		case s == at:
			g.Class = "now"
		case s > at && next:
			g.Class, next = "next", false
		case s > at:
			g.Class = ""
		}
		ladder = append(ladder, g)
	}
	for i, w := range guard.Waves {
		out := wave{Name: cmp.Or(w.Name, fmt.Sprintf("wave %d", i+1)), Soak: w.Soak, More: max(0, len(w.Tenants)-tenantsARow)}
		for _, tenant := range w.Tenants[:min(len(w.Tenants), tenantsARow)] {
			out.Tenants = append(out.Tenants, c.row(f, tenant))
		}
		waves = append(waves, out)
	}
	return ladder, waves
}

// guardFields are the members of the ramp block, in their order, as they were written; steps, gates and waves are drawn.
func guardFields(raw []byte) []guardField {
	if len(raw) == 0 {
		return nil
	}
	var out []guardField
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	if _, err := dec.Token(); err != nil {
		return nil
	}
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return out
		}
		text := strings.TrimSpace(string(value))
		var plain string
		if json.Unmarshal(value, &plain) == nil {
			text = plain
		}
		out = append(out, guardField{fmt.Sprint(name), text})
	}
	return out
}
