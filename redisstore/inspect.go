package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is what a Redis says of itself, and of what its user may do. What it does not say is empty.
type Server struct {
	Version string
	Role    string // master or replica
	// Policy is maxmemory-policy: anything but noeviction may delete entries when memory is short.
	Policy          string
	MaxMemory, Used uint64 // bytes; MaxMemory 0: no limit
	// Persistence is what survives a restart: "aof", "rdb", "aof and rdb", "none", "" where it does not say.
	Persistence string
	// Events is notify-keyspace-events; EventsKnown says that it was told.
	Events      string
	EventsKnown bool
	// Skew is Redis' clock minus this process's.
	Skew time.Duration
	// Denied are the commands that a reconciler needs and this user may not run.
	Denied []string
	// Refuses is why Redis would take no write now: out of memory, a replica, a disk that is full.
	Refuses string
	// Foreign are keys below the namespace that are neither entries nor system keys; at most ten are named.
	Foreign      []string
	ForeignCount int
	// Partial says that there were too many keys to look at all of them.
	Partial bool
	// Unasked are commands that would have told more, had they been allowed.
	Unasked []string
}

// maxInspected bounds the keys that Inspect looks at.
const maxInspected = 200_000

// Inspect asks a Redis how it is set up, on a Cluster the node that holds meta. It changes nothing: the writes that
// it asks about are queued in a transaction that an unknown command has spoilt before, so that no EXEC could run it,
// and that is discarded. The error is that Redis cannot be asked at all. An embedded Redis answers nothing.
func (s *Store) Inspect(ctx context.Context) (Server, error) {
	var v Server
	if s.embedded != nil {
		return v, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 4*s.timeout)
	defer cancel()
	if err := s.client.Ping(ctx).Err(); err != nil {
		return v, wrap(err, "asking %s whether it is there", s.address)
	}
	conn, err := s.connFor(ctx, s.ns.system(nameMeta))
	if err != nil {
		return v, wrap(err, "asking %s", s.address)
	}
	defer conn.Close()
	v.askInfo(ctx, conn)
	v.askConfig(ctx, conn)
	v.askClock(ctx, conn)
	if err := s.askKeys(ctx, &v); err != nil {
		return v, wrap(err, "looking at the keys of %s", s.ns)
	}
	return v, wrap(s.askRights(ctx, conn, &v), "asking %s what may be done", s.address)
}

func (v *Server) askInfo(ctx context.Context, conn *redis.Conn) {
	said, err := conn.Info(ctx).Result()
	if err != nil {
		v.Unasked = append(v.Unasked, "INFO")
		return
	}
	info := map[string]string{}
	for line := range strings.Lines(said) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	v.Version, v.Role, v.Policy = info["redis_version"], info["role"], info["maxmemory_policy"]
	if v.Role == "slave" {
		v.Role = "replica"
	}
	v.MaxMemory, _ = strconv.ParseUint(info["maxmemory"], 10, 64)
	v.Used, _ = strconv.ParseUint(info["used_memory"], 10, 64)
	if info["aof_enabled"] == "1" {
		v.Persistence = "aof"
	}
}

func (v *Server) askConfig(ctx context.Context, conn *redis.Conn) {
	said, err := conn.ConfigGet(ctx, "notify-keyspace-events").Result()
	if err != nil {
		v.Unasked = append(v.Unasked, "CONFIG GET")
		return
	}
	v.Events, v.EventsKnown = said["notify-keyspace-events"], true
	saves, err := conn.ConfigGet(ctx, "save").Result()
	switch {
	case err != nil:
	case saves["save"] != "" && v.Persistence != "":
		v.Persistence += " and rdb"
	case saves["save"] != "":
		v.Persistence = "rdb"
	case v.Persistence == "":
		v.Persistence = "none"
	}
}

func (v *Server) askClock(ctx context.Context, conn *redis.Conn) {
	before := time.Now()
	at, err := conn.Time(ctx).Result()
	if err == nil {
		v.Skew = at.Sub(before.Add(time.Since(before) / 2))
	}
}

// needed are the commands of a reconciler, as docs/redis.md lists them, on keys of the namespace.
func (s *Store) needed() [][]any {
	meta, spec, changes := s.ns.system(nameMeta), s.ns.system(nameSpec), s.ns.system(nameChanges)
	return [][]any{
		{"ping"}, {"time"}, {"type", meta}, {"get", spec}, {"mget", spec}, {"set", spec, ""}, {"mset", spec, ""}, {"unlink", spec},
		{"scan", "0"}, {"hget", meta, "x"}, {"hgetall", meta}, {"hset", meta, "x", ""}, {"hdel", meta, "x"}, {"hexists", meta, "x"},
		{"xadd", changes, "*", "x", ""}, {"xrevrange", changes, "+", "-"}, {"publish", changes, ""}, {"subscribe", changes},
		{"psubscribe", fmt.Sprintf("__keyspace@%d__:%s", s.address.db, s.ns.pattern())},
	}
}

// askRights queues every command that a reconciler needs and discards them all: Redis judges rights, memory and
// roles when it queues.
func (s *Store) askRights(ctx context.Context, conn *redis.Conn, v *Server) error {
	meta := s.ns.system(nameMeta)
	ask := func(name string, args ...any) error {
		err := conn.Do(ctx, append([]any{name}, args...)...).Err()
		switch {
		case err == nil:
		case !isAnswer(err):
			return err
		case strings.HasPrefix(err.Error(), "NOPERM"):
			v.Denied = append(v.Denied, name)
		case v.Refuses == "" && slices.ContainsFunc([]string{"OOM", "MISCONF", "READONLY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN"}, func(p string) bool { return strings.HasPrefix(err.Error(), p) }):
			v.Refuses = err.Error()
		}
		return nil
	}
	if err := errors.Join(ask("watch", meta), ask("unwatch"), ask("multi")); err != nil {
		return err
	}
	if slices.Contains(v.Denied, "multi") {
		return nil // without it, what follows would be done
	}
	// The spoiler: from here on EXEC can only say EXECABORT.
	if err := conn.Do(ctx, "rampart.inspect").Err(); err == nil || !isAnswer(err) {
		return fmt.Errorf("a command that there is not was taken: %w", errors.Join(err, conn.Do(ctx, "discard").Err()))
	}
	for _, c := range s.needed() {
		if err := ask(c[0].(string), c[1:]...); err != nil {
			return err
		}
	}
	// A least-privilege user may EXEC and not DISCARD; either leaves nothing behind.
	err := conn.Do(ctx, "exec").Err()
	_ = conn.Do(ctx, "discard").Err() // where EXEC was not allowed
	switch {
	case err == nil:
		return errors.New("a spoilt transaction was run")
	case strings.HasPrefix(err.Error(), "NOPERM"):
		v.Denied = append(v.Denied, "exec")
		return nil
	case !isAnswer(err):
		return err
	}
	return nil
}

// askKeys looks for keys below the namespace that are not ours.
func (s *Store) askKeys(ctx context.Context, v *Server) error {
	seen := 0
	look := func(ctx context.Context, node *redis.Client) error {
		for cursor := uint64(0); ; {
			keys, next, err := node.Scan(ctx, cursor, s.ns.pattern(), 1000).Result()
			if err != nil {
				return err
			}
			for _, key := range keys {
				if _, entry := s.ns.parse(key); !entry && !slices.Contains(systemNames, strings.TrimPrefix(key, string(s.ns))) {
					if v.ForeignCount++; len(v.Foreign) < 10 {
						v.Foreign = append(v.Foreign, key)
					}
				}
			}
			if seen += len(keys); seen > maxInspected {
				v.Partial = true
				return nil
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	}
	err := error(nil)
	if s.cluster == nil {
		err = look(ctx, s.single)
	} else {
		nodes := make(chan *redis.Client, 1000)
		if err = s.cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error { nodes <- node; return nil }); err != nil {
			return err
		}
		close(nodes)
		for node := range nodes {
			if err = look(ctx, node); err != nil {
				break
			}
		}
	}
	slices.Sort(v.Foreign)
	if err != nil && strings.HasPrefix(err.Error(), "NOPERM") {
		return nil // it is among the denied ones
	}
	return err
}
