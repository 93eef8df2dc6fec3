package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/redisstore"
)

// aliases are the older names of settings, beside RAMPART_<NAME>.
var aliases = map[string][]string{
	"redis":          {"FLAGS_REDIS_URL", "REDIS_URL"},
	"namespace":      {"FLAGS_NS", "FLAGS_NAMESPACE"},
	"default-tenant": {"DEFAULT_TENANT"},
}

const rootLong = `evaluate answers whether features are on, over OpenFeature's remote protocol (OFREP), so that programs in any
language can ask with their OpenFeature SDK. It reads what a reconciler made live in Redis and keeps it in memory: no request
waits for Redis, and while Redis is away the last good flags go on serving.

  POST /ofrep/v1/evaluate/flags/{key}   one feature
  POST /ofrep/v1/evaluate/flags         all features, with an ETag
  GET  /ofrep/v1/events                 server-sent events: fetch again
  GET  /healthz                         the process lives
  GET  /readyz                          there are flags, and the process is not on its way out
  GET  /metrics                         for Prometheus

With --redis, --spec is a fallback for a start while Redis is away; without, the file is what is served, and it is watched.
With --trust nothing is served whose signatures do not hold, wherever it came from.

SIGHUP reads the file of --api-keys again. SIGTERM drains: /readyz fails at once, requests are still taken for --drain-delay,
and those under way may take until --drain.`

const rootExample = `  evaluate --redis redis://localhost:6379
  evaluate --redis redis://localhost:6379 --api-keys keys.json --origin https://shop.example --listen 0.0.0.0:8081
  evaluate --spec specs/flags.json
  evaluate key --name web --tenant acme >> key-for-web`

func newRoot(env cli.Env) *cobra.Command {
	s := &settings{env: env}
	root := &cobra.Command{
		Use:     "evaluate [flags]",
		Short:   "Answer whether features are on, over OFREP",
		Long:    rootLong,
		Example: rootExample,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.serve(cmd.Context()) },
	}
	f := root.Flags()
	f.StringVar(&s.listen, "listen", "127.0.0.1:8081", "the `ADDRESS` to serve on; port 0 takes a free one")
	f.StringVar(&s.redis, "redis", "", "the `URL` of Redis: redis://, rediss://, unix://, sentinel://, several with commas for a Cluster")
	f.StringVar(&s.namespace, "namespace", redisstore.DefaultNamespace, "the `PREFIX` of every key")
	f.BoolVar(&s.replicas, "read-replicas", false, "read from replicas too, where Redis has them")
	f.StringVar(&s.spec, "spec", "", "a flags.json to serve, or with --redis to start from while Redis is away, a `FILE`")
	f.StringVar(&s.cache, "cache", "", "keep the last good flags in `FILE`, for a start while Redis is away")
	f.StringVar(&s.environment, "environment", "", "the only environment to serve, by `NAME`")
	f.StringVar(&s.trust, "trust", "", "serve only what is signed as the trust policy in `FILE` says")
	f.StringSliceVar(&s.reconcilers, "reconciler-key", nil, "with --trust: the public key of a reconciler, a `FILE`; it must have attested what is live")
	f.StringVar(&s.keys, "api-keys", "", "let in only who has a key that is listed in `FILE`; see evaluate key")
	f.StringVar(&s.tenant, "default-tenant", "public", "the tenant `NAME` of requests that name none")
	f.StringSliceVar(&s.origins, "origin", nil, `a web origin, as an `+"`URL`"+`, that browsers may ask from; "*" for all`)
	f.StringSliceVar(&s.headers, "allow-header", nil, "a further request header, by `NAME`, that browsers may send")
	f.Float64Var(&s.rate, "rate", 0, "requests a second, a `NUMBER`, that one API key or address may make; 0 for no limit")
	f.IntVar(&s.streams, "max-streams", 10_000, "the `NUMBER` of event streams that may be open; -1 for none")
	f.DurationVar(&s.wait, "wait", 5*time.Second, "the `TIME` to wait for the first flags; after it the process serves 500 until there are some")
	f.DurationVar(&s.poll, "poll", 5*time.Second, "the `TIME` between two looks at Redis, besides listening to it")
	f.DurationVar(&s.drain, "drain", 10*time.Second, "the `TIME` that requests under way have when the process is told to end")
	f.DurationVar(&s.drainDelay, "drain-delay", 0, "the `TIME` for which requests are still taken then, with /readyz failing")
	f.BoolVar(&s.debug, "debug", false, "log more")
	root.AddCommand(keyCommand(env))
	return root
}

func run(ctx context.Context, env cli.Env) error { return cli.Run(ctx, newRoot(env), env, aliases) }
