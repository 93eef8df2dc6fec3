package ramp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
)

var receipts = flags.Key{Feature: "receipts", Tenant: flags.DefaultTenant}

// story tells a log of receipts' revisions, an hour apart from noon on, and where each goes wrong.
type story struct {
	t   *testing.T
	log ramp.Log
	now time.Time
	n   int
	at  flags.Pct
	was string // its `ramped` block
}

func begin(t *testing.T, pct flags.Pct) *story {
	s := &story{t: t, now: noon}
	s.commit(pct, "", "add")
	return s
}

func (s *story) spec(pct flags.Pct, ramped string) *flags.Spec {
	if ramped != "" {
		ramped = `,"ramped":` + ramped
	}
	return decode(s.t, fmt.Sprintf(`{"version":"flags-v1+ramp.%d","features":{"receipts":{"pct":%s%s}}}`, s.n+1, pct, ramped))
}

func (s *story) commit(pct flags.Pct, ramped, message string) {
	s.n++
	s.now = s.now.Add(time.Hour)
	s.at, s.was = pct, ramped
	s.log.Add(ramp.Revision{Commit: fmt.Sprintf("%040d", s.n), When: s.now, Message: message, Spec: s.spec(pct, ramped)})
}

// block is the record of a step decided half an hour before the next commit.
func (s *story) block(from, to flags.Pct, reason string) string {
	verdict := "green"
	if to < from {
		verdict = "red"
	}
	return fmt.Sprintf(`{"at":%q,"from":%s,"to":%s,"verdict":%q,"reason":%q}`, s.now.Add(30*time.Minute).Format(time.RFC3339), from, to, verdict, reason)
}

func (s *story) step(to flags.Pct, reason string) {
	s.commit(to, s.block(s.at, to, reason), "ramp: receipts")
}

func (s *story) history() ramp.History { return s.log.History(receipts) }

func TestHistoryDatesStepsByTheirMerge(t *testing.T) {
	s := begin(t, 0)
	if h := s.history(); !h.SteppedAt.IsZero() {
		t.Errorf("a new feature was never stepped: %+v", h)
	}
	s.step(10_000, "coverage")
	merged := s.now
	s.commit(10_000, s.was, "something else")
	if h := s.history(); !h.SteppedAt.Equal(merged) || h.Downs != 0 {
		t.Errorf("got %+v, want a step at %s", h, merged)
	}
	s.commit(40_000, s.was, "a person sets it")
	if h := s.history(); !h.SteppedAt.Equal(s.now) || h.Reverted != "" {
		t.Errorf("a person's change is a step: %+v", h)
	}
}

func TestHistoryCountsLoweringsUntilFull(t *testing.T) {
	s := begin(t, 50_000)
	s.step(40_000, "divergence 1 > 0")
	s.step(50_000, "coverage")
	s.step(0, "aborted to 0: critical alert A")
	if h := s.history(); h.Downs != 2 || h.Aborts != 1 || !h.DownAt.Equal(s.now) {
		t.Errorf("got %+v, want two lowerings, one an abort, the last at %s", h, s.now)
	}
	s.step(100_000, "coverage")
	if h := s.history(); h.Downs != 0 || h.Aborts != 0 {
		t.Errorf("at 100 %% all is forgotten: %+v", h)
	}
}

func TestRevertHoldsUntilResumed(t *testing.T) {
	for _, c := range []struct {
		name   string
		revert func(s *story, before string)
	}{
		{"by content: the record is the older one", func(s *story, before string) { s.commit(10_000, before, "Merge pull request #5") }},
		{"by message: signed anew", func(s *story, _ string) {
			s.commit(10_000, s.was, "Revert \"ramp\"\n\nThis reverts commit "+strings.Repeat("0", 39)+"2.\n")
		}},
		{"by hand, and the first step's record goes", func(s *story, _ string) { s.commit(10_000, "", "no") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t, 0)
			s.step(10_000, "coverage")
			before := s.was
			s.step(20_000, "coverage")
			c.revert(s, before)
			h := s.history()
			if h.Reverted != fmt.Sprintf("%040d", s.n) || h.Downs != 1 {
				t.Fatalf("got %+v, want the revert in commit %d", h, s.n)
			}
			s.step(0, "divergence 1 > 0")
			if s.history().Reverted == "" {
				t.Error("the bot's lowering is no resume")
			}
			s.commit(30_000, s.was, "a person raises it")
			if s.history().Reverted == "" {
				t.Error("a person's raise is no resume")
			}
			s.commit(30_000, s.block(30_000, 30_000, "resumed: coverage 80 < 95"), "ramp: resume")
			if h := s.history(); h.Reverted != "" || h.Downs != 0 {
				t.Errorf("after the resume: %+v", h)
			}
		})
	}
}

func TestResumeThatStepsAtOnce(t *testing.T) {
	s := begin(t, 0)
	s.step(10_000, "coverage")
	s.commit(0, "", "Revert")
	s.step(10_000, "resumed: coverage 97.2 >= 95")
	if h := s.history(); h.Reverted != "" || !h.SteppedAt.Equal(s.now) {
		t.Errorf("got %+v", h)
	}
}

// A person who lowers a percentage without taking anything back is not asked to resume.
func TestLoweringByHandIsNoRevert(t *testing.T) {
	s := begin(t, 0)
	s.step(50_000, "coverage")
	s.commit(20_000, s.was, "careful now")
	if h := s.history(); h.Reverted != "" || h.Downs != 1 {
		t.Errorf("got %+v", h)
	}
	s = begin(t, 0)
	s.step(50_000, "coverage")
	s.commit(20_000, "", "careful now")
	if h := s.history(); h.Reverted != "" {
		t.Errorf("the record went, but not to where the step came from: %+v", h)
	}
}

func TestPendingStepsAreNotLive(t *testing.T) {
	s := begin(t, 0)
	s.step(10_000, "coverage")
	live := s.now
	s.log.Pending(s.spec(0, s.block(10_000, 0, "aborted to 0: critical alert A")))
	h := s.history()
	if !h.SteppedAt.Equal(live) || !h.PendingAt.Equal(s.now.Add(30*time.Minute)) || h.Downs != 1 || h.Aborts != 1 {
		t.Errorf("got %+v", h)
	}
	// Without any commit, the file's own record is all there is.
	alone := &story{t: t, now: noon}
	alone.log.Pending(alone.spec(10_000, alone.block(20_000, 10_000, "divergence 1 > 0")))
	if h := alone.history(); !h.SteppedAt.IsZero() || h.PendingAt.IsZero() || h.Downs != 1 {
		t.Errorf("alone: %+v", h)
	}
}

func TestAFeatureThatComesBackIsAnother(t *testing.T) {
	s := begin(t, 50_000)
	s.step(40_000, "divergence 1 > 0")
	s.now = s.now.Add(time.Hour)
	s.log.Add(ramp.Revision{Commit: "x", When: s.now, Spec: decode(t, `{"version":"flags-v1+ramp.9","features":{}}`)})
	s.n = 20
	s.commit(0, "", "again")
	if h := s.history(); h != (ramp.History{}) {
		t.Errorf("got %+v", h)
	}
}

func TestTenantsHaveHistoriesOfTheirOwn(t *testing.T) {
	var log ramp.Log
	add := func(src string, hour int) {
		log.Add(ramp.Revision{Commit: fmt.Sprint(hour), When: noon.Add(time.Duration(hour) * time.Hour), Spec: decode(t, src)})
	}
	add(`{"version":"v","features":{"receipts":{"pct":20,"tenants":{"acme":{"pct":50},"beta":{}}}}}`, 1)
	add(`{"version":"v+ramp.1","features":{"receipts":{"pct":20,"tenants":{"acme":{"pct":60},"beta":{}}}}}`, 2)
	add(`{"version":"v+ramp.2","features":{"receipts":{"pct":30,"tenants":{"acme":{"pct":60},"beta":{}}}}}`, 3)
	for tenant, hour := range map[string]int{"acme": 2, "beta": 3, flags.DefaultTenant: 3} {
		if h := log.History(flags.Key{Feature: "receipts", Tenant: tenant}); !h.SteppedAt.Equal(noon.Add(time.Duration(hour) * time.Hour)) {
			t.Errorf("%s: %+v, want hour %d", tenant, h, hour)
		}
	}
}

// An alarm may sound in the very second of a step: the way down is the bot's own, and no person's step back.
func TestHistoryOfALoweringInTheMomentOfTheStep(t *testing.T) {
	s := begin(t, 10_000)
	s.step(20_000, "coverage")
	at := s.was[:len(`{"at":"2026-11-22T04:07:00Z"`)]
	s.commit(10_000, at+`,"from":20,"to":10,"verdict":"red","reason":"aborted to 10"}`, "Revert what rose")
	if h := s.history(); h.Downs != 1 || h.Reverted != "" {
		t.Errorf("got %+v, want one lowering and nobody's step back", h)
	}
	s.commit(20_000, at+`,"from":10,"to":20,"verdict":"green","reason":"coverage"}`, "Revert \"Revert what rose\"\n\nThis reverts commit 0123456789012345678901234567890123456789.")
	if h := s.history(); h.Reverted == "" {
		t.Errorf("got %+v, want a person's step", h)
	}
}

// A clock that is behind the one of the last step dates its lowering as late as that step, so that the record fits.
func TestALoweringIsNotDatedBeforeItsStep(t *testing.T) {
	spec := decode(t, `{"version":"flags-v1","features":{"receipts":{"pct":20,"ramped":{"at":"2026-11-22T12:00:05Z","from":10,"to":20,"verdict":"green"}}}}`)
	for to, want := range map[flags.Pct]string{10_000: "2026-11-22T12:00:05Z", 30_000: "2026-11-22T12:00:00Z"} {
		o := ramp.Outcome{Decision: ramp.Decision{Feature: "receipts", Tenant: flags.DefaultTenant, From: 20_000, To: to, Action: ramp.Up}}
		if to < 20_000 {
			o.Action = ramp.Down
		}
		src, err := flags.Edit(spec.Bytes(), ramp.Edits(spec, []ramp.Outcome{o}, 1, noon, ""))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(src), `"at":"`+want+`"`) {
			t.Errorf("to %s: want at %s, got %s", to, want, src)
		}
	}
}
