package redisstore_test

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// clusterRules are what the page adds to every user on a Cluster, and to one that reads
// from replicas.
func clusterRules(t *testing.T) (every []string, replicas string) {
	t.Helper()
	text, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("On a Cluster every user also needs `([^`]*)`, and one that reads from replicas `([^`]*)`").FindStringSubmatch(string(text))
	if m == nil {
		t.Fatal("docs/redis.md does not say what a Cluster needs")
	}
	return strings.Fields(m[1]), m[2]
}

// clusterACL runs every user of the page on a cluster, with what the page adds for it, and
// without each part of that.
func clusterACL(t *testing.T, c *flagtest.RedisCluster) {
	every, replicas := clusterRules(t)
	without := func(rule string) []string {
		return slices.DeleteFunc(slices.Clone(every), func(r string) bool { return r == rule })
	}
	for _, block := range page(t, "acl") {
		rules := strings.Fields(block)
		user := rules[1]
		as := func(o redisstore.Options, more []string) *redisstore.Store {
			for _, node := range c.Nodes {
				node.ResetStats()
				node.CLI(append(append([]string{"ACL", "SETUSER", user, "reset"}, rules[2:]...), more...)...)
			}
			o.URL = strings.ReplaceAll(c.URL(), "redis://", "redis://"+user+":change-me@")
			return openWith(t, o)
		}
		within := func(do func(context.Context) error) error {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			return do(ctx)
		}
		try := func(more []string) error {
			if user == "rampart-reconciler" {
				for _, node := range c.Nodes {
					if out, err := node.TryCLI("FLUSHALL"); err != nil && !strings.Contains(out, "READONLY") {
						t.Fatal(err)
					}
				}
			}
			s := as(redisstore.Options{}, more)
			return within(func(ctx context.Context) error { return work[user](ctx, s) })
		}
		denied := func() bool { // the driver asked for the commands' list in vain
			return slices.ContainsFunc(c.Nodes, func(node *flagtest.RedisServer) bool {
				return regexp.MustCompile("cmdstat_command:.*rejected_calls=[1-9]").MatchString(node.CLI("INFO", "commandstats"))
			})
		}
		for _, rule := range every {
			if rule == "+asking" {
				continue // below: needed while a slot moves only
			}
			if err := try(without(rule)); err == nil && !denied() {
				t.Errorf("%s needs no %s", user, rule)
			}
		}
		if err := try(every); err != nil || denied() {
			t.Errorf("%s: %v, something denied: %v", user, err, denied())
		}

		look := func(o redisstore.Options, more []string) error {
			s := as(o, more)
			return within(func(ctx context.Context) error { return lookAs(ctx, s, user, o.ReadReplicas) })
		}
		if err := look(redisstore.Options{ReadReplicas: true}, append(slices.Clone(every), replicas)); err != nil {
			t.Errorf("%s reads from replicas: %v", user, err)
		}
		if err := look(redisstore.Options{ReadReplicas: true}, every); err == nil {
			t.Errorf("%s reads from replicas without %s", user, replicas)
		}
		key := "flags:v1:meta"
		if user == "rampart-legacy" {
			key = "flags:v1:f0:t0"
		}
		finish := halfMoved(c, key)
		if err := look(redisstore.Options{}, every); err != nil {
			t.Errorf("%s while a slot moves: %v", user, err)
		}
		if err := look(redisstore.Options{}, without("+asking")); err == nil {
			t.Errorf("%s needs no +asking while a slot moves", user)
		}
		finish()
	}
}

// lookAs reads one key as the user does.
func lookAs(ctx context.Context, s *redisstore.Store, user string, replicas bool) error {
	if user != "rampart-legacy" {
		_, err := s.Meta(ctx)
		return err
	}
	client := legacyClient(s, replicas)
	defer client.Close()
	return client.Get(ctx, "flags:v1:f0:t0").Err()
}

// halfMoved hands the keys of a key's slot to another master, and leaves the slot where it is
// until the move is finished: so it is asked for with ASK.
func halfMoved(c *flagtest.RedisCluster, key string) (finish func()) {
	from, slot := c.MasterOf(key), c.Slot(key)
	to := c.Nodes[slices.IndexFunc(c.Nodes, func(n *flagtest.RedisServer) bool { return n != from && strings.HasPrefix(n.CLI("ROLE"), "master") })]
	n := strconv.Itoa(slot)
	to.CLI("CLUSTER", "SETSLOT", n, "IMPORTING", from.CLI("CLUSTER", "MYID"))
	from.CLI("CLUSTER", "SETSLOT", n, "MIGRATING", to.CLI("CLUSTER", "MYID"))
	from.CLI("MIGRATE", "127.0.0.1", strconv.Itoa(to.Port()), key, "0", "5000")
	return func() { c.Move(slot, from, to) }
}
