package flagtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// RedisSentinel is a master and a replica, watched by three sentinels.
type RedisSentinel struct {
	t         testing.TB
	Master    *RedisServer // the first one; a failover makes Replica the master
	Replica   *RedisServer
	Sentinels []*RedisServer
}

// Sentinel starts a master with a replica that has its data, and three sentinels
// that know them as "main"; all stop when the test ends. A lost master is replaced
// after about two seconds. conf is handed to both servers.
func Sentinel(t testing.TB, conf ...string) *RedisSentinel {
	t.Helper()
	s := &RedisSentinel{t: t, Master: Redis(t, conf...)}
	s.Replica = Redis(t, append([]string{"--replicaof", "127.0.0.1 " + strconv.Itoa(s.Master.port)}, conf...)...)
	Eventually(t, "the replica to have its master's data", func() bool {
		return strings.Contains(s.Replica.CLI("INFO", "replication"), "master_link_status:up")
	})
	for range 3 {
		s.Sentinels = append(s.Sentinels, s.sentinel())
	}
	for _, sentinel := range s.Sentinels {
		Eventually(t, "the sentinels to know each other and the replica", func() bool {
			out := sentinel.CLI("SENTINEL", "MASTER", "main")
			return field(out, "num-other-sentinels") == "2" && field(out, "num-slaves") == "1" && field(out, "flags") == "master"
		})
	}
	return s
}

func (s *RedisSentinel) sentinel() *RedisServer {
	s.t.Helper()
	dir := shortDir(s.t)
	file := filepath.Join(dir, "sentinel.conf") // which a sentinel writes to
	text := fmt.Sprintf("sentinel monitor main 127.0.0.1 %d 2\nsentinel down-after-milliseconds main 1000\n"+
		"sentinel failover-timeout main 3000\n", s.Master.port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return redisServer(s.t, []string{file, "--sentinel"}, nil)
}

// field finds a name's value in redis-cli's list of alternating lines.
func field(out, name string) string {
	lines := strings.Split(out, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		if lines[i] == name {
			return lines[i+1]
		}
	}
	return ""
}

// URL is the address of the master by its sentinels.
func (s *RedisSentinel) URL() string {
	var hosts []string
	for _, sentinel := range s.Sentinels {
		hosts = append(hosts, sentinel.Addr())
	}
	return "sentinel://" + s.Master.user + "main@" + strings.Join(hosts, ",") + "/0"
}

// AwaitFailover waits until every sentinel names the replica as the master and it
// takes writes.
func (s *RedisSentinel) AwaitFailover() {
	s.t.Helper()
	for _, sentinel := range s.Sentinels {
		Eventually(s.t, "the sentinels to promote the replica", func() bool {
			return field(sentinel.CLI("SENTINEL", "MASTER", "main"), "port") == strconv.Itoa(s.Replica.port)
		})
	}
	Eventually(s.t, "the replica to be a master", func() bool {
		return strings.Contains(s.Replica.CLI("INFO", "replication"), "role:master")
	})
}
