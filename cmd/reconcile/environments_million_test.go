package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// A million entries over ten specs in one Redis, by the real command: how long they take cold, beside bare MSETs of the same
// bytes in the same run, what memory they take, and when a change of ten is live. RAMPART_MILLION=100000 says how many entries
// a spec has; without it this is a story of minutes that nobody waits for.
func TestMillionEntries(t *testing.T) {
	each, err := strconv.Atoi(os.Getenv("RAMPART_MILLION"))
	if err != nil {
		t.Skip("set RAMPART_MILLION=100000")
	}
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	const specs = 10
	h := newHerd(t, specs, "10s")
	land := func(i int, version string, changed int) {
		s := h.stages[i]
		src := wide(version, each, 10)
		for n := range changed {
			src = strings.Replace(src, fmt.Sprintf("\"tenant-%05d\":{", n), fmt.Sprintf("\"tenant-%05d\":{\"pct\":77,", n), 1)
		}
		s.Repo.Write("specs/flags.json", src)
		s.Sign("alice")
		s.Repo.Commit(version)
		s.Repo.Push()
	}
	for i := range specs {
		land(i, "flags-v1", 0)
		h.add(fmt.Sprintf("e%d", i), i, map[string]any{"ledger": "off"})
	}
	bare := bareSets(t, each, specs)
	began := time.Now()
	h.run()
	for time.Since(began) < 10*time.Minute {
		if code, _ := h.get("/readyz?all"); code == http.StatusOK {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	cold := time.Since(began)
	applied := 0.0
	_, metrics := h.get("/metrics")
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "rampart_pass_phase_seconds_sum") && strings.Contains(line, `phase="apply"`) {
			f := strings.Fields(line)
			v, _ := strconv.ParseFloat(f[len(f)-1], 64)
			applied += v
		}
	}
	cpu, rss, peak := h.cpu()
	entries := each * specs
	t.Logf("%d entries: bare MSETs of 500 %v; cold start to ready %v (%.0f s of CPU), of it writing, added up over environments that write at the same time, %.2fs; RSS %d MiB, peak %d MiB: %d bytes an entry at peak",
		entries, bare.Round(time.Millisecond), cold.Round(time.Millisecond), cpu, applied, rss>>20, peak>>20, peak/entries)
	for try := range 3 {
		land(3, fmt.Sprintf("flags-v%d", try+2), 10+try)
		pushed := time.Now()
		req, _ := http.NewRequest(http.MethodPost, "http://"+h.serves+"/environments/e3/admin/reconcile", strings.NewReader("{}"))
		req.Header.Set("Authorization", "Bearer the token of the herd")
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusAccepted {
			t.Fatalf("hurrying: %v %v", res, err)
		}
		res.Body.Close()
		flagtest.Eventually(t, "the change to be live", func() bool {
			v, _ := h.redis.TryCLI("GET", fmt.Sprintf("flags:e3:receipts:tenant-%05d", 9+try))
			return strings.Contains(v, `"ramp_pct":77`)
		})
		t.Logf("a change of ten entries was live %v after it was pushed", time.Since(pushed).Round(time.Millisecond))
	}
	_, rss, peak = h.cpu()
	t.Logf("afterwards RSS %d MiB, peak %d MiB", rss>>20, peak>>20)
}

// bareSets times MSETs of 500 of the same entries into a Redis of their own.
func bareSets(t *testing.T, each, specs int) time.Duration {
	t.Helper()
	server := flagtest.Redis(t)
	opt, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opt)
	defer c.Close()
	spec, err := flags.Decode("flags.json", []byte(wide("flags-v1", each, 10)))
	if err != nil {
		t.Fatal(err)
	}
	var all []any
	for k, e := range spec.Entries() {
		all = append(all, k.String(), e.AppendJSON(nil))
	}
	began := time.Now()
	for i := range specs {
		ns := fmt.Sprintf("flags:e%d:", i)
		pairs := make([]any, 0, 1000)
		for at := 0; at < len(all); at += 2 {
			if pairs = append(pairs, ns+all[at].(string), all[at+1]); len(pairs) == 1000 || at+2 == len(all) {
				if err := c.MSet(t.Context(), pairs...).Err(); err != nil {
					t.Fatal(err)
				}
				pairs = pairs[:0]
			}
		}
	}
	return time.Since(began)
}
