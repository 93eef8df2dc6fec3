package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

// ledgerSettings say where receipts go and who confirms them.
type ledgerSettings struct {
	ledger       string
	notaries     []string
	notariesFile string
}

func (s *ledgerSettings) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.ledger, "ledger", "", `the ledger of receipts, a `+"`DIR`"+`; "off" for none (default: ledger in the state folder)`)
	f.StringArrayVar(&s.notaries, "notary", nil, "an outside notary, `NAME=URL`, that confirms the ledger's checkpoints; may be repeated")
	f.StringVar(&s.notariesFile, "notaries", "", "notaries with tokens and certificates, C2SP witnesses and Rekor logs, in a `FILE` (docs/receipts.md)")
}

func (s *ledgerSettings) dir(state string) string {
	switch s.ledger {
	case "":
		return filepath.Join(state, "ledger")
	case "off":
		return ""
	}
	return s.ledger
}

// ledger is an open ledger and those who confirm it.
type ledger struct {
	*receipt.Ledger
	anchors *receipt.Anchors
	dir     string
	stop    context.CancelFunc
	done    chan struct{}
	// coverage is each tenant's share of complete records, as of the last look; nil before the first.
	coverage atomic.Pointer[map[string]receipt.Share]
}

const (
	flushEvery = 5 * time.Second
	// lastAnchors is how long an ending process waits for notaries.
	lastAnchors = 5 * time.Second
)

// openLedger opens the ledger of this instance and starts to send its checkpoints. It returns nil where receipts are off.
func (s *ledgerSettings) openLedger(ctx context.Context, log *slog.Logger, state, name string, reg prometheus.Registerer) (*ledger, error) {
	dir := s.dir(state)
	if dir == "" {
		return nil, nil
	}
	witnesses, err := s.witnesses(dir)
	if err != nil {
		return nil, err
	}
	l, err := receipt.Open(ctx, receipt.Options{Dir: dir, Origin: originOf(dir, name), Logger: log})
	switch {
	case errors.Is(err, receipt.ErrDamaged), errors.Is(err, receipt.ErrBehindLog):
		return nil, cli.Exit(cli.ExitRefused, cli.Hint(err, "see what is wrong with: reconcile receipts verify --ledger %s; then move the folder away, keep it, and a new ledger begins", dir))
	case errors.Is(err, receipt.ErrLocked):
		if s.ledger == "" { // it is in the state folder, which is taken with it
			return nil, inUse(err, state)
		}
		return nil, cli.Hint(err, "give each reconciler a ledger of its own: --ledger DIR")
	case err != nil:
		return nil, err
	}
	out := &ledger{Ledger: l, dir: dir, done: make(chan struct{})}
	if out.anchors, err = receipt.StartAnchors(ctx, l, witnesses...); err != nil {
		return nil, errors.Join(err, l.Close(ctx))
	}
	var tracker *receipt.Tracker
	if reg != nil {
		reg.MustRegister(newLedgerMetrics(out))
		tracker = receipt.NewTracker(dir)
	}
	ctx, out.stop = context.WithCancel(ctx)
	go out.flush(ctx, log, tracker)
	return out, nil
}

// flush writes receipts that had to wait, as soon as that works again, and looks how complete the record is.
func (l *ledger) flush(ctx context.Context, log *slog.Logger, tracker *receipt.Tracker) {
	defer close(l.done)
	for {
		wait := flushEvery
		if tracker != nil {
			if l.cover(log, tracker); l.coverage.Load() == nil {
				wait = time.Second
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if n := l.Waiting(); n > 0 {
			if err := l.Flush(ctx); err != nil {
				log.Error("receipts wait in memory", "count", n, "err", err)
			} else {
				log.Info("receipts that waited are written", "count", n)
			}
		}
	}
}

// cover reads what is new in the ledger. It runs beside everything else: the first look at a long ledger takes a while.
func (l *ledger) cover(log *slog.Logger, tracker *receipt.Tracker) {
	confirmed := map[string]uint64{}
	for _, s := range l.anchors.State() {
		confirmed[s.Notary] = s.Confirmed
	}
	if tracker.Current(l.Size(), confirmed) {
		return
	}
	tenants, err := tracker.Tenants(confirmed)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // no checkpoint yet
			log.Error("how complete the record is cannot be told", "err", err)
		}
		return
	}
	l.coverage.Store(&tenants)
}

// maxTenants bounds the tenants that metrics name: the least complete ones come first.
const maxTenants = 200

// leastComplete are at most so many tenants, in the order of what they lack.
func leastComplete(all map[string]receipt.Share, most int) []string {
	names := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(all[a].Pct, all[b].Pct), cmp.Compare(a, b))
	})
	return names[:min(len(names), most)]
}

func (l *ledger) Close() error {
	if l == nil {
		return nil
	}
	l.stop()
	<-l.done
	ctx, cancel := context.WithTimeout(context.Background(), lastAnchors)
	defer cancel()
	l.anchors.Finish(ctx)
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return l.Ledger.Close(closing)
}

var notInOrigin = regexp.MustCompile(`[^A-Za-z0-9._/-]+`)

// originOf is the name that the ledger's log signs its checkpoints with. A ledger keeps the one it was made with.
func originOf(dir, name string) string {
	if pub, err := os.ReadFile(filepath.Join(dir, "key.pub")); err == nil {
		if origin, _, ok := strings.Cut(string(pub), "+"); ok && origin != "" {
			return origin
		}
	}
	if name == "" {
		name, _ = os.Hostname()
	}
	return "rampart/" + notInOrigin.ReplaceAllString(name, "-")
}

// ledgerMetrics are read when they are scraped.
type ledgerMetrics struct {
	l                                                                         *ledger
	receipts, waiting, confirmed, queue, behind, attempts, failures, coverage *prometheus.Desc
}

func newLedgerMetrics(l *ledger) *ledgerMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &ledgerMetrics{
		l:         l,
		receipts:  desc("rampart_receipts", "Receipts in this instance's ledger."),
		waiting:   desc("rampart_receipts_waiting", "Receipts that are in memory only, because the ledger cannot be written."),
		confirmed: desc("rampart_anchor_confirmed_receipts", "Receipts that a notary's newest confirmation covers.", "notary"),
		queue:     desc("rampart_anchor_waiting_receipts", "Receipts that a notary has not confirmed yet, those of its own confirmations among them.", "notary"),
		behind:    desc("rampart_anchor_behind_seconds", "Age of the oldest checkpoint that a notary has not confirmed; 0 when it has confirmed all.", "notary"),
		attempts:  desc("rampart_anchor_attempts_total", "Checkpoints sent to a notary, again and again until it confirms.", "notary"),
		failures:  desc("rampart_anchor_failures_total", "Checkpoints that a notary did not confirm when asked.", "notary"),
		coverage:  desc("rampart_receipt_coverage_pct", "Share of a tenant's changes that have a complete record: receipt, inclusion in the log, every notary, lineage. Of generations in this instance's ledger; the 200 least complete tenants.", "tenant"),
	}
}

// Describe implements prometheus.Collector.
func (m *ledgerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.receipts, m.waiting, m.confirmed, m.queue, m.behind, m.attempts, m.failures, m.coverage} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *ledgerMetrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(m.receipts, prometheus.GaugeValue, float64(m.l.Size()))
	ch <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(m.l.Waiting()))
	if all := m.l.coverage.Load(); all != nil {
		for _, tenant := range leastComplete(*all, maxTenants) {
			ch <- prometheus.MustNewConstMetric(m.coverage, prometheus.GaugeValue, (*all)[tenant].Pct, tenant)
		}
	}
	for _, s := range m.l.anchors.State() {
		ch <- prometheus.MustNewConstMetric(m.queue, prometheus.GaugeValue, max(0, float64(m.l.Size())-float64(s.Confirmed)), s.Notary)
		ch <- prometheus.MustNewConstMetric(m.confirmed, prometheus.GaugeValue, float64(s.Confirmed), s.Notary)
		ch <- prometheus.MustNewConstMetric(m.behind, prometheus.GaugeValue, s.Behind.Seconds(), s.Notary)
		ch <- prometheus.MustNewConstMetric(m.attempts, prometheus.CounterValue, float64(s.Attempts), s.Notary)
		ch <- prometheus.MustNewConstMetric(m.failures, prometheus.CounterValue, float64(s.Failures), s.Notary)
	}
}

// record is the recorder that writes to the ledger as well, or rec alone where there is none.
func (l *ledger) record(rec reconciler.Recorder) reconciler.Recorder {
	if l == nil {
		return rec
	}
	return reconciler.LedgerRecorder{Ledger: l.Ledger, Next: rec}
}
