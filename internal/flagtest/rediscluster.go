package flagtest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// RedisCluster is a Redis Cluster of three masters, the first three nodes, each
// with a replica.
type RedisCluster struct {
	t     testing.TB
	Nodes []*RedisServer
}

// slots is how many slots every Redis Cluster has.
const slots = 16384

// Cluster starts a Redis Cluster of six nodes and stops it when the test ends. A
// lost master is replaced after about three seconds. conf is handed to each node.
func Cluster(t testing.TB, conf ...string) *RedisCluster {
	t.Helper()
	c := &RedisCluster{t: t}
	var buses []string
	for range 6 {
		bus := strconv.Itoa(freePort(t))
		all := append([]string{
			"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "2000",
			"--cluster-replica-validity-factor", "0", "--cluster-config-file", "nodes.conf",
		}, conf...)
		c.Nodes, buses = append(c.Nodes, Redis(t, all...)), append(buses, bus)
	}
	for i, node := range c.Nodes {
		node.CLI("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		if i < 3 {
			node.CLI("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/3), strconv.Itoa((i+1)*slots/3-1))
		}
		if i > 0 {
			c.Nodes[0].CLI("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(node.port), buses[i])
		}
	}
	for _, node := range c.Nodes {
		Eventually(t, "the nodes of the cluster to know each other", func() bool {
			return strings.Count(node.CLI("CLUSTER", "NODES"), "\n") == 5
		})
	}
	for i, node := range c.Nodes[3:] {
		master := c.Nodes[i].CLI("CLUSTER", "MYID")
		Eventually(t, "a node to become a replica", func() bool {
			out, err := node.TryCLI("CLUSTER", "REPLICATE", master)
			return err == nil && out == "OK"
		})
	}
	c.Await()
	return c
}

// URL names three of the nodes, a master and the other masters' replicas; a client
// finds the rest.
func (c *RedisCluster) URL() string {
	return c.Nodes[0].URL() + "," + c.Nodes[4].URL() + "," + c.Nodes[5].URL()
}

// Await waits until the cluster serves every slot and each master that runs has
// handed its data to every replica that runs.
func (c *RedisCluster) Await() {
	c.t.Helper()
	for _, node := range c.Nodes {
		if !node.Running() {
			continue
		}
		Eventually(c.t, "the cluster to be whole", func() bool {
			info := node.CLI("CLUSTER", "INFO")
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:"+strconv.Itoa(slots)) {
				return false
			}
			replication := node.CLI("INFO", "replication")
			return strings.Contains(replication, "role:master") || strings.Contains(replication, "master_link_status:up")
		})
	}
}

// Slot is the slot of a key.
func (c *RedisCluster) Slot(key string) int {
	c.t.Helper()
	n, err := strconv.Atoi(c.Nodes[0].CLI("CLUSTER", "KEYSLOT", key))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// MasterOf is the node that serves a key's slot now, as the first running node sees it.
func (c *RedisCluster) MasterOf(key string) *RedisServer {
	c.t.Helper()
	slot := c.Slot(key)
	for _, asked := range c.Nodes {
		if !asked.Running() {
			continue
		}
		for line := range strings.Lines(asked.CLI("CLUSTER", "NODES")) {
			f := strings.Fields(line)
			if len(f) < 9 || strings.Contains(f[2], "fail") || !covers(f[8:], slot) {
				continue
			}
			for _, node := range c.Nodes {
				if strings.HasPrefix(f[1], node.Addr()+"@") {
					return node
				}
			}
		}
	}
	c.t.Fatalf("no node serves the slot of %q", key)
	return nil
}

// ReplicaOf is the node that replicates a master, as that one sees it.
func (c *RedisCluster) ReplicaOf(master *RedisServer) *RedisServer {
	c.t.Helper()
	id := master.CLI("CLUSTER", "MYID")
	for line := range strings.Lines(master.CLI("CLUSTER", "NODES")) {
		f := strings.Fields(line)
		for _, node := range c.Nodes {
			if len(f) > 3 && f[3] == id && strings.HasPrefix(f[1], node.Addr()+"@") {
				return node
			}
		}
	}
	c.t.Fatalf("%s has no replica", master.Addr())
	return nil
}

// Promote makes a replica take its master's place without asking it, and waits until
// every node that runs knows.
func (c *RedisCluster) Promote(replica *RedisServer) {
	c.t.Helper()
	replica.CLI("CLUSTER", "FAILOVER", "TAKEOVER")
	for _, node := range c.Nodes {
		if !node.Running() {
			continue
		}
		Eventually(c.t, "every node to know the new master", func() bool {
			for line := range strings.Lines(node.CLI("CLUSTER", "NODES")) {
				f := strings.Fields(line)
				if len(f) > 8 && strings.HasPrefix(f[1], replica.Addr()+"@") && strings.Contains(f[2], "master") {
					return true
				}
			}
			return false
		})
	}
	c.Await()
}

// covers tells whether one of the ranges 3, 5-9 or [3->-id] holds the slot.
func covers(ranges []string, slot int) bool {
	for _, r := range ranges {
		from, to, ok := strings.Cut(r, "-")
		if !ok {
			to = from
		}
		lo, err1 := strconv.Atoi(from)
		hi, err2 := strconv.Atoi(to)
		if err1 == nil && err2 == nil && lo <= slot && slot <= hi {
			return true
		}
	}
	return false
}

// Move hands a slot and its keys to another master, as resharding does.
func (c *RedisCluster) Move(slot int, from, to *RedisServer) {
	c.t.Helper()
	s := strconv.Itoa(slot)
	to.CLI("CLUSTER", "SETSLOT", s, "IMPORTING", from.CLI("CLUSTER", "MYID"))
	from.CLI("CLUSTER", "SETSLOT", s, "MIGRATING", to.CLI("CLUSTER", "MYID"))
	for {
		keys := strings.Fields(from.CLI("CLUSTER", "GETKEYSINSLOT", s, "100"))
		if len(keys) == 0 {
			break
		}
		args := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.port), "", "0", "5000", "REPLACE", "KEYS"}
		from.CLI(append(args, keys...)...)
	}
	id := to.CLI("CLUSTER", "MYID")
	for _, node := range []*RedisServer{to, from, c.Nodes[0], c.Nodes[1], c.Nodes[2]} {
		if out, err := node.TryCLI("CLUSTER", "SETSLOT", s, "NODE", id); err != nil && node.Running() && !strings.Contains(out, "replica") {
			c.t.Fatal(fmt.Errorf("handing over slot %s: %w: %s", s, err, out))
		}
	}
}
