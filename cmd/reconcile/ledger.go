package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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
		return nil, cli.Hint(err, "give each reconciler a ledger of its own: --ledger DIR")
	case err != nil:
		return nil, err
	}
	out := &ledger{Ledger: l, dir: dir, done: make(chan struct{})}
	if out.anchors, err = receipt.StartAnchors(ctx, l, witnesses...); err != nil {
		return nil, errors.Join(err, l.Close(ctx))
	}
	if reg != nil {
		reg.MustRegister(newLedgerMetrics(out))
	}
	ctx, out.stop = context.WithCancel(ctx)
	go out.flush(ctx, log)
	return out, nil
}

// flush writes receipts that had to wait, as soon as that works again.
func (l *ledger) flush(ctx context.Context, log *slog.Logger) {
	defer close(l.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(flushEvery):
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
	l                                                               *ledger
	receipts, waiting, confirmed, queue, behind, attempts, failures *prometheus.Desc
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
	}
}

// Describe implements prometheus.Collector.
func (m *ledgerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.receipts, m.waiting, m.confirmed, m.queue, m.behind, m.attempts, m.failures} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *ledgerMetrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(m.receipts, prometheus.GaugeValue, float64(m.l.Size()))
	ch <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(m.l.Waiting()))
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
