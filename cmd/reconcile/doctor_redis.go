package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/redisstore"
)

// maxSkew is how far clocks may lie apart before somebody is told: dates decide when a signer expires and a ramp may go on.
const maxSkew = 2 * time.Second

// checkRedis asks what the server is, and what its user may do there.
func (d *doctor) checkRedis(ctx context.Context, l cli.Check, store *redisstore.Store) []cli.Check {
	if store.Embedded() {
		return one(l.Warn("name yours: --redis redis://HOST", "no address is given: reconcile would use one inside itself, which forgets everything when it ends"))
	}
	s, err := store.Inspect(ctx)
	switch {
	case errors.Is(err, redisstore.ErrDenied):
		return one(l.Fail("mend the user and password in --redis; docs/redis.md has the user that a reconciler needs", "%v", err))
	case err != nil && unavailable(err):
		return one(again(l.Fail("see that Redis runs, and that --redis names it", "%v", err)))
	case err != nil:
		return one(l.Fail("see docs/redis.md", "%v", err))
	}
	d.redisThere = true
	out := one(l.OK("%s, version %s", store.Address(), or(s.Version, "not told")))
	if major, _, _ := strings.Cut(s.Version, "."); s.Version != "" {
		if n, err := strconv.Atoi(major); err == nil && n < 5 {
			out[0] = l.Fail("use Redis 5 or newer", "%s has version %s", store.Address(), s.Version)
		}
	}
	if len(s.Unasked) > 0 {
		out[0].Text += fmt.Sprintf(" (%s not allowed, so some of what follows is not known)", strings.Join(s.Unasked, " and "))
	}
	out = append(out, rights(s), memory(s), clock(s), strangers(s, store.Namespace()), hints(s))
	d.meta, err = store.Meta(ctx)
	d.metaThere = err == nil
	return out
}

func rights(s redisstore.Server) cli.Check {
	l := named("rights")
	switch {
	case len(s.Denied) > 0:
		return l.Fail("let it: ACL SETUSER … +"+strings.Join(s.Denied, " +")+" (docs/redis.md has the whole line)", "the user may not %s", strings.Join(s.Denied, ", "))
	case s.Role == "replica" || strings.HasPrefix(s.Refuses, "READONLY"):
		return l.Fail("name the master, or its sentinels: --redis sentinel://…", "this is a replica, which takes no writes")
	case s.Refuses != "":
		return l.Fail("give it memory or disk; the reconciler writes as soon as it is taken again", "Redis takes no writes now: %s", s.Refuses)
	}
	return l.OK("its user may do all that a reconciler needs")
}

func memory(s redisstore.Server) cli.Check {
	l := named("memory")
	limit := "no limit"
	if s.MaxMemory > 0 {
		limit = fmt.Sprintf("%d MiB of %d MiB", s.Used>>20, s.MaxMemory>>20)
	}
	text := fmt.Sprintf("%s, %s, persistence %s", or(s.Policy, "policy not told"), limit, or(s.Persistence, "not told"))
	switch {
	case s.Policy != "" && s.Policy != "noeviction" && s.MaxMemory > 0:
		return l.Fail("CONFIG SET maxmemory-policy noeviction, or keep flags in a Redis of their own",
			"%s: when memory is short, Redis deletes flags, and their readers turn them off", text)
	case s.Policy != "" && s.Policy != "noeviction":
		return l.Warn("CONFIG SET maxmemory-policy noeviction", "%s: as soon as somebody sets maxmemory, Redis deletes flags", text)
	case s.MaxMemory > 0 && s.Used > s.MaxMemory/10*9:
		return l.Warn("raise maxmemory", "%s: nearly full", text)
	}
	return l.OK("%s (what is lost is written again within one interval)", text)
}

func clock(s redisstore.Server) cli.Check {
	l := named("clock")
	if s.Skew.Abs() > maxSkew {
		return l.Warn("let both machines follow NTP", "Redis' clock is %s off this one: leases and dates go by them", s.Skew.Round(time.Millisecond))
	}
	return l.OK("Redis' clock and this one agree within %s", maxSkew)
}

func strangers(s redisstore.Server, namespace string) cli.Check {
	l := named("keys")
	if s.ForeignCount > 0 {
		return l.Warn("give whoever writes them another prefix, or Rampart another: --namespace", "%s below %s that no part of Rampart knows: %s",
			counted(s.ForeignCount, "key", "keys"), namespace, strings.Join(s.Foreign, ", "))
	}
	if s.Partial {
		return l.OK("%s: no foreign key among the first ones (there are too many to look at all)", namespace)
	}
	return l.OK("%s holds nothing but flags", namespace)
}

func hints(s redisstore.Server) cli.Check {
	l := named("events")
	heard := strings.Contains(s.Events, "K") && (strings.Contains(s.Events, "A") || strings.Contains(s.Events, "g") && strings.Contains(s.Events, "$") && strings.Contains(s.Events, "x"))
	switch {
	case !s.EventsKnown:
		return l.OK("keyspace notifications: not told")
	case !heard:
		l = l.OK("keyspace notifications are off: drift is found by the next deep look, not at once")
		l.Todo = "to see it at once: CONFIG SET notify-keyspace-events KA"
		return l
	}
	return l.OK("keyspace notifications are on: drift is seen at once")
}
