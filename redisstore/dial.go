package redisstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// dialTimeout bounds connecting, where Options.Timeout allows more.
const dialTimeout = 5 * time.Second

// dial makes the client for the address. Nothing is sent yet.
func (s *Store) dial(o Options) error {
	a := s.address
	tlsConfig, err := a.tlsConfig()
	if err != nil {
		return err
	}
	if _, err := a.password(); err != nil {
		return err
	}
	u := &redis.UniversalOptions{
		Addrs: a.hosts, DB: a.db, TLSConfig: tlsConfig, MasterName: a.master, IsClusterMode: a.kind == kindCluster,
		SentinelUsername: a.query.Get("sentinel_username"), SentinelPassword: a.query.Get("sentinel_password"),
		DialTimeout: min(s.timeout, dialTimeout), ReadTimeout: s.whole(), WriteTimeout: s.timeout, PoolTimeout: s.timeout, ContextTimeoutEnabled: true,
		MaxRetries: 2, DialerRetries: 1, MaxRedirects: 8, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	// The driver would bound an answer as a whole.
	u.Dialer = s.patientDialer(&redis.Options{DialTimeout: u.DialTimeout, TLSConfig: tlsConfig})
	if o.Pool != nil {
		u.PoolSize, u.ConnMaxIdleTime = poolSize, time.Minute
	}
	if a.user != "" || a.pass != "" || a.query.Get("password_file") != "" {
		u.CredentialsProviderContext = func(context.Context) (string, string, error) {
			pass, err := a.password()
			return a.user, pass, err
		}
	}
	switch a.kind {
	case kindCluster:
		u.ReadOnly, u.RouteRandomly = o.ReadReplicas, o.ReadReplicas
		c := u.Cluster()
		c.ClusterStateReloadInterval = 10 * time.Second
		s.cluster = redis.NewClusterClient(c)
		s.cluster.AddHook(slotHook{s})
		s.client = s.cluster
	case kindSentinel:
		f := u.Failover()
		f.ReplicaOnly = o.ReadReplicas
		s.single = redis.NewFailoverClient(f)
		s.single.AddHook(settledHook{})
		s.client = s.single
	default:
		simple := u.Simple()
		simple.Network = a.network()
		s.single = redis.NewClient(simple)
		s.client = s.single
	}
	return nil
}

// slotHook reads the map of slots again as soon as a node does not answer. The
// driver alone would ask the dead node until its map is old.
type slotHook struct{ s *Store }

func (h slotHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h slotHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h.look(ctx, err)
		return err
	}
}

func (h slotHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h.look(ctx, err)
		return err
	}
}

func (h slotHook) look(ctx context.Context, err error) {
	if err != nil && isNetwork(err) {
		h.s.cluster.ReloadState(ctx)
	}
}

// driverLog is the driver's log as slog.
type driverLog struct{ log *slog.Logger }

func (d driverLog) Printf(ctx context.Context, format string, v ...any) {
	d.log.DebugContext(ctx, "redis driver", slog.String("said", fmt.Sprintf(format, v...)))
}
