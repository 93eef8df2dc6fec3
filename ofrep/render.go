package ofrep

import (
	"slices"
	"strconv"

	"github.com/rampart-flags/rampart/flags"
)

// rendered is what can be written before anybody asks: the parts of answers that
// depend on what is live and not on who asks. It is made once for a revision.
//
// An answer about one feature is
//
//	{"key":"receipts" outcome "entry":"receipts:acme","version":"v1+ramp.7" tail
//
// and for a feature's own entry all of it is ready, for each outcome it can have.
type rendered struct {
	snapshot *flags.Snapshot
	revision string
	tail     []byte // ,"generation":57,"commit":"…"}}

	// ready[i] holds the answers about the i-th feature by name, by its own entry.
	ready [][outcomes]span
	text  []byte
}

// span is a part of rendered.text; empty when the outcome cannot be.
type span struct{ from, to uint32 }

// outcome is a decision without its texts.
type outcome uint8

const (
	outDisabled outcome = iota
	outCohort
	outFull
	outHashOn
	outHashOff
	outcomes
)

// between are the parts that depend on the outcome alone.
var between = func() (parts [outcomes]string) {
	for o, d := range map[outcome]flags.Decision{
		outDisabled: {Reason: flags.ReasonDisabled}, outCohort: {On: true, Reason: flags.ReasonCohort},
		outFull: {On: true, Reason: flags.ReasonFull}, outHashOn: {On: true, Reason: flags.ReasonHash},
		outHashOff: {Reason: flags.ReasonHash},
	} {
		variant := "off"
		if d.On {
			variant = "on"
		}
		parts[o] = `,"value":` + strconv.FormatBool(d.On) + `,"reason":"` + d.Reason.OpenFeature() + `","variant":"` + variant +
			`","metadata":{"reason":"` + string(d.Reason) + `","entry":`
	}
	return parts
}()

func outcomeOf(d *flags.Decision) outcome {
	switch d.Reason {
	case flags.ReasonHash:
		if d.On {
			return outHashOn
		}
		return outHashOff
	case flags.ReasonFull:
		return outFull
	case flags.ReasonCohort:
		return outCohort
	}
	return outDisabled
}

// render gives what is rendered of a view, and renders it when it is new.
func (h *Handler) render(v View) *rendered {
	if r := h.rendered.Load(); r != nil && r.snapshot == v.Snapshot && r.revision == v.revision() {
		return r
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rendered.Load(); r != nil && r.snapshot == v.Snapshot && r.revision == v.revision() {
		return r
	}
	r := newRendered(v)
	h.rendered.Store(r)
	return r
}

func newRendered(v View) *rendered {
	r := &rendered{snapshot: v.Snapshot, revision: v.revision()}
	r.tail = append(r.tail, `,"generation":`...)
	r.tail = appendUint(r.tail, v.Generation)
	r.tail = append(r.tail, `,"commit":`...)
	r.tail = appendString(r.tail, v.Commit)
	r.tail = append(r.tail, "}}"...)
	for name := range v.Snapshot.Features() {
		var spans [outcomes]span
		if e, of := v.Snapshot.Entry(name, flags.DefaultTenant); of != "" {
			for _, o := range possible(&e) {
				from := uint32(len(r.text))
				r.text = r.append(r.text, name, of, e.Version, o)
				spans[o] = span{from, uint32(len(r.text))}
			}
		}
		r.ready = append(r.ready, spans)
	}
	r.text = slices.Clip(r.text)
	return r
}

// possible are the outcomes that an entry can have.
func possible(e *flags.Entry) []outcome {
	switch {
	case !e.Enabled:
		return []outcome{outDisabled}
	case e.Pct >= flags.Full:
		return []outcome{outCohort, outFull}
	}
	return []outcome{outCohort, outHashOn, outHashOff}
}

// append writes an answer from its parts.
func (r *rendered) append(dst []byte, feature, tenant, version string, o outcome) []byte {
	dst = append(dst, `{"key":`...)
	dst = appendString(dst, feature)
	dst = append(dst, between[o]...)
	dst = appendEntry(dst, feature, tenant)
	dst = append(dst, `,"version":`...)
	dst = appendString(dst, version)
	return append(dst, r.tail...)
}

// appendEntry appends the name of an entry, as its key in Redis has it.
func appendEntry(dst []byte, feature, tenant string) []byte {
	dst = appendString(dst, feature)
	dst[len(dst)-1] = ':'
	at := len(dst)
	dst = appendString(dst, tenant)
	return append(dst[:at], dst[at+1:]...) // without the quote between the two
}

func (r *rendered) appendOne(dst []byte, feature string, d flags.Decision) []byte {
	return r.append(dst, feature, d.Tenant, d.Version, outcomeOf(&d))
}

// appendAt is appendOne for the i-th feature by name.
func (r *rendered) appendAt(dst []byte, i int, feature string, d *flags.Decision) []byte {
	o := outcomeOf(d)
	if d.Tenant == flags.DefaultTenant && i < len(r.ready) {
		if s := r.ready[i][o]; s.to > s.from {
			return append(dst, r.text[s.from:s.to]...)
		}
	}
	return r.append(dst, feature, d.Tenant, d.Version, o)
}

func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }
