package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// line is one line of trace.jsonl.
type line struct {
	Format string  `json:"format"` // "chaos-trace/v1"
	At     float64 `json:"at"`     // seconds since the run began
	Kind   string  `json:"kind"`   // action, lift, observe, note, calm, broken or figures
	What   string  `json:"what"`
	Detail any     `json:"detail,omitempty"`
}

const traceFormat = "chaos-trace/v1"

// trace is what happened and what was seen, in order, and what is broken of it. It is
// safe for concurrent use.
type trace struct {
	mu     sync.Mutex
	began  time.Time
	file   *os.File
	talk   io.Writer
	last   []line // the newest actions, for the story of a broken invariant
	broken []line
	counts map[string]int
}

func newTrace(path string, talk io.Writer) (*trace, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("making the trace: %w", err)
	}
	return &trace{began: time.Now(), file: f, talk: talk, counts: map[string]int{}}, nil
}

// enoughOfOne is how often one invariant is reported: what comes after follows from it.
const enoughOfOne = 5

const toldBefore = 12 // actions that a broken invariant's story names

func (t *trace) add(kind, what string, detail any) line {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := line{Format: traceFormat, At: float64(time.Since(t.began).Milliseconds()) / 1000, Kind: kind, What: what, Detail: detail}
	t.counts[kind]++
	if kind == "action" || kind == "lift" {
		if t.last = append(t.last, l); len(t.last) > toldBefore {
			t.last = t.last[1:]
		}
	}
	src, err := json.Marshal(l)
	if err != nil {
		src = fmt.Appendf(nil, `{"format":%q,"kind":%q,"what":%q}`, traceFormat, kind, what)
	}
	if _, err := t.file.Write(append(src, '\n')); err != nil {
		fmt.Fprintln(t.talk, "writing the trace:", err)
	}
	return l
}

// action notes what was done to the world.
func (t *trace) action(what string, detail any) { t.add("action", what, detail) }

// note keeps what may help a reader, and proves nothing.
func (t *trace) note(format string, args ...any) { t.add("note", fmt.Sprintf(format, args...), nil) }

// say notes and tells the terminal.
func (t *trace) say(format string, args ...any) {
	l := t.add("note", fmt.Sprintf(format, args...), nil)
	fmt.Fprintf(t.talk, "%8.1f  %s\n", l.At, l.What)
}

// breaks notes a broken invariant, once per sentence and a few times per invariant, with what went
// before it.
func (t *trace) breaks(invariant, format string, args ...any) {
	why, times := fmt.Sprintf(format, args...), 0
	t.mu.Lock()
	for _, b := range t.broken {
		if b.What != invariant {
			continue
		}
		if times++; b.Detail.(map[string]any)["why"] == why || times == enoughOfOne {
			t.mu.Unlock()
			return
		}
	}
	after := append([]line(nil), t.last...)
	t.mu.Unlock()
	l := t.add("broken", invariant, map[string]any{"why": why, "after": after})
	t.mu.Lock()
	t.broken = append(t.broken, l)
	t.mu.Unlock()
	fmt.Fprintf(t.talk, "%8.1f  BROKEN %s: %s\n", l.At, invariant, why)
	for _, a := range after {
		fmt.Fprintf(t.talk, "          after %8.1f  %s\n", a.At, a.What)
	}
}

func (t *trace) isBroken() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.broken) > 0
}

func (t *trace) close() error { return t.file.Close() }
