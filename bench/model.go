package main

import (
	"math"
	"time"
)

// Costs are what one unit of each thing takes, as measured by "bench measure" on one
// machine: costs.json. The model has no other numbers but these and [Assumptions].
type Costs struct {
	Format   string `json:"format"` // "bench-costs/v1"
	Machine  string `json:"machine"`
	Date     string `json:"date"`
	Command  string `json:"command"`
	Software string `json:"software"` // of Redis and Go

	EntryBytes         float64 `json:"redis_bytes_per_entry"`                 // of Redis' memory, key and value
	SpecBytes          float64 `json:"spec_bytes_per_entry"`                  // of the signed document
	ConnectionBytes    float64 `json:"redis_bytes_per_connection"`            // of Redis' memory, one idle subscriber
	ColdPerSecond      float64 `json:"entries_applied_per_second"`            // into an empty Redis
	ChangeSeconds      float64 `json:"seconds_per_small_apply"`               // ten entries, fence and message with them
	ChangeCPU          float64 `json:"redis_seconds_per_small_apply"`         // of Redis' one core, nobody listening
	MessageBytes       float64 `json:"message_bytes"`                         // of a message that names ten entries
	PublishSeconds     float64 `json:"redis_seconds_per_delivery"`            // one message to one subscriber
	MetaBytes          float64 `json:"meta_bytes"`                            // of the answer to one look
	MetaSeconds        float64 `json:"redis_seconds_per_look"`                // of Redis' one core
	ReadSeconds        float64 `json:"redis_seconds_per_entry_read"`          // of Redis' one core, in reads of many
	ReadBytes          float64 `json:"bytes_per_entry_read"`                  // on the wire
	ClientBytes        float64 `json:"client_bytes_per_entry"`                // of a client's snapshot
	DecodeSeconds      float64 `json:"client_seconds_per_entry"`              // of a client's core, spec to snapshot
	ReconcilerBytes    float64 `json:"reconciler_bytes_per_entry"`            // of the reconciler's memory
	PassSeconds        float64 `json:"reconciler_seconds_per_pass"`           // of one core, nothing new
	CommitSeconds      float64 `json:"reconciler_seconds_per_commit"`         // fetch, verify, judge and plan, a small spec
	CommitEntrySeconds float64 `json:"reconciler_seconds_per_entry"`          // what each entry of the spec adds to that
	ReceiptBytes       float64 `json:"ledger_bytes_per_receipt"`              // on disk
	ReceiptsPerCommit  float64 `json:"receipts_per_commit"`                   // intent, outcome, its share of anchors
	FollowerBytes      float64 `json:"bytes_per_follower_and_change"`         // message, and what a real client reads then
	FollowerSeconds    float64 `json:"redis_seconds_per_follower_and_change"` // of Redis' one core
	IdleCores          float64 `json:"redis_cores_idle"`                      // of a Redis that nobody asks anything
	ConnectionCores    float64 `json:"redis_cores_per_idle_connection"`
	SubscribeSeconds   float64 `json:"redis_seconds_per_reconnection"` // handshake, subscribe, first look
}

// Assumptions are what is not measured but decided. Each has a flag.
type Assumptions struct {
	Interval      time.Duration `json:"interval"`        // of a reconciler
	Poll          time.Duration `json:"poll"`            // of a client; its default
	NodeBytes     float64       `json:"node_bytes"`      // memory of one Redis node
	NodeFill      float64       `json:"node_fill"`       // how much of it may be used
	NodeNetwork   float64       `json:"node_network"`    // bytes a second of one node
	NodeBusy      float64       `json:"node_busy"`       // how much of one core and of the network may be used
	NodeClients   float64       `json:"node_clients"`    // connections of one node
	PerEvaluator  float64       `json:"per_evaluator"`   // connections of one evaluator
	PerChange     float64       `json:"per_change"`      // entries that one change touches
	BusyHourShare float64       `json:"busy_hour_share"` // of a day's changes that fall into its busiest hour
	SpecEntries   float64       `json:"spec_entries"`    // the most entries of one spec (32 MiB)
}

func defaultAssumptions() Assumptions {
	return Assumptions{
		Interval: 10 * time.Second, Poll: 5 * time.Second,
		NodeBytes: 16 << 30, NodeFill: 0.5, NodeNetwork: 125e6, NodeBusy: 0.5, NodeClients: 10_000, PerEvaluator: 2,
		PerChange: 10, BusyHourShare: 0.2, SpecEntries: 150_000,
	}
}

// Load is what somebody has.
type Load struct {
	Entries      float64 `json:"entries"`      // in all environments together
	Environments float64 `json:"environments"` // each with its namespace and spec
	Evaluators   float64 `json:"evaluators"`   // clients, each following one environment
	Changes      float64 `json:"changes_a_day"`
	Verify       bool    `json:"verify"` // clients check signatures, so they read whole specs
}

func (l Load) times(n float64) Load {
	l.Entries, l.Environments, l.Evaluators, l.Changes = l.Entries*n, l.Environments*n, l.Evaluators*n, l.Changes*n
	return l
}

// Answer is what a load takes.
type Answer struct {
	Load Load `json:"load"`

	PerEnvironment float64 `json:"entries_per_environment"`
	SpecBytes      float64 `json:"spec_bytes"` // of one environment
	TooLarge       bool    `json:"spec_too_large"`

	RedisBytes     float64 `json:"redis_bytes"`         // entries, specs and connections
	RedisNodes     float64 `json:"redis_nodes"`         // each with whole environments, or with a copy of one
	NodesFor       string  `json:"redis_nodes_for"`     // which need asks for the most
	OverNode       string  `json:"over_node,omitempty"` // what a single environment needs more of than a node has
	RedisCPU       float64 `json:"redis_cpu"`           // cores, steadily
	SteadyNetwork  float64 `json:"steady_network"`      // bytes a second out of Redis, on average
	ChangeBytes    float64 `json:"change_bytes"`        // out of Redis for one change
	ColdSeconds    float64 `json:"cold_seconds"`        // to fill one empty environment
	AllColdSeconds float64 `json:"all_cold_seconds"`

	ClientBytes     float64 `json:"client_bytes"` // one client's snapshot
	ReconcilerBytes float64 `json:"reconciler_bytes"`
	ReconcilerCPU   float64 `json:"reconciler_cpu"` // cores, steadily
	LedgerBytes     float64 `json:"ledger_bytes_a_year"`

	LiveSeconds float64 `json:"live_seconds"` // from the fetch until Redis has it
	TellSeconds float64 `json:"tell_seconds"` // from then until the last client has it
	BusySeconds float64 `json:"busy_seconds"` // of Redis' core, for one change
}

// metaPolls are the looks at meta that a client makes a second when nothing happens:
// one each poll, and one each 15 s by its subscription.
func (a Assumptions) metaPolls() float64 { return 1/a.Poll.Seconds() + 1/lookEvery.Seconds() }

const (
	changedEntries = 10  // that the unit costs of a change were measured with
	outOfMemory    = 1e9 // bytes a second that one core of Redis sends of large values
)

// predict says what a load takes.
func predict(c Costs, a Assumptions, l Load) Answer {
	r := Answer{Load: l}
	r.PerEnvironment = l.Entries / l.Environments
	r.SpecBytes = r.PerEnvironment * c.SpecBytes
	r.TooLarge = r.PerEnvironment > a.SpecEntries
	followers := l.Evaluators / l.Environments // of one environment

	// What one change costs Redis: the message to every follower, and what each then reads.
	more := a.PerChange - changedEntries
	bytes, busySeconds := c.FollowerBytes+more*c.ReadBytes, c.FollowerSeconds+more*c.ReadSeconds
	if l.Verify {
		bytes = c.MessageBytes + c.MetaBytes + r.SpecBytes
		busySeconds = c.PublishSeconds + c.MetaSeconds + r.SpecBytes/outOfMemory
	}
	r.ChangeBytes = followers * bytes
	r.BusySeconds = followers*busySeconds + applySeconds(c, r.PerEnvironment)

	looks := l.Evaluators*a.metaPolls() + l.Environments/a.Interval.Seconds()
	backSeconds, backBytes := readBack(c, a, r.PerEnvironment)
	perSecond := l.Changes / 86400
	connections := l.Evaluators*a.PerEvaluator + l.Environments*reconcilerConnections
	r.RedisCPU = c.IdleCores + connections*c.ConnectionCores + looks*c.MetaSeconds + perSecond*r.BusySeconds + l.Environments*backSeconds
	r.SteadyNetwork = looks*c.MetaBytes + perSecond*r.ChangeBytes + l.Environments*backBytes
	r.RedisBytes = l.Entries*(c.EntryBytes+c.SpecBytes) + connections*c.ConnectionBytes

	r.share(needs(c, a, l, busySeconds, bytes))
	r.ColdSeconds = r.PerEnvironment / c.ColdPerSecond
	r.AllColdSeconds = r.ColdSeconds * math.Ceil(l.Environments/min(r.RedisNodes, l.Environments)) // of the fullest node

	r.ClientBytes = r.PerEnvironment * c.ClientBytes
	r.ReconcilerBytes = l.Entries * c.ReconcilerBytes
	r.ReconcilerCPU = l.Environments/a.Interval.Seconds()*c.PassSeconds + perSecond*(c.CommitSeconds+r.PerEnvironment*c.CommitEntrySeconds)
	r.LedgerBytes = 365 * l.Changes * c.ReceiptsPerCommit * c.ReceiptBytes
	r.LiveSeconds = c.CommitSeconds + r.PerEnvironment*c.CommitEntrySeconds + c.ChangeSeconds
	// An environment is one namespace on one node, however many nodes there are.
	r.TellSeconds = max(r.BusySeconds, r.ChangeBytes/a.NodeNetwork)
	if l.Verify {
		r.TellSeconds = max(r.TellSeconds, window(r.SpecBytes).Seconds()) + r.PerEnvironment*c.DecodeSeconds
	}
	return r
}

// readBack is what the deep pass over one environment costs Redis, each second: the entries
// one by one, and spec and bundle (which is small) as often.
func readBack(c Costs, a Assumptions, entries float64) (seconds, bytes float64) {
	often, spec := deepPass(a, entries), entries*c.SpecBytes
	return often * (entries*c.ReadSeconds + spec/outOfMemory), often * (entries*c.ReadBytes + spec)
}

// deepPass is how many times a second each entry is read back: every interval up to
// 10,000 entries, above that once in five minutes.
func deepPass(a Assumptions, entries float64) float64 {
	if entries <= 10_000 {
		return 1 / a.Interval.Seconds()
	}
	return 1 / (5 * time.Minute).Seconds()
}
