package reconciler

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

// Drift is what in the store differed from what was applied.
type Drift struct {
	Missing int `json:"missing"` // entries that were gone
	Changed int `json:"changed"` // entries with another value
	Extra   int `json:"extra"`   // entries that no spec holds
	// System names the other keys that differed: spec, bundle, meta.
	System []string `json:"system,omitempty"`
	// Found describes the first twenty entries.
	Found []DriftEntry `json:"found,omitempty"`
}

// DriftEntry is one entry that differed.
type DriftEntry struct {
	Entry string `json:"entry"` // feature:tenant
	Kind  string `json:"kind"`  // missing, changed, extra
	Was   string `json:"was,omitempty"`
	Want  string `json:"want,omitempty"`
}

// DriftTotals count what was found and put right since the start of this process.
type DriftTotals struct {
	Found    uint64    `json:"found"`
	Repaired uint64    `json:"repaired"`
	LastAt   time.Time `json:"last_at,omitzero"`
	Last     *Drift    `json:"last,omitempty"`
}

const (
	maxFound = 20
	maxValue = 300 // bytes of a value that an event repeats
)

func (d *Drift) total() int { return d.Missing + d.Changed + d.Extra }

func (d *Drift) system(name string) { d.System = append(d.System, name) }

func (d *Drift) add(k flags.Key, kind string, was, want []byte) {
	switch kind {
	case "missing":
		d.Missing++
	case "changed":
		d.Changed++
	default:
		d.Extra++
	}
	if len(d.Found) < maxFound {
		d.Found = append(d.Found, DriftEntry{Entry: k.String(), Kind: kind, Was: clip(was), Want: clip(want)})
	}
}

func clip(b []byte) string {
	if len(b) > maxValue {
		return string(b[:maxValue]) + "…"
	}
	return string(b)
}

// difference is what must be written so that entries are as they should be.
type difference struct {
	set   []redisstore.KV
	del   []flags.Key
	drift Drift
}

// compare looks at every entry of the namespace and says how it differs from what is desired. Only
// entries that are there are read: an empty store costs a scan.
func (r *Reconciler) compare(ctx context.Context, want desired) (difference, error) {
	var d difference
	there := make(map[flags.Key]bool, want.spec.Len())
	scan := r.cfg.Store.NewScan()
	for more := true; more; {
		var found []flags.Key
		var err error
		if found, more, err = scan.Next(ctx); err != nil {
			return difference{}, err
		}
		for _, k := range found {
			there[k] = true
		}
	}
	var read, gone []flags.Key
	for k := range want.keys() {
		if there[k] {
			read = append(read, k)
			delete(there, k)
		} else {
			gone = append(gone, k)
		}
	}
	if err := r.check(ctx, want, read, &d); err != nil {
		return difference{}, err
	}
	for _, k := range gone {
		d.missing(want, k)
	}
	return d, r.extra(ctx, &d, slices.Collect(maps.Keys(there)))
}

// missing adds an entry that is not there.
func (d *difference) missing(want desired, k flags.Key) {
	entry, _ := want.entry(k)
	value := entry.AppendJSON(nil)
	d.set = append(d.set, redisstore.KV{Key: k, Value: value})
	d.drift.add(k, "missing", nil, value)
}

// extra adds entries that no spec holds, and what the first of them held.
func (r *Reconciler) extra(ctx context.Context, d *difference, keys []flags.Key) error {
	slices.SortFunc(keys, func(a, b flags.Key) int {
		return cmp.Or(cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Tenant, b.Tenant))
	})
	values, err := r.cfg.Store.Read(ctx, keys[:min(len(keys), maxFound)])
	if err != nil {
		return err
	}
	for i, k := range keys {
		var was []byte
		if i < len(values) {
			was = values[i]
		}
		d.del = append(d.del, k)
		d.drift.add(k, "extra", was, nil)
	}
	return nil
}

// check reads these entries of what is desired and adds those that differ.
func (r *Reconciler) check(ctx context.Context, want desired, keys []flags.Key, d *difference) error {
	for part := range slices.Chunk(keys, checkedAtOnce) {
		values, err := r.cfg.Store.Read(ctx, part)
		if err != nil {
			return err
		}
		var buf []byte
		for i, k := range part {
			entry, ok := want.entry(k)
			if !ok {
				if values[i] != nil { // a hint named it
					d.del = append(d.del, k)
					d.drift.add(k, "extra", values[i], nil)
				}
				continue
			}
			buf = entry.AppendJSON(buf[:0])
			if bytes.Equal(buf, values[i]) {
				continue
			}
			kind := "changed"
			if values[i] == nil {
				kind = "missing"
			}
			d.set = append(d.set, redisstore.KV{Key: k, Value: bytes.Clone(buf)})
			d.drift.add(k, kind, values[i], buf)
		}
	}
	return nil
}

// checkedAtOnce bounds the values held at once while entries are read back.
const checkedAtOnce = 10_000

// exactEntry is the entry that lands in Redis under k, if one does: [flags.Spec.Entry]
// falls back to the feature's own.
func exactEntry(spec *flags.Spec, k flags.Key) (flags.Entry, bool) {
	f := spec.Feature(k.Feature)
	if f == nil || k.Tenant != flags.DefaultTenant && f.Tenant(k.Tenant) == nil {
		return flags.Entry{}, false
	}
	return spec.Entry(k.Feature, k.Tenant)
}

const (
	// wholeUpTo is how many entries are all read back at every look; more are gone
	// through in rollTime.
	wholeUpTo = 10_000
	rollTime  = 5 * time.Minute
	// scanSteps bounds how many SCAN commands one look sends: the Redis may hold
	// millions of other people's keys. Those who share a Redis share the ten, down to one each.
	scanSteps = 10
)

// watch is how far the rolling look has come.
type watch struct {
	want  desired
	laid  int         // the version of the layer
	keys  []flags.Key // of what is desired, made when first needed
	next  int         // the first key of the next part
	round bool        // a round has just ended: spec and bundle are due too
	scan  *redisstore.Scan
}

func (w *watch) reset(want desired, version int) {
	if w.want.spec != want.spec || w.laid != version {
		*w = watch{want: want, laid: version}
	}
}

// wholeDue says whether this look takes spec and bundle in: always for a small spec,
// once a round for a large one.
func (w *watch) wholeDue(entries int) bool {
	due := entries <= wholeUpTo || w.round
	w.round = false
	return due
}

// part is the next keys to read back at a look.
func (w *watch) part(interval time.Duration) []flags.Key {
	if w.keys == nil {
		w.keys = slices.AppendSeq(make([]flags.Key, 0, w.want.spec.Len()), w.want.keys())
	}
	if len(w.keys) <= wholeUpTo {
		return w.keys
	}
	looks := max(1, int(rollTime/interval))
	n := min(len(w.keys)-w.next, (len(w.keys)+looks-1)/looks)
	part := w.keys[w.next : w.next+n]
	if w.next += n; w.next == len(w.keys) {
		w.next, w.round = 0, true
	}
	return part
}

// deepen reads entries back, looks for some that no spec holds, and puts right what
// differs.
func (r *Reconciler) deepen(ctx context.Context) error {
	w := &r.store.watch
	var d difference
	part := w.part(r.cfg.interval())
	err := r.check(ctx, w.want, append(part[:len(part):len(part)], r.hinted(part)...), &d)
	if err == nil {
		err = r.sweep(ctx, &d)
	}
	if err != nil {
		return r.reachable(err)
	}
	if d.drift.total() == 0 {
		if !r.store.drifted {
			r.status.set(r.now().UTC(), CondDriftDetected, False, NoDrift, "")
		}
		return nil
	}
	return r.repair(ctx, d)
}

// sweep goes on with the scan for entries that no spec holds.
func (r *Reconciler) sweep(ctx context.Context, d *difference) error {
	w := &r.store.watch
	if w.scan == nil {
		w.scan = r.cfg.Store.NewScan()
	}
	strange, known := map[flags.Key]bool{}, map[flags.Key]bool{}
	for _, k := range d.del {
		known[k] = true
	}
	for range max(1, scanSteps/r.cfg.Store.Sharing()) {
		found, more, err := w.scan.Next(ctx)
		if err != nil {
			return err
		}
		for _, k := range found {
			if _, ok := w.want.entry(k); !ok && !known[k] {
				strange[k] = true
			}
		}
		if !more {
			w.scan = nil
			break
		}
	}
	if len(strange) == 0 {
		return nil
	}
	return r.extra(ctx, d, slices.Collect(maps.Keys(strange)))
}

// repair puts entries right under the same generation.
func (r *Reconciler) repair(ctx context.Context, d difference) error {
	e := r.newEvent(KindRepair)
	g := r.target.Generation
	e.Environment, e.Commit, e.Generation, e.Version, e.Digest = g.Environment, g.Commit, g.Number, g.Version, g.Digest
	e.Drift = &d.drift
	if err := r.intent(ctx, e); err != nil {
		return err
	}
	traced := r.trace.time("apply")
	counts, err := r.mend(ctx, d.set, d.del)
	r.trace.share(traced(wroteAttrs(KindRepair, counts.Set, counts.Deleted), err))
	if errors.Is(err, redisstore.ErrConflict) {
		r.store.spec = nil
		return r.bring(ctx)
	}
	if err != nil {
		e.Outcome, e.Code, e.Error = OutcomePending, StoreUnavailable, err.Error()
		r.outcome(ctx, e)
		return r.reachable(err)
	}
	e.Outcome = OutcomeApplied
	e.Counts = &Counts{Set: counts.Set, Deleted: counts.Deleted, Keys: counts.Keys, Commands: counts.Commands}
	r.outcome(ctx, e)
	r.drifted(KindRepair, &d.drift)
	return nil
}

// drifted counts what was found and put right.
func (r *Reconciler) drifted(kind Kind, d *Drift) {
	now := r.now().UTC()
	r.store.drifted = kind == KindRefill || kind == KindRepair
	switch kind {
	case KindRefill:
		r.metrics.refills.Inc()
		r.status.set(now, CondDriftDetected, True, StoreRefill, "the store had lost its content and was filled again")
		return
	case KindRepair:
	default:
		r.status.set(now, CondDriftDetected, False, NoDrift, "")
		return
	}
	r.metrics.repairs.Inc()
	r.metrics.driftEntries.WithLabelValues("missing").Add(float64(d.Missing))
	r.metrics.driftEntries.WithLabelValues("changed").Add(float64(d.Changed))
	r.metrics.driftEntries.WithLabelValues("extra").Add(float64(d.Extra))
	n := uint64(d.total() + len(d.System))
	r.status.Drift = DriftTotals{Found: r.status.Drift.Found + n, Repaired: r.status.Drift.Repaired + n, LastAt: now, Last: d}
	r.status.set(now, CondDriftDetected, True, Repaired, d.String())
}

// String is the drift in a sentence.
func (d *Drift) String() string {
	s := fmt.Sprintf("%d missing, %d changed, %d extra", d.Missing, d.Changed, d.Extra)
	for _, name := range d.System {
		s += ", " + name
	}
	return s
}

// hinted is the part of the next look that Redis' notifications ask for, beside the
// rolling one: keys that the rolling part holds anyway are left out.
func (r *Reconciler) hinted(rolling []flags.Key) []flags.Key {
	keys, system := r.hints.take()
	w := &r.store.watch
	w.round = w.round || system
	if len(rolling) == len(w.keys) {
		return nil
	}
	for k := range w.want.layer { // few, and what they lower must stay down
		if keys == nil {
			keys = map[flags.Key]bool{}
		}
		keys[k] = true
	}
	for _, k := range rolling {
		delete(keys, k)
	}
	return slices.Collect(maps.Keys(keys))
}
