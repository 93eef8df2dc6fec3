package reconciler

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what /metrics says of a reconciler. Labels take their values from the
// fixed lists of this package only (phases, results, codes, kinds), so the number of
// series is bounded whatever a spec holds.
type metrics struct {
	passes         *prometheus.CounterVec   // result
	phase          *prometheus.HistogramVec // phase
	commits        *prometheus.CounterVec   // verdict, code
	generation     prometheus.Gauge
	liveGeneration prometheus.Gauge
	headLive       prometheus.Gauge
	lastSuccess    prometheus.Gauge
	commitToLive   prometheus.Histogram
	refused        prometheus.Gauge
	deferred       prometheus.Gauge
	driftEntries   *prometheus.CounterVec // kind
	repairs        prometheus.Counter
	refills        prometheus.Counter
	applies        *prometheus.CounterVec // result
	written        *prometheus.CounterVec // op
	entries        prometheus.Gauge
	condition      *prometheus.GaugeVec // type
	recordFailures prometheus.Counter
	personal       *prometheus.CounterVec // kind
	leader         prometheus.Gauge
	term           prometheus.Gauge
	takeovers      prometheus.Counter
	overrides      prometheus.Gauge
	policyVersion  prometheus.Gauge
	policyRefused  prometheus.Gauge
	policies       *prometheus.CounterVec // result
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		passes: counters("rampart_passes_total", "Passes by how they ended: live, held, trouble.", "result"),
		phase: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rampart_pass_phase_seconds", Help: "Seconds that each phase of a pass took: heal, observe, walk, converge, apply (in heal and converge), deepen, total.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"phase"}),
		commits:        counters("rampart_commits_total", "Commits judged, by verdict and reason code.", "verdict", "code"),
		generation:     gauge("rampart_generation", "The newest accepted generation."),
		liveGeneration: gauge("rampart_live_generation", "The generation last seen or written in the store."),
		headLive:       gauge("rampart_head_live", "1 when the newest spec in git is what is live."),
		lastSuccess:    gauge("rampart_last_success_timestamp_seconds", "When a pass last saw git and the store in order, as a Unix time."),
		commitToLive: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rampart_commit_to_live_seconds", Help: "Seconds from a commit's own date to its spec being live.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 86400},
		}),
		refused:        gauge("rampart_refused_commits", "Commits between the last accepted one and HEAD that were refused."),
		deferred:       gauge("rampart_deferred_commits", "Commits that wait for their time."),
		driftEntries:   counters("rampart_drift_entries_total", "Entries in the store that differed from what was applied: missing, changed, extra.", "kind"),
		repairs:        counter("rampart_repairs_total", "Writes that put differing entries right."),
		refills:        counter("rampart_refills_total", "Writes that filled an emptied store again."),
		applies:        counters("rampart_applies_total", "Writes to the store by result: ok, conflict, error.", "result"),
		written:        counters("rampart_entries_written_total", "Entries written to the store: set, deleted.", "op"),
		entries:        gauge("rampart_entries", "Entries of the newest accepted spec."),
		condition:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "rampart_condition", Help: "1 when the condition is true, 0 when false, -1 when unknown."}, []string{"type"}),
		personal:       counters("rampart_pii_findings_total", "Personal data that accepted changes brought, by kind, where the policy only warns of it.", "kind"),
		recordFailures: counter("rampart_record_failures_total", "Events that could not be recorded."),
		overrides:      gauge("rampart_overrides", "Break-glass statements in force."),
		policyVersion:  gauge("rampart_policy_version", "The number of the trust policy in force; 0 where unsigned specs are accepted."),
		policyRefused:  gauge("rampart_policy_refused", "1 while the newest trust policy in the repository is refused."),
		policies:       counters("rampart_policies_total", "Trust policies that came into force or were refused: applied, refused.", "result"),
		leader:         gauge("rampart_leader", "1 on the instance that leads, 0 on one that follows."),
		term:           gauge("rampart_lease_term", "The term of the lease as last seen; 0 where none is taken."),
		takeovers:      counter("rampart_takeovers_total", "Times that this instance became the leader."),
	}
	// Series that alerts watch exist from the start: a rate needs a first value.
	for vec, values := range map[*prometheus.CounterVec][]string{
		m.passes: {"live", "held", "trouble"}, m.driftEntries: {"missing", "changed", "extra"},
		m.applies: {"ok", "conflict", "error"}, m.written: {"set", "deleted"},
		m.policies: {string(OutcomeApplied), string(OutcomeRefused)},
	} {
		for _, v := range values {
			vec.WithLabelValues(v)
		}
	}
	if reg != nil {
		reg.MustRegister(m.passes, m.phase, m.commits, m.generation, m.liveGeneration, m.headLive, m.lastSuccess, m.commitToLive,
			m.refused, m.deferred, m.driftEntries, m.repairs, m.refills, m.applies, m.written, m.entries, m.condition, m.personal, m.recordFailures, m.leader, m.term, m.takeovers, m.overrides,
			m.policyVersion, m.policyRefused, m.policies)
	}
	return m
}

func (m *metrics) took(phase string, d time.Duration) {
	m.phase.WithLabelValues(phase).Observe(d.Seconds())
}

// becameLive notes how long a commit took to be live. The exemplar leads from a slow one to its receipts.
func (m *metrics) becameLive(e Event, seconds float64) {
	if o, ok := m.commitToLive.(prometheus.ExemplarObserver); ok {
		if chain := chainOf(e); chain != "" {
			o.ObserveWithExemplar(seconds, prometheus.Labels{"chain_id": chain})
			return
		}
	}
	m.commitToLive.Observe(seconds)
}

// show sets the gauges from a status.
func (m *metrics) show(s *Status) {
	set := func(g prometheus.Gauge, on bool) {
		if on {
			g.Set(1)
		} else {
			g.Set(0)
		}
	}
	set(m.headLive, s.HeadLive)
	m.overrides.Set(float64(len(s.Overrides)))
	set(m.leader, s.Role != RoleFollower)
	m.term.Set(float64(s.Term))
	if p := s.Policy; p != nil {
		m.policyVersion.Set(float64(p.Version))
		set(m.policyRefused, p.Refused != nil)
	}
	if s.Verified != nil {
		m.generation.Set(float64(s.Verified.Generation))
		m.entries.Set(float64(s.Verified.Entries))
	}
	if s.Applied != nil {
		m.liveGeneration.Set(float64(s.Applied.Generation))
	}
	if !s.LastSuccess.IsZero() {
		m.lastSuccess.Set(float64(s.LastSuccess.UnixMilli()) / 1000)
	}
	m.refused.Set(float64(len(s.Refused)))
	m.deferred.Set(float64(len(s.Deferred)))
	for _, c := range s.Conditions {
		v := -1.0
		switch c.Status {
		case True:
			v = 1
		case False:
			v = 0
		}
		m.condition.WithLabelValues(string(c.Type)).Set(v)
	}
}
