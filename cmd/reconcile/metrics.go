package main

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/pii"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

// observed are metrics that follow from what others keep: the status, the live spec, the ledger and what was pushed. They are
// read when they are scraped. docs/metrics.md lists them.
type observed struct {
	log    *slog.Logger
	status func() *reconciler.Status
	live   func() *reconciler.Live
	told   *pushed
	ledger string // the folder, "" where no receipts are kept

	redisUp, sourceUp, suspended, evidenceAge, held, heldFor, unfinished, lineage, findings *prometheus.Desc

	mu      sync.Mutex
	next    uint64          // the first receipt that is not counted yet
	open    map[string]bool // operations that were announced and have no outcome
	applied float64         // generations
	named   float64         // of them, those that name the proposal they came from, or are an earlier spec come back
	digest  string          // of the spec that was searched for personal data
	found   map[pii.Kind]int
}

func newObserved(log *slog.Logger, status func() *reconciler.Status, live func() *reconciler.Live, told *pushed, ledger string) *observed {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &observed{
		log: log, status: status, live: live, told: told, ledger: ledger, open: map[string]bool{},
		redisUp:     desc("rampart_redis_up", "1 when Redis answered the last time it was asked."),
		sourceUp:    desc("rampart_source_up", "1 when git answered the last time it was asked."),
		suspended:   desc("rampart_suspended_seconds", "How long a person has had reconciling suspended, 0 when it is not."),
		evidenceAge: desc("rampart_evidence_age_seconds", "Age of the oldest coverage value that was pushed to /admin/coverage."),
		held:        desc("rampart_ramp_held", "Entries whose ramp the proposer last held."),
		heldFor:     desc("rampart_ramp_held_seconds", "How long the longest held ramp has been held, 0 when none is."),
		unfinished:  desc("rampart_operations_unfinished", "Operations that a receipt announces and whose outcome no receipt tells."),
		lineage:     desc("rampart_lineage_complete_ratio", "Share of the applied generations that name the proposal they came from, or are an earlier spec come back."),
		findings:    desc("rampart_pii_findings", "Values in the live spec that look like personal data, by kind.", "kind"),
	}
}

// Describe implements prometheus.Collector.
func (m *observed) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.redisUp, m.sourceUp, m.suspended, m.evidenceAge, m.held, m.heldFor, m.unfinished, m.lineage, m.findings} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *observed) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := m.status()
	up := func(t reconciler.ConditionType) float64 {
		if s.Condition(t).Status == reconciler.False { // the condition says that it is away
			return 1
		}
		return 0
	}
	gauge(m.redisUp, up(reconciler.CondStoreUnavailable))
	gauge(m.sourceUp, up(reconciler.CondFetchFailed))
	since := 0.0
	if s.Suspended != nil {
		since = m.told.now().Sub(s.Suspended.Since).Seconds()
	}
	gauge(m.suspended, since)
	age, held, longest := m.told.ages()
	if age >= 0 {
		gauge(m.evidenceAge, age.Seconds())
	}
	gauge(m.held, float64(held))
	gauge(m.heldFor, longest.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ledger != "" {
		if err := m.readLedger(); err != nil {
			m.log.Error("reading the ledger for metrics", "err", err)
		} else {
			gauge(m.unfinished, float64(len(m.open)))
			if m.applied > 0 {
				gauge(m.lineage, m.named/m.applied)
			}
		}
	}
	if live := m.live(); live != nil && live.Spec != nil && live.Digest != m.digest {
		m.digest = live.Digest // once a spec: a scrape may come every second
		go m.search(live.Spec, live.Digest)
	}
	for kind, n := range m.found {
		gauge(m.findings, float64(n), string(kind))
	}
}

// readLedger counts what the ledger has come to hold.
func (m *observed) readLedger() error {
	return receipt.ScanFrom(m.ledger, m.next, func(rec receipt.Record) error {
		m.next = rec.Seq + 1
		if rec.Purged() {
			return nil
		}
		r, err := rec.Decode()
		if err != nil {
			return err
		}
		if r.Phase == receipt.Intent {
			m.open[r.OpID] = true
			return nil
		}
		delete(m.open, r.OpID)
		if r.Result != string(reconciler.OutcomeApplied) {
			return nil
		}
		switch r.Kind {
		case receipt.Rollback:
			m.applied, m.named = m.applied+1, m.named+1
		case receipt.Generation:
			m.applied++
			if r.ParentID != "" {
				m.named++
			}
		}
		return nil
	})
}

// search looks for personal data in a spec. It may take a while in a large one, so no scrape waits for it.
func (m *observed) search(spec *flags.Spec, digest string) {
	found := map[pii.Kind]int{}
	for _, hit := range pii.Spec(spec, pii.Rules{}) {
		found[hit.Kind]++
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.digest == digest {
		m.found = found
	}
}

// ages are the age of the oldest pushed coverage (negative when there is none), the number of held ramps, and how long the
// longest of them has been held.
func (p *pushed) ages() (oldest time.Duration, held int, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	oldest = -1
	for _, v := range p.data.Coverage {
		oldest = max(oldest, now.Sub(v.At))
	}
	for _, d := range p.data.Decisions {
		if d.Action != "hold" || d.Code == "target" { // there is nowhere left to go
			continue
		}
		held++
		longest = max(longest, now.Sub(d.Since))
	}
	return oldest, held, longest
}
