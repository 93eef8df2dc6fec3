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
		DialTimeout: min(s.timeout, dialTimeout), ReadTimeout: s.timeout, WriteTimeout: s.timeout, ContextTimeoutEnabled: true,
		MaxRetries: 2, DialerRetries: 1, MaxRedirects: 8, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
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
		s.cluster = redis.NewClusterClient(u.Cluster())
		s.client = s.cluster
	case kindSentinel:
		f := u.Failover()
		f.ReplicaOnly = o.ReadReplicas
		s.single = redis.NewFailoverClient(f)
		s.client = s.single
	default:
		simple := u.Simple()
		simple.Network = a.network()
		s.single = redis.NewClient(simple)
		s.client = s.single
	}
	return nil
}

// driverLog is the driver's log as slog.
type driverLog struct{ log *slog.Logger }

func (d driverLog) Printf(ctx context.Context, format string, v ...any) {
	d.log.DebugContext(ctx, "redis driver", slog.String("said", fmt.Sprintf(format, v...)))
}
