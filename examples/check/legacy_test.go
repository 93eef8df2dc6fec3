package check_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// TestOlderClients asks programs that read the entries by themselves thousands of questions. They agree with flags.Decide.
func TestOlderClients(t *testing.T) {
	s := newStore(t)
	r := rand.New(rand.NewPCG(1, 2))
	spec := s.apply(randomSpec(r))
	compiled, err := flags.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	var questions bytes.Buffer
	type answer struct {
		On      bool   `json:"on"`
		Version string `json:"version"`
		Reason  string `json:"reason"`
	}
	var want []answer
	seen := map[string]int{}
	for range 5000 {
		q := map[string]string{
			"feature": fmt.Sprintf("feature-%d", r.IntN(22)), "tenant": fmt.Sprintf("tenant-%d", r.IntN(12)), "user": randomUser(r),
		}
		line, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		questions.Write(append(line, '\n'))
		d := compiled.Decide(q["feature"], q["tenant"], q["user"])
		want = append(want, answer{d.On, d.Version, string(d.Reason)})
		seen[string(d.Reason)]++
	}
	if len(seen) != 5 {
		t.Fatalf("the questions meet %v only", seen)
	}
	for _, tc := range []struct {
		name string
		cmd  func(t *testing.T) *exec.Cmd
	}{
		{"JavaScript with ioredis", func(t *testing.T) *exec.Cmd {
			cmd := exec.Command("node", "flags.mjs")
			cmd.Dir = npm(t, "../legacy")
			return cmd
		}},
		{"Python with redis", func(t *testing.T) *exec.Cmd {
			flagtest.Need(t, "python3")
			cmd := exec.Command("/usr/bin/python3", "flags.py") // the one that python3-redis is for
			cmd.Dir = "../legacy"
			if err := exec.Command("/usr/bin/python3", "-c", "import redis").Run(); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal("python3 lacks the redis package (Debian: python3-redis)")
				}
				t.Skip("python3 lacks the redis package (Debian: python3-redis), so the older Python client cannot be tried")
			}
			return cmd
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := tc.cmd(t)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "REDIS_URL=" + s.redis.URL()}
			cmd.Stdin = bytes.NewReader(questions.Bytes())
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if len(lines) != len(want) {
				t.Fatalf("%d answers to %d questions", len(lines), len(want))
			}
			wrong := 0
			for i, line := range lines {
				var got answer
				if err := json.Unmarshal([]byte(line), &got); err != nil {
					t.Fatal(err)
				}
				if got != want[i] {
					if wrong++; wrong < 5 {
						t.Errorf("question %d: %+v, want %+v", i, got, want[i])
					}
				}
			}
			if wrong > 0 {
				t.Errorf("%d of %d answers differ", wrong, len(want))
			}
		})
	}
}

// randomSpec has no salts and no hashed members, which older clients do not know.
func randomSpec(r *rand.Rand) string {
	body := func() string {
		var cohorts []string
		for range r.IntN(4) {
			b, _ := json.Marshal(randomUser(r))
			if string(b) != `""` {
				cohorts = append(cohorts, string(b))
			}
		}
		return fmt.Sprintf(`"enabled":%t,"pct":%d,"version":"v%d","cohorts":[%s]`, r.IntN(6) > 0, []int{0, 1, 20, 50, 99, 100}[r.IntN(6)], r.IntN(9), strings.Join(cohorts, ","))
	}
	var features []string
	for f := range 20 {
		var tenants []string
		for t := range 10 {
			if r.IntN(3) == 0 {
				tenants = append(tenants, fmt.Sprintf(`"tenant-%d":{%s}`, t, body()))
			}
		}
		features = append(features, fmt.Sprintf(`"feature-%d":{%s,"tenants":{%s}}`, f, body(), strings.Join(tenants, ",")))
	}
	return `{"version":"flags-v1","features":{` + strings.Join(features, ",") + `}}`
}

func randomUser(r *rand.Rand) string {
	switch r.IntN(8) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("юзер-%d", r.IntN(50))
	case 2:
		return fmt.Sprintf(" \"x\"\t😀%d ", r.IntN(50))
	case 3:
		return fmt.Sprintf("a:b:%d@example.org", r.IntN(50))
	}
	return fmt.Sprintf("user-%d", r.IntN(300))
}
