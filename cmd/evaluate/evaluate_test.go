package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// running is an evaluate at work in this process.
type running struct {
	t      *testing.T
	url    string
	stop   context.CancelFunc
	done   chan error
	stderr *flagtest.Buffer
}

func start(t *testing.T, environ map[string]string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, stop: cancel, done: make(chan error, 1), stderr: &flagtest.Buffer{}}
	env := cli.Env{
		Args: append([]string{"--listen", "127.0.0.1:0", "--poll", "100ms"}, args...), Stdin: strings.NewReader(""),
		Stdout: io.Discard, Stderr: r.stderr, Getenv: func(name string) string { return environ[name] },
	}
	go func() { r.done <- run(ctx, env) }()
	t.Cleanup(func() { cancel(); <-r.done })
	flagtest.Eventually(t, "evaluate to listen", func() bool {
		select {
		case err := <-r.done:
			r.done <- err
			t.Fatalf("evaluate ended: %v\n%s", err, r.stderr)
		default:
		}
		_, rest, ok := strings.Cut(r.stderr.String(), "listens at ")
		r.url, _, _ = strings.Cut(rest, "\n")
		return ok && strings.HasSuffix(rest, "\n") || strings.Contains(rest, "\n")
	})
	return r
}

func (r *running) do(method, path, body string, header ...string) (int, map[string]any) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var v map[string]any
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
			r.t.Fatal(err)
		}
	}
	return resp.StatusCode, v
}

func (r *running) value(feature, context string, header ...string) (int, any) {
	r.t.Helper()
	status, v := r.do("POST", "/ofrep/v1/evaluate/flags/"+feature, `{"context":`+context+`}`, header...)
	return status, v["value"]
}

func spec(pct int) string {
	return fmt.Sprintf(`{"version":"flags-v1+ramp.%d","features":{"receipts":{"pct":%d,"tenants":{"acme":{"pct":100}}}}}`, pct+1, pct)
}

func fill(t *testing.T, redis *flagtest.RedisServer, generation uint64, src string) {
	t.Helper()
	store, err := redisstore.Open(t.Context(), redisstore.Options{URL: redis.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	s, err := flags.Decode("test", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	live, _ := store.Meta(t.Context())
	c := redisstore.Change{Meta: redisstore.Meta{Generation: generation, Epoch: 1, Version: s.Version, Digest: s.Digest(), Commit: "c0ffee", AppliedAt: "2026-11-22T04:00:00Z"}, Spec: s.Bytes()}
	for k, e := range s.Entries() {
		c.Set = append(c.Set, redisstore.KV{Key: k, Value: e.AppendJSON(nil)})
	}
	if _, err := store.Apply(t.Context(), live.Fence(), c); err != nil {
		t.Fatal(err)
	}
}

func TestServesWhatRedisHolds(t *testing.T) {
	redis := flagtest.Redis(t)
	fill(t, redis, 1, spec(0))
	r := start(t, map[string]string{"REDIS_URL": redis.URL(), "DEFAULT_TENANT": "globex"})
	if status, on := r.value("receipts", `{"targetingKey":"u"}`); status != 200 || on != false {
		t.Errorf("%d %v", status, on)
	}
	if status, on := r.value("receipts", `{"targetingKey":"u","tenant":"acme"}`); status != 200 || on != true {
		t.Errorf("acme: %d %v", status, on)
	}
	fill(t, redis, 2, spec(100))
	flagtest.Eventually(t, "the change", func() bool { _, on := r.value("receipts", `{"targetingKey":"u"}`); return on == true })
	redis.Kill()
	flagtest.Eventually(t, "stale", func() bool { _, v := r.do("GET", "/readyz", ""); return v["stale"] == true })
	if status, v := r.do("GET", "/readyz", ""); status != 200 || v["ready"] != true || v["generation"] != 2.0 || v["source"] != "redis" {
		t.Errorf("ready while redis is away: %d %v", status, v)
	}
	if status, on := r.value("receipts", `{"targetingKey":"u"}`); status != 200 || on != true {
		t.Errorf("while redis is away: %d %v", status, on)
	}
	if status, v := r.do("GET", "/healthz", ""); status != 200 || v["ok"] != true {
		t.Errorf("healthz: %d %v", status, v)
	}
	resp, err := http.Get(r.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`rampart_evaluate_requests_total{asked="single",status="200"}`, "rampart_evaluate_generation 2", "rampart_evaluate_stale 1",
		"rampart_evaluate_entries 2", `rampart_evaluate_request_seconds_count{asked="single"}`, "rampart_evaluate_streams 0", "rampart_evaluate_build_info",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if status, _ := r.do("GET", "/", ""); status != 404 {
		t.Errorf("/: %d", status)
	}
	t.Run("promtool", func(t *testing.T) {
		flagtest.Need(t, "promtool")
		cmd := exec.Command("promtool", "check", "metrics")
		cmd.Stdin = bytes.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// What is asked for one by one is counted; what nobody asks for stands at 0; what is gone is gone.
func TestCountsDecisions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flags.json")
	write := func(features string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(`{"version":"flags-v1","features":{`+features+`}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`"receipts":{},"old":{}`)
	r := start(t, nil, "--spec", path)
	for range 2 {
		r.value("receipts", `{"targetingKey":"u"}`)
	}
	r.value("invented", `{"targetingKey":"u"}`)
	r.do("POST", "/ofrep/v1/evaluate/flags", `{"context":{"targetingKey":"u"}}`)
	counts := func() (lines string) {
		resp, err := http.Get(r.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "rampart_decisions_total") {
				lines += line
			}
		}
		return lines
	}
	if got, want := counts(), "rampart_decisions_total{feature=\"old\"} 0\nrampart_decisions_total{feature=\"receipts\"} 2\n"; got != want {
		t.Errorf("counted\n%swant\n%s", got, want)
	}
	write(`"receipts":{}`)
	flagtest.Eventually(t, "the change", func() bool { return counts() == "rampart_decisions_total{feature=\"receipts\"} 2\n" })
}

func TestStartsFromAFileWhileRedisIsAway(t *testing.T) {
	redis := flagtest.Redis(t)
	redis.Kill()
	path := filepath.Join(t.TempDir(), "flags.json")
	if err := os.WriteFile(path, []byte(spec(100)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, nil, "--redis", redis.URL(), "--spec", path)
	if status, on := r.value("receipts", `{"targetingKey":"u"}`); status != 200 || on != true {
		t.Errorf("from the file: %d %v", status, on)
	}
	redis.Start()
	fill(t, redis, 1, spec(0))
	flagtest.Eventually(t, "redis", func() bool { _, on := r.value("receipts", `{"targetingKey":"u"}`); return on == false })
}

func TestWithoutFlagsItLivesAndIsNotReady(t *testing.T) {
	redis := flagtest.Redis(t)
	r := start(t, nil, "--redis", redis.URL(), "--wait", "50ms")
	if status, v := r.do("GET", "/readyz", ""); status != 503 || v["reason"] != "NotReady" {
		t.Errorf("readyz: %d %v", status, v)
	}
	if status, v := r.do("POST", "/ofrep/v1/evaluate/flags/receipts", `{}`); status != 500 || v["errorCode"] != "GENERAL" || v["key"] != "receipts" {
		t.Errorf("single: %d %v", status, v)
	}
	fill(t, redis, 1, spec(100))
	flagtest.Eventually(t, "ready", func() bool { status, _ := r.do("GET", "/readyz", ""); return status == 200 })
}

func makeKey(t *testing.T, args ...string) (key, line string) {
	t.Helper()
	var stdout, stderr strings.Builder
	env := cli.Env{Args: append([]string{"key"}, args...), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
	if err := run(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(strings.TrimSpace(stderr.String()), "for the file: ")
	if !ok || strings.Contains(line, strings.TrimSpace(stdout.String())) {
		t.Fatalf("stderr %q", &stderr)
	}
	return strings.TrimSpace(stdout.String()), line
}

func TestAPIKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flags.json")
	if err := os.WriteFile(path, []byte(spec(0)), 0o600); err != nil {
		t.Fatal(err)
	}
	web, webLine := makeKey(t, "--name", "web", "--tenant", "acme", "--rate", "1000")
	all, allLine := makeKey(t, "--name", "all")
	file := filepath.Join(t.TempDir(), "keys.json")
	write := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(`{"version":1,"keys":[`+strings.Join(lines, ",")+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(webLine, allLine)
	r := start(t, nil, "--spec", path, "--api-keys", file)
	for _, tc := range []struct {
		name, header, value, context string
		status                       int
	}{
		{"none", "X-Nothing", "", `{}`, 401},
		{"wrong", "Authorization", "Bearer rk_wrong", `{}`, 401},
		{"its digest is no key", "Authorization", "Bearer " + webLine, `{}`, 401},
		{"own tenant", "Authorization", "Bearer " + web, `{"tenant":"acme"}`, 200},
		{"own tenant, by the other header", "X-API-Key", web, `{}`, 200},
		{"another tenant", "Authorization", "bearer " + web, `{"tenant":"globex"}`, 403},
		{"any tenant", "Authorization", "Bearer " + all, `{"tenant":"globex"}`, 200},
	} {
		if status, _ := r.value("receipts", tc.context, tc.header, tc.value); status != tc.status {
			t.Errorf("%s: %d, want %d", tc.name, status, tc.status)
		}
	}
	// Keys are rotated by SIGHUP; a broken file changes nothing.
	hup := func() {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write("{")
	hup()
	flagtest.Eventually(t, "the broken file", func() bool { return strings.Contains(r.stderr.String(), "stay as they were") })
	if status, _ := r.value("receipts", `{}`, "X-API-Key", web); status != 200 {
		t.Errorf("after a broken file: %d", status)
	}
	write(allLine)
	hup()
	flagtest.Eventually(t, "the key to be gone", func() bool { status, _ := r.value("receipts", `{}`, "X-API-Key", web); return status == 401 })

	if _, err := openKeys(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file: no error")
	}
	for _, bad := range []string{
		`{"version":2,"keys":[]}`, `{"version":1,"keys":[{"name":"a","sha256":"00"}]}`, `{"version":1,"keys":[{"name":"a b","sha256":"` + strings.Repeat("0", 64) + `"}]}`,
		`{"version":1,"keys":[` + webLine + `,` + webLine + `]}`, `{"version":1,"keys":[{"name":"a","sha256":"` + strings.Repeat("0", 64) + `","tenant":"acme"}]}`,
	} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openKeys(file); cli.Code(err) != cli.ExitRefused {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestDrain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flags.json")
	if err := os.WriteFile(path, []byte(spec(0)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, nil, "--spec", path, "--drain-delay", "1s")
	stream, err := http.Get(r.url + "/ofrep/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if line, err := bufio.NewReader(stream.Body).ReadString('\n'); err != nil || line != "retry: 2000\n" {
		t.Fatalf("stream begins %q, %v", line, err)
	}
	r.stop()
	flagtest.Eventually(t, "not ready", func() bool {
		status, v := r.do("GET", "/readyz", "")
		return status == 503 && v["reason"] == "Draining"
	})
	if status, _ := r.value("receipts", `{"tenant":"acme"}`); status != 200 {
		t.Errorf("while draining: %d", status)
	}
	select {
	case err := <-r.done:
		r.done <- err
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("an open event stream keeps the process alive")
	}
}

func TestWrongCommandLines(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{nil, cli.ExitUsage, "no flags to serve"},
		{[]string{"--spec", "x", "--cache", "y"}, cli.ExitUsage, "--cache without --redis"},
		{[]string{"--spec", "x", "--reconciler-key", "y"}, cli.ExitUsage, "without --trust"},
		{[]string{"--spec", "x", "--trust", "/nowhere"}, cli.ExitError, "reading the trust policy"},
		{[]string{"--redis", "nonsense://"}, cli.ExitUsage, "opening the flags"},
		{[]string{"--spec", "x", "--rate", "-1"}, cli.ExitUsage, "--rate -1"},
		{[]string{"--spec", "x", "--wait", "-1s"}, cli.ExitUsage, "--wait"},
		{[]string{"--spec", "x", "--poll", "0s"}, cli.ExitUsage, "--poll"},
		{[]string{"--spec", "x", "--listen", "256.0.0.1:1", "--wait", "1ms"}, cli.ExitError, "serving on"},
		{[]string{"--spek", "x"}, cli.ExitUsage, "--spek"},
		{[]string{"key"}, cli.ExitUsage, "no name given"},
	} {
		var stdout, stderr strings.Builder
		err := run(t.Context(), cli.Env{Args: tc.args, Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }})
		if err == nil || cli.Code(err) != tc.code || !strings.Contains(err.Error(), tc.want) || stdout.Len() > 0 {
			t.Errorf("%q: code %d, %v, stdout %q", tc.args, cli.Code(err), err, &stdout)
		}
	}
}

// --environment is about a file as well: the wrong one is refused at the start, and not believed later.
func TestTheOnlyEnvironment(t *testing.T) {
	of := func(environment string, pct int) []byte {
		return fmt.Appendf(nil, `{"version":"flags-v1","environment":%q,"features":{"receipts":{"pct":%d}}}`, environment, pct)
	}
	path := filepath.Join(t.TempDir(), "flags.json")
	if err := os.WriteFile(path, of("prod", 100), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var stderr flagtest.Buffer
	code := cli.Report(&stderr, "evaluate", run(ctx, cli.Env{
		Args: []string{"--listen", "127.0.0.1:0", "--spec", path, "--environment", "staging"}, Stdin: strings.NewReader(""),
		Stdout: io.Discard, Stderr: &stderr, Getenv: func(string) string { return "" },
	}))
	if said := stderr.String(); code != cli.ExitRefused || !strings.Contains(said, `of environment "prod", and --environment is "staging"`) || !strings.Contains(said, "hint:") {
		t.Errorf("exit %d, %s", code, said)
	}
	r := start(t, nil, "--spec", path, "--environment", "prod")
	if err := os.WriteFile(path, of("staging", 0), 0o600); err != nil {
		t.Fatal(err)
	}
	flagtest.Eventually(t, "the refusal", func() bool { return strings.Contains(r.stderr.String(), "another environment") })
	if status, on := r.value("receipts", `{"targetingKey":"u"}`); status != 200 || on != true {
		t.Errorf("%d %v", status, on)
	}
}
