package reconciler

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// outline is a trace in one line: what its root says, and what hangs below it, in their order.
func outline(t Trace) string {
	var below func(s Span) string
	below = func(s Span) string {
		var all []string
		for _, c := range s.Children {
			all = append(all, c.Name+below(c))
		}
		if len(all) == 0 {
			return ""
		}
		return "(" + strings.Join(all, " ") + ")"
	}
	failed := ""
	if t.Root.Err != "" {
		failed = " failed"
	}
	return fmt.Sprintf("%v %v%s%s", t.Root.Attrs["outcome"], t.Root.Attrs["generation"], failed, below(t.Root))
}

// Each change of a pass has a trace of its own, under the chain of its receipts; what waits for the store has one when it is
// accepted and one when it is written; a pass that does nothing has none.
func TestTracesOfPasses(t *testing.T) {
	var got []Trace
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.cfg.Trace = func(tr Trace) { got = append(got, tr) }
	expect := func(when string, want ...string) {
		t.Helper()
		var have []string
		for _, tr := range got {
			have = append(have, outline(tr))
		}
		if !slices.Equal(have, want) {
			t.Errorf("%s:\n%s\nwant\n%s", when, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
	}
	const judged = "judge(verify validate authorize)"
	w.release("flags-v1", "receipts", 10)
	w.pass()
	expect("at the start", "applied 1(fetch walk("+judged+" receipt) plan apply receipt)")

	// Three commits in one pass: two generations, of which one is never seen, and a refusal.
	got = nil
	w.release("flags-v2", "receipts", 20)
	w.release("flags-v3", "receipts", 30)
	w.write("flags-v4", "receipts", 40)
	w.Sign("bot")
	refused := w.Land("flags-v4")
	w.pass()
	expect("three commits in one pass",
		"refused <nil>(fetch walk("+judged+") receipt)",
		"superseded 2(fetch walk("+judged+" receipt) receipt)",
		"applied 3(fetch walk("+judged+" receipt) plan apply receipt)")
	ids := map[string]bool{}
	for _, tr := range got {
		ids[tr.ID] = true
		for _, e := range w.events {
			if e.Commit == tr.Root.Attrs["commit"] && chainOf(e) != tr.ID {
				t.Errorf("the trace of %.8s is %s, its receipts' chain %s", e.Commit, tr.ID, chainOf(e))
			}
		}
	}
	if len(ids) != 3 {
		t.Errorf("three changes have %d traces", len(ids))
	}

	got = nil
	w.pass()
	w.pass()
	expect("with nothing to do")

	// The refused one is judged anew against another policy, and told of once.
	policy := w.Trust
	src, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(policy, append(src, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	w.pass()
	for _, tr := range got {
		if c := tr.Root.Attrs["commit"]; c != nil && c != refused {
			t.Errorf("a change that was not judged has a trace: %s", outline(tr))
		}
	}

	// Accepted while the store is away, written when it is back. The outage itself is told of in the change's trace.
	got = nil
	w.Redis.Kill()
	w.release("flags-v5", "receipts", 50)
	for range 3 {
		if _, err := w.try(); err == nil {
			t.Fatal("the pass met no trouble")
		}
	}
	if len(got) != 1 {
		t.Fatalf("%d traces of an outage", len(got))
	}
	away := got[0]
	got = nil
	w.Redis.Start()
	w.pass()
	if len(got) != 1 || got[0].Root.Attrs["outcome"] != "applied" {
		t.Fatalf("traces after the outage: %d", len(got))
	}
	if away.Root.Attrs["outcome"] == "pending" && got[0].ID != away.ID {
		t.Errorf("one change, two ids: %s and %s", away.ID, got[0].ID)
	}

	// A record that cannot be made is a failed receipt.
	got = nil
	w.fail = errors.New("no room")
	w.release("flags-v6", "receipts", 60)
	_, _ = w.try()
	if !slices.ContainsFunc(got, func(tr Trace) bool { return tr.Root.Attrs["outcome"] != "applied" }) {
		t.Errorf("a change that could not be recorded: %d traces", len(got))
	}
}
