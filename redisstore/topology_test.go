package redisstore_test

import (
	"errors"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// The master is lost together with a generation that its replica never got. The
// generation that is live falls, which shows, and the next pass puts it right.
func TestSentinelFailoverThatLosesWrites(t *testing.T) {
	t.Parallel() // it waits, mostly
	f := flagtest.Sentinel(t)
	ctx := t.Context()
	s := openWith(t, redisstore.Options{URL: f.URL(), Timeout: 2 * time.Second})
	l := mustLease(t, s, "a", 0)
	heal(t, s, many(300, 1), meta(1, l.Term))
	f.Master.CLI("WAIT", "1", "0")
	heard := subscribe(t, s)
	expect(t, heard, redisstore.KindResync, 1)

	f.Replica.Pause()
	f.Master.CLI("CLIENT", "KILL", "TYPE", "replica") // what is written now stays with the master
	heal(t, s, many(310, 2), meta(2, l.Term))
	expect(t, heard, redisstore.KindApply, 2)
	known := mustMeta(t, s)
	f.Master.Kill()
	if _, err := s.Apply(ctx, known.Fence(), redisstore.Change{Set: many(3, 3), Meta: meta(3, l.Term)}); !errors.Is(err, redisstore.ErrUnavailable) {
		t.Errorf("apply with no master: %v", err)
	}
	f.Replica.Resume()
	f.AwaitFailover()

	var now redisstore.Meta
	flagtest.Eventually(t, "the store to find the new master", func() bool {
		var err error
		now, err = s.Meta(ctx)
		return err == nil
	})
	if now.Generation != 1 || now.Message == known.Message {
		t.Errorf("live is %+v, and generation 2 should be lost", now)
	}
	if _, err := s.Apply(ctx, known.Fence(), redisstore.Change{Set: many(3, 3), Meta: meta(3, l.Term)}); !errors.Is(err, redisstore.ErrConflict) {
		t.Errorf("a plan from the lost generation: %v", err)
	}
	if next := mustLease(t, s, "a", known.Epoch); next.Term <= l.Term {
		t.Errorf("lease %+v after term %d", next, l.Term)
	}
	heal(t, s, many(310, 2), meta(2, known.Epoch+1))
	expectLive(t, s, many(310, 2), 2)

	// Readers that heard of the lost generation are told to look again.
	flagtest.Eventually(t, "word of the generation applied again", func() bool {
		select {
		case m := <-heard:
			return m.Generation == 2 && (m.Kind == redisstore.KindResync || m.Kind == redisstore.KindApply)
		default:
			return false
		}
	})
}

func TestSentinelReplicaServesReadersAndTakesNoWrites(t *testing.T) {
	t.Parallel()
	f := flagtest.Sentinel(t)
	s := open(t, f.URL(), "")
	heal(t, s, many(300, 1), meta(1, 1))
	f.Master.CLI("WAIT", "1", "0")
	f.Master.ResetStats()
	r := openWith(t, redisstore.Options{URL: f.URL(), ReadReplicas: true})
	expectLive(t, r, many(300, 1), 1)
	heard := subscribe(t, r)
	expect(t, heard, redisstore.KindResync, 1)
	heal(t, s, many(300, 2), meta(2, 1))
	expect(t, heard, redisstore.KindApply, 2)
	if n := f.Replica.Commandstats()["mget"]; n == 0 {
		t.Error("the replica served no read")
	}
	_, err := r.Apply(t.Context(), mustMeta(t, r).Fence(), redisstore.Change{Set: many(1, 3), Meta: meta(3, 1)})
	if !errors.Is(err, redisstore.ErrReadOnly) || !errors.Is(err, redisstore.ErrUnavailable) {
		t.Errorf("a write to the replica: %v", err)
	}
}

func TestTLS(t *testing.T) {
	r, files := flagtest.RedisTLS(t)
	s := open(t, r.URL(), "")
	heal(t, s, many(100, 1), meta(1, 1))
	expectLive(t, s, many(100, 1), 1)
	heard := subscribe(t, s)
	expect(t, heard, redisstore.KindResync, 1)
	if !strings.HasPrefix(s.Address(), "rediss://") || strings.Contains(s.Address(), "?") {
		t.Errorf("address %s", s.Address())
	}
	q := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return "rediss://" + r.Addr() + "?" + v.Encode()
	}
	cert := []string{"client_cert", files.ClientCert, "client_key", files.ClientKey}
	for name, bad := range map[string]struct{ url, want string }{
		"a CA that the system does not know": {q(cert...), "unknown authority"},
		"another name":                       {q(append(cert, "ca_cert", files.CA, "server_name", "elsewhere")...), "elsewhere"},
		"no client certificate":              {q("ca_cert", files.CA), "certificate"},
		"no TLS":                             {"redis://" + r.Addr(), ""},
	} {
		if err := open(t, bad.url, "").Ping(t.Context()); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, good := range []string{q(append(cert, "skip_verify", "true")...), q(append(cert, "ca_cert", files.CA, "server_name", "localhost")...)} {
		if err := open(t, good, "").Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// The user of the page for sentinels can find masters and replicas, and needs all it has.
func TestDocsACLForSentinels(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("a user of the sentinels needs `([^`]*)`").FindSubmatch(text)
	if m == nil {
		t.Fatal("docs/redis.md does not say what a user of the sentinels needs")
	}
	f := flagtest.Sentinel(t)
	heal(t, open(t, f.URL(), ""), many(3, 1), meta(1, 1))
	f.Master.CLI("WAIT", "1", "0")
	denied := func() (log string) {
		for _, s := range f.Sentinels {
			log += s.CLI("ACL", "LOG")
		}
		return log
	}
	// use opens both kinds of store under the rules and says whether they work.
	use := func(rules []string) (works func() bool) {
		for _, s := range f.Sentinels {
			s.CLI(append([]string{"ACL", "SETUSER", "rampart", "reset", "on", ">pw"}, rules...)...)
			s.CLI("ACL", "LOG", "RESET")
		}
		url := f.URL() + "?sentinel_username=rampart&sentinel_password=pw"
		master := openWith(t, redisstore.Options{URL: url})
		replica := openWith(t, redisstore.Options{URL: url, ReadReplicas: true})
		return func() bool {
			_, err1 := master.Meta(t.Context())
			_, err2 := replica.Meta(t.Context())
			return err1 == nil && err2 == nil
		}
	}
	rules := strings.Fields(string(m[1]))
	if works := use(rules); !works() {
		t.Fatalf("%s is not enough: %s", rules, denied())
	}
	for i, rule := range rules {
		works := use(slices.Delete(slices.Clone(rules), i, i+1))
		// The driver listens to a sentinel, and asks it for the others, on the side.
		flagtest.Eventually(t, "something to fail or be denied without "+rule, func() bool { return !works() || denied() != "" })
	}
	works := use(rules)
	listening := regexp.MustCompile(`cmd=(subscribe|ping) user=rampart`)
	flagtest.Eventually(t, "the driver to listen to a sentinel", func() bool {
		return slices.ContainsFunc(f.Sentinels, func(s *flagtest.RedisServer) bool { return listening.MatchString(s.CLI("CLIENT", "LIST")) })
	})
	if log := denied(); !works() || log != "" {
		t.Errorf("under all of the rules this is denied: %s", log)
	}
}

func TestClusterTakenForOneRedis(t *testing.T) {
	r := flagtest.Redis(t, "--cluster-enabled", "yes")
	r.CLI("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	flagtest.Eventually(t, "the one-node cluster to serve", func() bool { return strings.Contains(r.CLI("CLUSTER", "INFO"), "cluster_state:ok") })
	_, err := open(t, r.URL(), "").Apply(t.Context(), redisstore.Fence{}, redisstore.Change{Set: many(3, 1), Meta: meta(1, 1)})
	if !errors.Is(err, redisstore.ErrUnavailable) || !strings.Contains(err.Error(), "?cluster=true") {
		t.Errorf("without a word about it: %v", err)
	}
	s := open(t, r.URL()+"?cluster=true", "")
	heal(t, s, many(3, 1), meta(1, 1))
	expectLive(t, s, many(3, 1), 1)
}
