package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// action is one thing that is done to the world. The schedule of a seed is the same on
// every machine and in every run; what the processes make of it is not.
type action struct {
	At   time.Duration `json:"at"`             // since the round began
	Do   string        `json:"do"`             // a name of the table below
	To   string        `json:"to,omitempty"`   // a process or a link
	Kind string        `json:"kind,omitempty"` // which of several
	For  time.Duration `json:"for,omitempty"`  // how long a fault lasts
	N    int           `json:"n,omitempty"`    // what else differs
}

func (a action) String() string {
	text := a.Do
	for _, more := range []string{a.To, a.Kind} {
		if more != "" {
			text += " " + more
		}
	}
	if a.For > 0 {
		text += fmt.Sprintf(" for %v", a.For)
	}
	return text
}

// The links, by who opens them and where they lead.
var linkNames = []string{"a-git", "a-redis", "a-notary", "b-git", "b-redis", "b-notary", "strict-redis", "plain-redis", "client-redis"}

// deeds are what a schedule is made of, and how often each comes.
var deeds = []struct {
	do     string
	weight int
	to     []string
	kinds  []string
	atMost time.Duration // a fault lasts between a tenth of this and all of it
}{
	{do: "commit", weight: 22},
	{do: "ramp", weight: 6},
	{do: "race", weight: 6},
	{do: "revert", weight: 5},
	{do: "bad", weight: 9, kinds: badKinds},
	{do: "hijack", weight: 2, to: []string{"branch"}, atMost: 5 * time.Second},
	{do: "rewrite", weight: 1},
	{do: "kill", weight: 10, to: []string{"a", "b", "a", "b", "a", "b", "git", "notary", "strict", "plain"}, atMost: 3 * time.Second},
	{do: "terminate", weight: 3, to: []string{"a", "b"}, atMost: 2 * time.Second},
	{do: "stop", weight: 9, to: []string{"a", "b", "a", "b", "a", "b", "redis", "git", "notary", "strict"}, atMost: 6 * time.Second},
	{do: "cut", weight: 8, to: linkNames, atMost: 6 * time.Second},
	{do: "hold", weight: 8, to: linkNames, atMost: 6 * time.Second},
	{do: "delay", weight: 5, to: linkNames, atMost: 6 * time.Second},
	{do: "narrow", weight: 3, to: linkNames, atMost: 6 * time.Second},
	{do: "flush", weight: 3},
	{do: "redis", weight: 4, kinds: []string{"kept", "kept", "empty", "older"}, atMost: 1500 * time.Millisecond},
	{do: "drift", weight: 9, kinds: driftKinds},
	{do: "override", weight: 4, to: []string{"a", "b"}},
	{do: "suspend", weight: 3, to: []string{"a", "b"}, atMost: 6 * time.Second},
	{do: "disk", weight: 3, to: []string{"disk"}, atMost: 5 * time.Second},
	{do: "clock", weight: 5, to: []string{"a", "b", "a", "b", "redis", "strict", "notary"}, atMost: 6 * time.Second},
	{do: "nudge", weight: 3, to: []string{"a", "b"}},
}

// round is a storm and the calm after it.
type round struct {
	Storm   time.Duration `json:"storm"`
	Actions []action      `json:"actions"`
}

// schedule is what one seed does, round by round; the sum of storms is at least as long
// as asked for.
func schedule(seed uint64, length, storm time.Duration) []round {
	rng := rand.New(rand.NewPCG(seed, 0))
	total := 0
	for _, d := range deeds {
		total += d.weight
	}
	var rounds []round
	for done := time.Duration(0); done < length; done += storm {
		r := round{Storm: storm}
		busy := map[string]time.Duration{} // whatever it is has one fault at a time
		at := time.Duration(0)
		for {
			at += 100*time.Millisecond + time.Duration(rng.Int64N(int64(900*time.Millisecond)))
			if at >= storm {
				break
			}
			if a := pick(rng, total); at >= busy[a.To] || a.To == "" {
				a.At = at.Truncate(time.Millisecond)
				busy[a.To] = at + a.For
				r.Actions = append(r.Actions, a)
			}
		}
		rounds = append(rounds, r)
	}
	return rounds
}

func pick(rng *rand.Rand, total int) action {
	n := rng.IntN(total)
	i := 0
	for ; n >= deeds[i].weight; i++ {
		n -= deeds[i].weight
	}
	d := deeds[i]
	a := action{Do: d.do, N: rng.IntN(10000)}
	if len(d.to) > 0 {
		a.To = d.to[rng.IntN(len(d.to))]
	}
	if len(d.kinds) > 0 {
		a.Kind = d.kinds[rng.IntN(len(d.kinds))]
	}
	if d.atMost > 0 {
		a.For = (d.atMost/10 + time.Duration(rng.Int64N(int64(d.atMost*9/10)))).Truncate(time.Millisecond)
	}
	return a
}
