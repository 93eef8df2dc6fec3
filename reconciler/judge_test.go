package reconciler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// random makes histories for the pure part: commits with random content, signed by
// random people, at random times, under a policy with a maintainer and a bounded bot.
type random struct {
	policy *trust.Policy
	keys   map[string]*flagtest.Key
	signed map[string]signing.NamedBundle // by signer and content: signing is slow
}

func newRandom(t testing.TB) *random {
	r := &random{keys: map[string]*flagtest.Key{}, signed: map[string]signing.NamedBundle{}}
	var known []*flagtest.Key
	for _, name := range []string{"alice", "bot", "mallory"} {
		r.keys[name] = flagtest.NewKey(t, name)
		if name != "mallory" {
			known = append(known, r.keys[name])
		}
	}
	src := flagtest.Trust(t, `{"roles":{
		"maintainer":{"signers":["alice"],"may":["*"]},
		"ramp":{"signers":["bot"],"may":["ramp.up","ramp.down"],"max_step":10,"min_interval":"1h"}}}`, known...)
	var err error
	if r.policy, err = trust.Parse("trust.json", []byte(src)); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *random) sign(who, src string) signing.NamedBundle {
	key := who + "\x00" + src
	if b, ok := r.signed[key]; ok {
		return b
	}
	b := signing.NamedBundle{Path: who, Data: r.keys[who].Bundle([]byte(src))}
	r.signed[key] = b
	return b
}

// commits draws a history. Most commits change a percentage a little under a new
// version; some bring content or a version of before back, some are broken.
func (r *random) commits(t *rapid.T) []content {
	at := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	pct := map[string]int{"a": 0, "b": 10}
	version := 1
	var out []content
	for i := range rapid.IntRange(1, 25).Draw(t, "commits") {
		at = at.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute)
		which := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "feature")
		pct[which] = min(max(pct[which]+rapid.SampledFrom([]int{5, 5, 10, 15, -5, -10}).Draw(t, "by"), 0), 100)
		named := version
		if rapid.IntRange(0, 9).Draw(t, "version") > 0 {
			version++
			named = version
		}
		src := fmt.Sprintf(`{"version":"v+ramp.%d","features":{"a":{"pct":%d},"b":{"pct":%d}}}`, named, pct["a"], pct["b"])
		switch rapid.IntRange(0, 9).Draw(t, "shape") {
		case 0:
			src = `{"version":"broken"}`
		case 1:
			src = fmt.Sprintf(`{"version":"v+ramp.%d","features":{"a":{"pct":%d}}}`, named, pct["a"])
		case 2, 3:
			if len(out) > 0 {
				src = string(out[rapid.IntRange(0, len(out)-1).Draw(t, "again")].src)
			}
		}
		c := content{
			commit: gitrepo.Commit{Hash: fmt.Sprintf("%040d", i), When: at}, path: "flags.json", src: []byte(src),
		}
		who := rapid.SampledFrom([]string{"alice", "bot", "bot", "bot", "bot", "mallory", "", "stale"}).Draw(t, "who")
		switch who {
		case "":
		case "stale":
			c.bundles = []signing.NamedBundle{r.sign("alice", `{"version":"other"}`)}
		default:
			c.bundles = []signing.NamedBundle{r.sign(who, src)}
		}
		out = append(out, c)
	}
	return out
}

// walk folds the contents as the reconciler does, from the first that alice signed.
func (r *random) walk(t *rapid.T, contents []content) (journey, []content) {
	byHash := map[string]content{}
	var commits []gitrepo.Commit
	for _, c := range contents {
		byHash[c.commit.Hash] = c
		commits = append(commits, c.commit)
	}
	w := &walker{
		court: court{policy: r.policy, history: newHistory(nil), decode: new(flags.Decoder)}, next: 1,
		load:  func(_ context.Context, c gitrepo.Commit) (content, error) { return byHash[c.Hash], nil },
		clock: func(c gitrepo.Commit) time.Time { return c.When },
	}
	first := slices.IndexFunc(commits, func(c gitrepo.Commit) bool {
		i, err := w.newestFull(context.Background(), []gitrepo.Commit{c})
		return err == nil && i == 0
	})
	if first < 0 {
		return journey{}, nil
	}
	w.decode = new(flags.Decoder)
	j, err := w.walk(context.Background(), commits[first:])
	if err != nil {
		t.Fatal(err)
	}
	return j, contents[first:]
}

// Laws of the walk, over random histories.
func TestWalkLaws(t *testing.T) {
	r := newRandom(t)
	rapid.Check(t, func(t *rapid.T) {
		contents := r.commits(t)
		j, walked := r.walk(t, contents)
		byHash := map[string]content{}
		for _, c := range walked {
			byHash[c.commit.Hash] = c
		}
		var before *flags.Spec
		versions := map[string]string{}
		lastUp := map[flags.Key]time.Time{}
		for i, st := range j.steps {
			c := byHash[st.Commit]
			spec, err := flags.Decode("flags.json", c.src)
			if err != nil {
				t.Fatalf("generation %d is broken: %v", st.Number, err)
			}
			if st.Number != uint64(i+1) {
				t.Fatalf("generation %d follows %d", st.Number, i)
			}
			if len(c.bundles) == 0 || c.bundles[0].Path == "mallory" || st.Signers[0] != c.bundles[0].Path {
				t.Fatalf("generation %d was signed by %v, its bundle is by %v", st.Number, st.Signers, c.bundles)
			}
			if before != nil && before.Digest() == spec.Digest() {
				t.Fatalf("generation %d has the content of the one before", st.Number)
			}
			if d, ok := versions[spec.Version]; ok && d != spec.Digest() {
				t.Fatalf("version %s stands for two contents", spec.Version)
			}
			if came := slices.Contains(slices.Collect(maps.Values(versions)), spec.Digest()); came != (st.Kind == KindRollback) {
				t.Fatalf("generation %d is of kind %s; its content was accepted before: %v", st.Number, st.Kind, came)
			}
			versions[spec.Version] = spec.Digest()
			for _, ch := range flags.Diff(before, spec) {
				bot := st.Signers[0] == "bot" && st.Kind == KindAccept
				if bot && ch.Kind != flags.RampUp && ch.Kind != flags.RampDown {
					t.Fatalf("the bot made a %s", ch.Kind)
				}
				if bot && ch.Kind == flags.RampUp {
					if ch.After.Pct-ch.Before.Pct > 10_000 {
						t.Fatalf("the bot stepped from %s to %s", ch.Before.Pct, ch.After.Pct)
					}
					if up, ok := lastUp[ch.Key()]; ok && st.At.Before(up.Add(time.Hour)) {
						t.Fatalf("the bot raised %s at %s, it rose last at %s", ch.Key(), st.At, up)
					}
				}
				if st.Kind == KindRollback && ch.Rises {
					t.Fatalf("a rollback raised %s", ch)
				}
				if ch.Rises {
					lastUp[ch.Key()] = st.At
				}
			}
			before = spec
		}
		if before == nil {
			return
		}
		newest := signing.NewArtifact(walked[len(walked)-1].src).Digest()
		if j.live() != (newest == before.Digest()) {
			t.Fatalf("head is live: %v; its content is the last accepted: %v", j.live(), newest == before.Digest())
		}
		if j.live() && len(j.refused)+len(j.deferred) > 0 {
			t.Fatalf("head is live and commits are said to be passed over: %v %v", j.refused, j.deferred)
		}
	})
}

// Walking in two parts gives what walking in one gives: nothing depends on how often the
// reconciler looks, as long as nothing has to wait for its time.
func TestWalkInParts(t *testing.T) {
	r := newRandom(t)
	rapid.Check(t, func(t *rapid.T) {
		contents := r.commits(t)
		whole, walked := r.walk(t, contents)
		if len(walked) < 2 || len(whole.steps) == 0 || len(whole.deferred) > 0 {
			return
		}
		cut := rapid.IntRange(1, len(walked)).Draw(t, "cut")
		first, _ := r.walk(t, walked[:cut])
		if len(first.steps) == 0 || len(first.deferred) > 0 {
			return
		}
		last := first.steps[len(first.steps)-1]
		var lines []Generation
		for _, st := range first.steps {
			lines = append(lines, st.Generation)
		}
		byHash := map[string]content{}
		var rest []gitrepo.Commit
		from := slices.IndexFunc(walked, func(c content) bool { return c.commit.Hash == first.checked })
		for _, c := range walked[from+1:] {
			byHash[c.commit.Hash] = c
			rest = append(rest, c.commit)
		}
		w := &walker{
			court: court{policy: r.policy, history: newHistory(lines), decode: new(flags.Decoder), last: last.spec}, next: last.Number + 1,
			load:  func(_ context.Context, c gitrepo.Commit) (content, error) { return byHash[c.Hash], nil },
			clock: func(c gitrepo.Commit) time.Time { return c.When },
		}
		second, err := w.walk(context.Background(), rest)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range second.steps {
			lines = append(lines, st.Generation)
		}
		if len(lines) != len(whole.steps) {
			t.Fatalf("in two parts %d generations, in one %d", len(lines), len(whole.steps))
		}
		for i, st := range whole.steps {
			if st.Commit != lines[i].Commit || st.Kind != lines[i].Kind {
				t.Fatalf("generation %d is %s of %s in one part, %s of %s in two", i+1, st.Kind, st.Commit, lines[i].Kind, lines[i].Commit)
			}
		}
	})
}

// The zero values of verdict and court allow nothing.
func TestZeroVerdictRefuses(t *testing.T) {
	if r := (ruling{}); r.verdict != refused {
		t.Errorf("a forgotten verdict is %s", r.verdict)
	}
	j := journey{head: &ruling{}}
	if j.live() {
		t.Error("a forgotten verdict makes head live")
	}
}

// Every code that the judge, trust or the pass can give is in the table, once.
func TestReasonsTable(t *testing.T) {
	seen := map[Code]bool{}
	for _, r := range Reasons {
		if seen[r.Code] || r.Meaning == "" || r.Class == ClassRefused && r.Do == "" {
			t.Errorf("%s stands twice, or without a meaning or a next step", r.Code)
		}
		seen[r.Code] = true
	}
	for _, reason := range []trust.Reason{
		trust.TooSoon, trust.Unsigned, trust.NotAuthorized, trust.WrongEnvironment, trust.WrongPrevious,
		trust.LegacyReaders, trust.TooManyRemoved, trust.Replayed, trust.SignersRevoked, trust.RaisesExposure,
	} {
		if !seen[Code(reason)] {
			t.Errorf("trust answers %s, and the table does not know it", reason)
		}
	}
}
