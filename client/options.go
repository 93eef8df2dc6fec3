package client

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// Options say where flags come from. The zero value takes everything from the
// environment.
type Options struct {
	// Sources are where to look, the preferred one first. Each one after it is a
	// fallback: it serves while none before it has ever had flags. Empty means those
	// that the environment names, in this order: FLAGS_REDIS_URL or REDIS_URL (with
	// FLAGS_NS), RAMPART_SPEC (a file), FLAGS_JSON.
	Sources []Source
	// DefaultTenant is the tenant of requests that name none. Empty means
	// DEFAULT_TENANT, else "public".
	DefaultTenant string
	// Environment is the only environment to serve. Empty means whichever comes
	// first; a source whose environment changes later is not believed.
	Environment string
	// Verify, when set, checks signatures, so that Redis, a file or the cache need not
	// be trusted. Nil believes them.
	Verify *Verification
	// Cache is a file for the last good snapshot from Redis, for a start while Redis
	// is away. Empty means none.
	Cache string
	// Tenants, when above zero, loads a tenant when it is first asked about and keeps
	// at most so many: for services that see a few of very many. That first decision
	// waits for Redis, for at most a second. Not together with reads from replicas. Zero
	// loads everything.
	Tenants int
	// Poll is how often Redis is asked whether anything changed, besides listening to
	// it. Zero means 5 seconds. A spec file is looked at twice a second.
	Poll time.Duration
	// Wait is how long Open waits for a source. Zero means 5 seconds.
	Wait time.Duration
	// StartEmpty lets Open succeed when no source has flags yet. Until one has, every
	// decision is off with reason no-config.
	StartEmpty bool
	// Environ is the environment, as "NAME=value". Nil means os.Environ().
	Environ []string
	// Log gets what an operator should know. Nil means slog.Default().
	Log *slog.Logger
}

// Verification says whose signatures count.
type Verification struct {
	// Policy names the signers and what they may do. A spec counts when a role that
	// may do anything signed it, when its change from the last spec that counted is
	// covered by who signed it, or when the reconciler attests it.
	Policy *trust.Policy
	// Reconciler are the keys of the reconcilers. When there are any, meta must carry
	// an attestation by one of them, and no generation older than one seen is ever
	// taken. A policy in which bots ramp needs this: a client that starts after a ramp
	// cannot know by the bot's signature alone what the bot changed.
	Reconciler []signing.PublicKey
	// Options say what else than keys can be checked; package signing/keyless has it.
	Options signing.Options
}

// Source is a place that flags come from: [Redis], [File], [JSON] or [Static].
type Source struct {
	name string
	open func(c *Client) (feed, error)
}

// Redis reads what a reconciler made live. The address may be of any form that
// docs/redis.md lists. An empty one is an error here: the embedded Redis of
// another process cannot be reached.
func Redis(o redisstore.Options) Source {
	return Source{name: "redis", open: func(c *Client) (feed, error) { return newRedisFeed(c, o) }}
}

// File reads a flags.json and watches it.
func File(path string) Source {
	return Source{name: "file " + path, open: func(c *Client) (feed, error) { return &fileFeed{c: c, path: path}, nil }}
}

// JSON reads the older map, as in FLAGS_JSON: "feature:tenant" to the entry as
// it stands in Redis.
//
//	{"receipts:__default__":{"version":"v1","enabled":true,"ramp_pct":10}}
func JSON(text string) Source {
	return Source{name: "FLAGS_JSON", open: func(c *Client) (feed, error) { return newJSONFeed(text) }}
}

// Static serves one flags.json, given as text, for ever.
func Static(spec []byte) Source {
	return Source{name: "static", open: func(c *Client) (feed, error) { return newStaticFeed(c, spec) }}
}

// ofEnvironment refuses a spec of another environment than the one to serve: the one that the options name, else that of the spec
// which serves.
func (o *Options) ofEnvironment(spec, serving *flags.Spec) error {
	want := o.Environment
	if want == "" && serving != nil {
		want = serving.Environment
	}
	if want != "" && spec.Environment != want {
		return fmt.Errorf("%w: %q, not %q", errEnvironment, spec.Environment, want)
	}
	return nil
}

// environment is how the process was started.
type environment map[string]string

func readEnvironment(environ []string) environment {
	if environ == nil {
		environ = os.Environ()
	}
	env := make(environment, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return env
}

// sources are those that the environment names.
func (e environment) sources(log *slog.Logger) []Source {
	var s []Source
	if url := cmp.Or(e["FLAGS_REDIS_URL"], e["REDIS_URL"]); url != "" {
		s = append(s, Redis(redisstore.Options{URL: url, Namespace: cmp.Or(e["FLAGS_NS"], e["FLAGS_NAMESPACE"]), Log: log}))
	}
	if path := e["RAMPART_SPEC"]; path != "" {
		s = append(s, File(path))
	}
	if text := e["FLAGS_JSON"]; text != "" {
		s = append(s, JSON(text))
	}
	return s
}

var errOptions = errors.New("client options")

func (o *Options) check() error {
	switch {
	case len(o.Sources) == 0:
		return fmt.Errorf("%w: no source: give one, or set FLAGS_REDIS_URL, RAMPART_SPEC or FLAGS_JSON", errOptions)
	case o.Verify != nil && o.Verify.Policy == nil:
		return fmt.Errorf("%w: Verify has no Policy", errOptions)
	case o.Verify != nil && o.Tenants > 0:
		return fmt.Errorf("%w: Tenants cannot go with Verify: a signature covers the whole spec", errOptions)
	case o.Cache != "" && o.Tenants > 0:
		return fmt.Errorf("%w: Tenants cannot go with Cache", errOptions)
	}
	return nil
}

func (o *Options) poll() time.Duration { return cmp.Or(o.Poll, 5*time.Second) }
func (o *Options) wait() time.Duration { return cmp.Or(o.Wait, 5*time.Second) }
