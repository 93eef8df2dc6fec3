package main

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// However large a load is, and of what, no node is used more than the assumptions allow,
// unless the answer says of what one environment alone is too much.
func TestNoNodeIsUsedMoreThanItsShare(t *testing.T) {
	c, _ := costs(t)
	rng := rand.New(rand.NewPCG(8, 1))
	upTo := func(most float64) float64 { return math.Floor(math.Pow(most, rng.Float64())) } // as many small ones as large ones
	limited, copies := map[string]int{}, 0
	for range 20_000 {
		a := defaultAssumptions()
		a.NodeFill, a.NodeBusy, a.PerChange = 0.1+0.9*rng.Float64(), 0.1+0.9*rng.Float64(), upTo(1000)
		a.NodeBytes, a.NodeNetwork, a.NodeClients = 1e8+upTo(1e11), 1e7+upTo(1e10), 100+upTo(1e5)
		l := Load{Environments: upTo(5000), Evaluators: upTo(1e6) - 1, Changes: upTo(1e6) - 1, Verify: rng.IntN(2) == 0}
		l.Entries = l.Environments * upTo(150_000)
		r := predict(c, a, l)
		limited[r.NodesFor]++

		// The fullest node: whole environments, or one of several copies of one.
		there, copiesOf := math.Ceil(l.Environments/r.RedisNodes), 1.0
		if r.RedisNodes > l.Environments {
			there, copiesOf = 1, math.Floor(r.RedisNodes/l.Environments)
			copies++
		}
		clients, entries := there*l.Evaluators/l.Environments/copiesOf, there*r.PerEnvironment
		reread := entries * deepPass(a, r.PerEnvironment)
		looks := clients*a.metaPolls() + there/a.Interval.Seconds()
		changes := there * l.Changes / l.Environments * a.BusyHourShare / 3600
		read, bytes := c.FollowerSeconds+(a.PerChange-changedEntries)*c.ReadSeconds, c.FollowerBytes+(a.PerChange-changedEntries)*c.ReadBytes
		if l.Verify {
			read, bytes = c.PublishSeconds+c.MetaSeconds+r.SpecBytes/outOfMemory, c.MessageBytes+c.MetaBytes+r.SpecBytes
		}
		each := clients / there // of one environment on this node
		connections := clients*a.PerEvaluator + 2*there
		for name, use := range map[string][2]float64{
			"memory":      {entries*(c.EntryBytes+c.SpecBytes) + connections*c.ConnectionBytes, a.NodeBytes * a.NodeFill},
			"connections": {connections, a.NodeClients},
			"CPU": {c.IdleCores + connections*c.ConnectionCores + looks*c.MetaSeconds + reread*(c.ReadSeconds+c.SpecBytes/outOfMemory) +
				changes*(each*read+applySeconds(c, r.PerEnvironment)), a.NodeBusy},
			"network": {looks*c.MetaBytes + reread*(c.ReadBytes+c.SpecBytes) + changes*each*bytes, a.NodeBusy * a.NodeNetwork},
		} {
			if use[0] > use[1]*(1+1e-9) && !strings.Contains(r.OverNode, name) {
				t.Fatalf("%s of a node: %v, allowed %v\n%+v\n%+v", name, use[0], use[1], a, r)
			}
		}
		if one := predict(c, a, Load{Entries: r.PerEnvironment, Environments: 1, Evaluators: l.Evaluators / l.Environments, Changes: l.Changes / l.Environments, Verify: l.Verify}); one.OverNode != r.OverNode {
			t.Fatalf("one environment is too much by its %q, and many by %q\n%+v", one.OverNode, r.OverNode, l)
		}
		if r.AllColdSeconds < r.ColdSeconds*(1-1e-9) {
			t.Fatalf("all are filled in %v, one in %v\n%+v", r.AllColdSeconds, r.ColdSeconds, l)
		}
	}
	for _, name := range []string{"one is enough", "memory", "connections", "CPU", "network"} {
		if limited[name] == 0 {
			t.Errorf("no load was limited by %q: %v", name, limited)
		}
	}
	if copies == 0 {
		t.Error("no environment needed a copy")
	}
}

// What the deep pass reads back is part of what a node must bear.
func TestTheDeepPassIsPartOfTheNeed(t *testing.T) {
	c, _ := costs(t)
	r := predict(c, defaultAssumptions(), Load{Entries: 10_000_000, Environments: 1000, Evaluators: 1000})
	if r.RedisNodes < 4 || r.NodesFor != "network" {
		t.Errorf("%v cores and %v bytes a second are for %v nodes (%s)", r.RedisCPU, r.SteadyNetwork, r.RedisNodes, r.NodesFor)
	}
}
