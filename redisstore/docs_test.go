package redisstore_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// page gives the fenced blocks of one kind in docs/redis.md.
func page(t *testing.T, kind string) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)\n```"+kind+"\n(.*?)\n```\n").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("docs/redis.md has no block of %s", kind)
	}
	return blocks
}

// The session on the page prints what the page says.
func TestDocsSession(t *testing.T) {
	r := flagtest.Redis(t)
	flagtest.Need(t, "bash", "sha256sum")
	s := open(t, r.URL(), "")
	spec := []byte(`{"version":"flags-v1+ramp.2","features":{"receipts":{"pct":20,"cohorts":["A","user-123"],"version":"v1+ramp.1","tenants":{"acme":{"pct":50,"version":"v1+ramp.2"}}}}}`)
	entry := func(version string, pct flags.Pct) []byte {
		return flags.Entry{Version: version, Enabled: true, Pct: pct * 1000, Cohorts: []string{"A", "user-123"}}.AppendJSON(nil)
	}
	l := mustLease(t, s, "reconcile-1", 0)
	m := meta(1, l.Term)
	mustApply(t, s, redisstore.Fence{}, redisstore.Change{
		Set:  []redisstore.KV{{Key: flags.Key{Feature: "receipts", Tenant: flags.DefaultTenant}, Value: entry("v1+ramp.1", 20)}},
		Meta: m, Spec: []byte("{}"), Bundle: []byte("{}"),
	})
	m = meta(2, l.Term)
	m.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256(spec))
	mustApply(t, s, mustMeta(t, s).Fence(), redisstore.Change{
		Set:  []redisstore.KV{{Key: flags.Key{Feature: "receipts", Tenant: "acme"}, Value: entry("v1+ramp.2", 50)}},
		Meta: m, Spec: spec,
	})
	for step := range strings.SplitSeq(strings.TrimPrefix(page(t, "console")[0], "$ "), "\n$ ") {
		command, want, _ := strings.Cut(step, "\n")
		cmd := exec.Command("bash", "-c", "redis-cli() { command redis-cli -p "+fmt.Sprint(r.Port())+" \"$@\"; }; "+command)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != want {
			t.Errorf("%s\nprints\n%s\n%v, and the page says\n%s", command, got, err, want)
		}
	}
}

// reconcilerWork does everything a reconciler ever asks of Redis and returns the
// first error.
func reconcilerWork(ctx context.Context, s *redisstore.Store) error {
	l, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "r", TTL: time.Minute, Again: true})
	if err != nil {
		return err
	}
	if l, err = s.RenewLease(ctx, l, time.Minute); err != nil {
		return err
	}
	if _, err := s.Lease(ctx); err != nil {
		return err
	}
	if _, err := s.Promoted(ctx); err != nil {
		return err
	}
	if _, err := s.ChangeNotes(ctx, l, func(n *redisstore.Notes) { n.Suspension = []byte("{}") }); err != nil {
		return err
	}
	if err := firstWord(ctx, s); err != nil {
		return err
	}
	other := l
	other.Owner = "somebody else"
	if err := s.ReleaseLease(ctx, other); err != nil {
		return err
	}
	m := meta(1, l.Term)
	m.Attestation = "signed"
	// A tenant with the name of a system key has the namespaces inside looked at.
	c := redisstore.Change{Set: append(many(3, 1), kv("f", "meta", 1)), Meta: m, Spec: []byte("s"), Bundle: []byte("{}")}
	if _, err := s.Apply(ctx, redisstore.Fence{}, c); err != nil {
		return err
	}
	live, err := s.Live(ctx)
	if err != nil {
		return err
	}
	next := redisstore.Change{Set: many(1, 2), Delete: keys(many(3, 0)[2:]), Meta: meta(2, l.Term)}
	if _, err := s.Apply(ctx, live.Meta.Fence(), next); err != nil {
		return err
	}
	if _, err := s.Apply(ctx, live.Meta.Fence(), next); !errors.Is(err, redisstore.ErrConflict) {
		return fmt.Errorf("an old plan: %w", err)
	}
	now, err := s.Meta(ctx)
	if err != nil {
		return err
	}
	if _, err := s.Repair(ctx, now.Fence(), many(1, 2), keys(many(9, 0)[8:])); err != nil {
		return err
	}
	for _, err := range s.Entries(ctx) {
		if err != nil {
			return err
		}
	}
	if err := s.SetOverrides(ctx, now.Fence(), map[string][]byte{"1": []byte("{}")}); err != nil {
		return err
	}
	if err := firstEvent(ctx, s); err != nil {
		return err
	}
	if err := evaluatorWork(ctx, s); err != nil {
		return err
	}
	return s.ReleaseLease(ctx, l)
}

// firstWord listens to the other reconcilers until something is said.
func firstWord(ctx context.Context, s *redisstore.Store) error {
	ctx, heard := context.WithCancelCause(ctx)
	defer heard(nil)
	done := make(chan error, 1)
	go func() { done <- s.HearPeers(ctx, func(string) { heard(errHeard) }) }()
	for {
		select {
		case err := <-done:
			if errors.Is(context.Cause(ctx), errHeard) {
				return nil
			}
			return err
		default:
			if err := s.TellPeers(ctx, redisstore.PeerLook); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// firstEvent watches until the store's own write is heard of.
func firstEvent(ctx context.Context, s *redisstore.Store) error {
	ctx, heard := context.WithCancelCause(ctx)
	defer heard(nil)
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx, func(flags.Key, bool) { heard(errHeard) }) }()
	for {
		select {
		case err := <-done:
			if errors.Is(context.Cause(ctx), errHeard) {
				return nil
			}
			return err
		default:
			// The subscription may not be there yet, so knock again.
			m, err := s.Meta(ctx)
			if err == nil {
				_, err = s.Repair(ctx, m.Fence(), many(1, 2), nil)
			}
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

var errHeard = errors.New("heard")

// evaluatorWork does everything an evaluator asks: it takes what is live, follows
// changes, and catches up from the stream.
func evaluatorWork(ctx context.Context, s *redisstore.Store) error {
	if err := s.Ping(ctx); err != nil {
		return err
	}
	if _, err := s.Live(ctx); err != nil {
		return err
	}
	if _, err := s.Overrides(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := s.Subscribe(ctx, func(redisstore.Message) { cancel() })
	if errors.Is(err, context.Canceled) {
		return s.CatchUp(context.WithoutCancel(ctx))
	}
	return err
}

// readerWork is an evaluator's that reads entries, one of a tenant that bears a
// system key's name among them.
func readerWork(ctx context.Context, s *redisstore.Store) error {
	if err := evaluatorWork(ctx, s); err != nil {
		return err
	}
	values, err := s.Read(ctx, keys(append(many(1, 0), kv("f", "meta", 1))))
	if err == nil && string(values[0]) != string(value(2)) {
		err = fmt.Errorf("the entry is %q", values[0])
	}
	for _, eerr := range s.Entries(ctx) {
		err = errors.Join(err, eerr)
	}
	return err
}

// legacyClient is an older client's driver, on one Redis or on a Cluster.
func legacyClient(s *redisstore.Store, replicas bool) redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: regexp.MustCompile(`[\d.]+:\d+`).FindAllString(s.Address(), -1), ReadOnly: replicas, RouteRandomly: replicas,
		Username: "rampart-legacy", Password: "change-me",
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// legacyWork is what an older client does.
func legacyWork(ctx context.Context, s *redisstore.Store) error {
	c := legacyClient(s, false)
	defer c.Close()
	if got, err := c.Get(ctx, "flags:v1:f0:t0").Result(); err != nil || got != string(value(2)) {
		return fmt.Errorf("the entry is %q, %w", got, err)
	}
	if err := c.Get(ctx, "flags:v1:spec").Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		return fmt.Errorf("a legacy client reads the spec: %w", err)
	}
	return nil
}

// work is what each user of the page is for.
var work = map[string]func(context.Context, *redisstore.Store) error{
	"rampart-reconciler": reconcilerWork, "rampart-evaluator": evaluatorWork, "rampart-reader": readerWork,
	"rampart-legacy": legacyWork,
}

// Each user of the page can do its work, and with any one command less it cannot.
func TestDocsACLIsSufficientAndMinimal(t *testing.T) {
	r := flagtest.Redis(t, "--notify-keyspace-events", "KA")
	blocks := page(t, "acl")
	if len(blocks) != len(work) {
		t.Fatalf("the page has %d users", len(blocks))
	}
	for _, block := range blocks {
		rules := strings.Fields(block)
		user := rules[1]
		t.Run(user, func(t *testing.T) {
			try := func(rules []string) error {
				r.CLI(append([]string{"ACL", "SETUSER", user, "reset"}, rules[2:]...)...)
				if user == "rampart-reconciler" {
					r.Flush()
				}
				s := open(t, "redis://"+user+":change-me@"+r.Addr(), "")
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				return work[user](ctx, s)
			}
			if err := try(rules); err != nil {
				t.Fatalf("%s: %v", block, err)
			}
			for i, rule := range rules {
				switch rule[0] {
				case '+', '~', '%', '&':
				default:
					continue
				}
				less := append(append([]string{}, rules[:i]...), rules[i+1:]...)
				if err := try(less); err == nil || !strings.Contains(err.Error(), "NOPERM") {
					t.Errorf("without %s: %v", rule, err)
				} else if user != "rampart-legacy" && !errors.Is(err, redisstore.ErrDenied) {
					t.Errorf("without %s the error is no ErrDenied: %v", rule, err)
				}
			}
			if err := try(rules); err != nil { // leaves the data for the next user
				t.Error(err)
			}
			// Who verifies has no use for entries, and may not read them.
			if got := r.CLI("ACL", "DRYRUN", user, "GET", "flags:v1:f0:t0"); strings.Contains(got, "no permission") != (user == "rampart-evaluator") {
				t.Errorf("it reads an entry: %s", got)
			}
			// The rest of Redis is closed to it.
			r.CLI("SET", "elsewhere:flags:v1:x", "1")
			if got := r.CLI("ACL", "DRYRUN", user, "GET", "elsewhere:flags:v1:x"); !strings.Contains(got, "no permission") {
				t.Errorf("it reads outside its namespace: %s", got)
			}
		})
	}
}
