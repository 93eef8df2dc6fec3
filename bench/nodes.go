package main

import (
	"math"
	"strings"
)

// reconcilerConnections are those of one environment's reconciler: one listens.
const reconcilerConnections = 2

// need is what one environment takes of a node. Clients can be shared out over copies of
// the environment; what the reconciler does, and what is kept, is the same on each.
type need struct {
	name    string
	node    float64 // of an empty node
	whole   float64 // of one environment, on every copy
	clients float64 // of one environment's clients together
	limit   float64
}

// needs are one environment's in the busiest hour, with the reads of the deep pass.
// A change costs each client busySeconds and bytes.
func needs(c Costs, a Assumptions, l Load, busySeconds, bytes float64) []need {
	entries, followers := l.Entries/l.Environments, l.Evaluators/l.Environments
	changes := l.Changes / l.Environments * a.BusyHourShare / 3600 // a second
	backSeconds, backBytes := readBack(c, a, entries)
	look := 1 / a.Interval.Seconds()
	connections := followers * a.PerEvaluator
	return []need{
		{
			"memory", 0, entries*(c.EntryBytes+c.SpecBytes) + reconcilerConnections*c.ConnectionBytes,
			connections * c.ConnectionBytes, a.NodeBytes * a.NodeFill,
		},
		{"connections", 0, reconcilerConnections, connections, a.NodeClients},
		{
			"CPU", c.IdleCores,
			reconcilerConnections*c.ConnectionCores + look*c.MetaSeconds + backSeconds + changes*applySeconds(c, entries),
			connections*c.ConnectionCores + followers*(a.metaPolls()*c.MetaSeconds+changes*busySeconds), a.NodeBusy,
		},
		{
			"network", 0, look*c.MetaBytes + backBytes,
			followers * (a.metaPolls()*c.MetaBytes + changes*bytes), a.NodeNetwork * a.NodeBusy,
		},
	}
}

// applySeconds are Redis' for one change; most of them are for the spec, written anew.
func applySeconds(c Costs, entries float64) float64 {
	return c.ChangeCPU * max(1, entries/unitEntries)
}

// share says how many nodes it takes that none is used more than is allowed. A node has
// whole environments; where one is too much for a node, each is copied as often as it takes.
func (r *Answer) share(all []need) {
	r.RedisNodes, r.NodesFor = 1, "one is enough"
	environments := math.Ceil(r.Load.Environments)
	var over []string
	for _, n := range all {
		nodes := environments
		switch free := n.limit - n.node; {
		case n.whole+n.clients <= free:
			nodes = math.Ceil(environments / math.Floor(free/(n.whole+n.clients)))
		case n.whole < free:
			nodes = environments * math.Ceil(n.clients/(free-n.whole))
		default: // the more nodes, the better, and never enough
			over = append(over, n.name)
		}
		if nodes > r.RedisNodes {
			r.RedisNodes, r.NodesFor = nodes, n.name
		}
	}
	r.OverNode = strings.Join(over, " and ")
}
