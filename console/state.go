package console

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/reconciler"
)

// state is the one word that says how things are, why, and what to do.
type state struct {
	Word  string // in sync, lowered, applying, held, refused, drift, stale, starting
	Class string // good, busy, warn, bad
	Why   string
	Do    string
	Steps []step // git → verified → applied → Redis
}

// step is one station on the way from git to Redis.
type step struct {
	Name, Class, Text, Commit string
}

const staleAfter = 5 * time.Minute

func stateOf(s *reconciler.Status, now time.Time) state {
	cond := s.Condition
	st := state{Steps: stepsOf(s)}
	set := func(word, class string, c reconciler.Condition) state {
		st.Word, st.Class, st.Why, st.Do = word, class, c.Message, reconciler.ReasonFor(c.Reason).Do
		if st.Why == "" {
			st.Why = reconciler.ReasonFor(c.Reason).Meaning
		}
		return st
	}
	switch {
	case s.Passes == 0:
		st.Word, st.Class, st.Why = "starting", "busy", "The first look at git and Redis is under way."
		return st
	case cond(reconciler.CondStoreUnavailable).Status == reconciler.True:
		return set("stale", "bad", cond(reconciler.CondStoreUnavailable))
	case cond(reconciler.CondHistoryRewritten).Status == reconciler.True:
		return set("refused", "bad", cond(reconciler.CondHistoryRewritten))
	case s.Suspended != nil:
		st.Word, st.Class, st.Why, st.Do = "held", "warn", "Reconciling is "+s.Suspended.String()+".", "Resume when it is time; what is live is looked after meanwhile."
		return st
	case len(s.Refused) > 0:
		last := s.Refused[len(s.Refused)-1]
		st.Word, st.Class = "refused", "bad"
		st.Why, st.Do = fmt.Sprintf("%s: %s", last.Code, last.Message), last.Hint
		if st.Do == "" {
			st.Do = reconciler.ReasonFor(last.Code).Do
		}
		return st
	case cond(reconciler.CondFetchFailed).Status == reconciler.True && !s.LastSuccess.IsZero() && now.Sub(s.LastSuccess) < staleAfter:
		return set("held", "warn", cond(reconciler.CondFetchFailed))
	case cond(reconciler.CondFetchFailed).Status == reconciler.True:
		return set("stale", "bad", cond(reconciler.CondFetchFailed))
	case len(s.Deferred) > 0:
		d := s.Deferred[len(s.Deferred)-1]
		st.Word, st.Class, st.Why = "held", "warn", d.Message
		return st
	case cond(reconciler.CondApplied).Status == reconciler.False:
		return set("applying", "busy", cond(reconciler.CondApplied))
	case cond(reconciler.CondReady).Status != reconciler.True:
		return set("refused", "bad", cond(reconciler.CondReady))
	case cond(reconciler.CondDriftDetected).Status == reconciler.True:
		return set("drift", "warn", cond(reconciler.CondDriftDetected))
	case !s.LastSuccess.IsZero() && now.Sub(s.LastSuccess) > staleAfter:
		st.Word, st.Class, st.Why = "stale", "bad", "The last look that found everything in order is "+ago(now.Sub(s.LastSuccess))+" old."
		st.Do = "Look at the reconciler's log."
		return st
	}
	if c := cond(reconciler.CondReady); c.Reason == reconciler.Held { // there is more on the branch, and nobody has to act
		return set("applying", "busy", c)
	}
	if n := len(s.Overrides); n > 0 {
		st.Word, st.Class, st.Why = "lowered", "warn", "What is live is what git says, but for what break-glass holds down: "+s.Overrides[n-1].Text+"."
		if n > 1 {
			st.Why = fmt.Sprintf("%s %d statements are in force.", st.Why, n)
		}
		st.Do = "Bring git to the same before it ends, or let it end."
		return st
	}
	st.Word, st.Class, st.Why = "in sync", "good", "What is live is what git says."
	return st
}

// stepsOf shows where the way from git to Redis is stuck: everything up to there is good.
func stepsOf(s *reconciler.Status) []step {
	mark := func(name string, m *reconciler.Mark, ok bool, otherwise string) step {
		if m == nil && !ok && otherwise != string(reconciler.NotYet) {
			return step{Name: name, Class: "bad", Text: otherwise}
		}
		if m == nil {
			return step{Name: name, Class: "wait", Text: "nothing yet"}
		}
		st := step{Name: name, Class: "good", Text: m.Version, Commit: m.Commit}
		if !ok {
			st.Class, st.Text = "bad", otherwise
		}
		return st
	}
	is := func(t reconciler.ConditionType) reconciler.Condition { return s.Condition(t) }
	fetched := is(reconciler.CondFetchFailed).Status != reconciler.True
	verified := len(s.Refused) == 0 && is(reconciler.CondHistoryRewritten).Status != reconciler.True && is(reconciler.CondSourceVerified).Status != reconciler.False
	applied := is(reconciler.CondApplied).Status != reconciler.False
	reachable := is(reconciler.CondStoreUnavailable).Status != reconciler.True
	text := func(t reconciler.ConditionType) string { return string(is(t).Reason) }
	refused := text(reconciler.CondSourceVerified)
	if n := len(s.Refused); n > 0 {
		refused = string(s.Refused[n-1].Code)
	}
	steps := []step{
		mark("git", s.Observed, fetched, text(reconciler.CondFetchFailed)),
		mark("verified", s.Verified, verified, refused),
		mark("applied", s.Applied, applied, text(reconciler.CondApplied)),
		mark("Redis", s.Applied, reachable, text(reconciler.CondStoreUnavailable)),
	}
	if s.Applied == nil && is(reconciler.CondStoreUnavailable).Status == reconciler.False {
		steps[3].Class, steps[3].Text = "good", "reachable, and empty"
	}
	if reachable && s.Applied != nil {
		steps[3].Text, steps[3].Commit = fmt.Sprintf("%d entries", s.Applied.Entries), ""
	}
	if steps[0].Class == "good" && s.Observed != nil {
		steps[0].Text = s.Observed.Subject
	}
	if n := len(s.Refused); n > 0 && steps[1].Class == "bad" {
		steps[1].Commit = s.Refused[n-1].Commit // what is stuck, not what came through
	}
	if s.Applied != nil && steps[2].Class == "good" {
		steps[2].Text = fmt.Sprintf("generation %d, %s", s.Applied.Generation, s.Applied.Version)
	}
	return steps
}

func (c *Console) funcs() template.FuncMap {
	return template.FuncMap{
		"short":   func(hash string) string { return hash[:min(len(hash), 10)] },
		"forge":   c.opt.Commit,
		"ago":     func(t time.Time) string { return agoAt(t, c.opt.Now()) },
		"stamp":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"rfc":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"join":    func(list []string) string { return strings.Join(list, ", ") },
		"tenant":  tenantName,
		"add":     func(a, b int) int { return a + b },
		"add64":   func(a, b uint64) uint64 { return a + b },
		"heat":    heat,
		"plural":  plural,
		"capital": capital,
		"digest":  shortDigest,
		"page":    func(name string) string { return c.opt.Base + featureURL(name) },
		"base":    func() string { return c.opt.Base },
		"pct":     func(p flags.Pct) string { return p.String() },
	}
}

// capital makes a heading of a state's word.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if strings.HasSuffix(one, "y") {
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(one, "y"))
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func tenantName(t string) string {
	if t == flags.DefaultTenant || t == "" {
		return "everybody else"
	}
	return t
}

// heat is the class of a percentage's colour: eleven of them.
func heat(r entryRow) string {
	if !r.Enabled {
		return "off"
	}
	return fmt.Sprintf("h%d", int(r.Pct)/10_000)
}

func agoAt(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	if d < 0 {
		return "in " + ago(-d)
	}
	return ago(d) + " ago"
}

func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "a moment"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
