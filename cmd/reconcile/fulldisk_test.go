package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/trust"
)

// With the disk of its ledger full, a running reconciler turns nothing on. A kill by git, a kill by break-glass statement and
// a repair go ahead, the alarm is raised, and once there is room again every receipt is written, marked late.
func TestFullLedgerDisk(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	disk := flagtest.NewSmallDisk(t, 2<<20)
	w := newFullDiskWorld(t, t.TempDir(), "--ledger", filepath.Join(disk.Dir, "ledger"))
	disk.Fill()
	w.exhaust()

	w.land("flags-v2", "receipts=60", "search=50")
	flagtest.Eventually(t, "the rise is held", func() bool { return strings.Contains(w.get("/api/v1/status"), `"RecordFailed"`) })
	if err := wantLive(w.Stage, "receipts", "50"); err != nil {
		t.Fatalf("a rise went live without a record: %v", err)
	}
	w.repaired()
	w.override("search")
	w.land("flags-v3", "receipts=0", "search=50")
	flagtest.Eventually(t, "the kill by git", func() bool { return wantLive(w.Stage, "receipts", "0") == nil })
	w.alarmed()

	disk.Free()
	w.recovered()
	w.land("flags-v4", "receipts=70", "search=50")
	flagtest.Eventually(t, "a rise, with a record again", func() bool { return wantLive(w.Stage, "receipts", "70") == nil })
	w.stop()
	w.complete(filepath.Join(disk.Dir, "ledger"), "override", "repair", "generation")
}

// With the disk of the whole state folder full, git cannot be fetched; break-glass statements and repairs go ahead, and the
// process outlives it.
func TestFullStateDisk(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	disk := flagtest.NewSmallDisk(t, 4<<20)
	state := filepath.Join(disk.Dir, "state")
	w := newFullDiskWorld(t, state)
	disk.Fill()
	w.exhaust()

	w.land("flags-v2", "receipts=60", "search=50")
	w.repaired()
	w.override("search")
	w.alarmed()
	if err := wantLive(w.Stage, "receipts", "50"); err != nil {
		t.Fatalf("a rise went live without a record: %v", err)
	}

	// One that starts on it looks after what is live.
	w.stop()
	disk.Fill()
	w.start()
	w.repaired()
	w.stop()

	disk.Free()
	w.start()
	w.serves()
	w.recovered()
	flagtest.Eventually(t, "the rise, with a record again", func() bool { return wantLive(w.Stage, "receipts", "60") == nil })
	w.stop()
	w.complete(filepath.Join(state, "ledger"), "override", "repair")
}

// fullDiskWorld is a reconciler that runs, with receipts=50 and search=50 live.
type fullDiskWorld struct {
	*flagtest.Stage
	t       *testing.T
	state   string
	args    []string
	address string
	stop    func()
}

func newFullDiskWorld(t *testing.T, state string, args ...string) *fullDiskWorld {
	t.Helper()
	s := flagtest.NewStage(t, flagtest.Redis(t), `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]},"brake":{"signers":["bob"],"may":["disable"]}}}`)
	w := &fullDiskWorld{Stage: s, t: t, state: state, args: args}
	w.land("flags-v1", "receipts=50", "search=50")
	w.start()
	flagtest.Eventually(t, "the first generation", func() bool { return wantLive(s, "receipts", "50") == nil })
	w.serves()
	return w
}

// start starts the reconciler, until stop.
func (w *fullDiskWorld) start() {
	w.t.Helper()
	t := w.t
	cmd := command(t, w.Stage, w.state, append([]string{"run", "--listen", "127.0.0.1:0", "--interval", "200ms", "--name", "test"}, w.args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	w.stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(func() {
		w.stop()
		if t.Failed() {
			t.Logf("the reconciler said: %.20000s", said.String())
		}
	})
}

func (w *fullDiskWorld) serves() {
	w.t.Helper()
	flagtest.Eventually(w.t, "the address", func() (ok bool) {
		var err error
		w.address, err = runningAddress(w.state)
		return err == nil
	})
}

func (w *fullDiskWorld) land(version string, fields ...string) {
	w.t.Helper()
	w.Spec(version, fields...)
	w.Sign("alice")
	w.Land(version)
}

func (w *fullDiskWorld) get(path string) string {
	w.t.Helper()
	body, err := ask(w.t.Context(), w.address, path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body)
}

// waiting is how many receipts are in memory only.
func (w *fullDiskWorld) waiting() (n int) {
	w.t.Helper()
	for line := range strings.Lines(w.get("/metrics")) {
		if rest, ok := strings.CutPrefix(line, "rampart_receipts_waiting "); ok {
			fmt.Sscan(rest, &n)
		}
	}
	return n
}

// exhaust drifts until no receipt fits any more: blocks that are allotted already take some.
func (w *fullDiskWorld) exhaust() {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); w.waiting() == 0; {
		if time.Now().After(end) {
			w.t.Fatal("the ledger was never full")
		}
		w.repaired()
	}
}

// repaired writes a wrong entry and waits until it is put right.
func (w *fullDiskWorld) repaired() {
	w.t.Helper()
	key := w.NS + "receipts:__default__"
	right := w.Redis.CLI("GET", key)
	w.Redis.CLI("SET", key, `{"version":"v1","enabled":true,"ramp_pct":100,"cohorts":[]}`)
	flagtest.Eventually(w.t, "the repair", func() bool { return w.Redis.CLI("GET", key) == right })
}

// override turns a feature off by a signed statement.
func (w *fullDiskWorld) override(feature string) {
	w.t.Helper()
	src, err := os.ReadFile(w.Trust)
	if err != nil {
		w.t.Fatal(err)
	}
	policy, err := trust.Parse("trust.json", src)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	o := &trust.Override{Environment: policy.Environment, ID: trust.NewID(), Issued: now, Expires: now.Add(time.Hour), Reason: "time-outs", Set: []trust.OverrideItem{{Feature: feature}}}
	text, err := o.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := trust.Sealed{Statement: text, Bundles: [][]byte{w.Keys["bob"].Bundle(text)}}.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	if code, out := w.post("/admin/override", body); code != http.StatusOK {
		w.t.Fatalf("the statement: %d %s", code, out)
	}
	if got := w.Redis.CLI("GET", w.NS+feature+":__default__"); !strings.Contains(got, `"enabled":false`) {
		w.t.Fatalf("%s is %s", feature, got)
	}
}

func (w *fullDiskWorld) post(path string, body []byte) (int, string) {
	w.t.Helper()
	token, err := os.ReadFile(filepath.Join(w.state, tokenName))
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://"+w.address+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var out bytes.Buffer
	_, _ = out.ReadFrom(res.Body)
	return res.StatusCode, out.String()
}

func (w *fullDiskWorld) alarmed() {
	w.t.Helper()
	if w.waiting() == 0 {
		w.t.Error("no receipt waits: there is no alarm")
	}
	if strings.Contains(w.get("/metrics"), "rampart_record_failures_total 0\n") {
		w.t.Error("no failure was counted")
	}
}

func (w *fullDiskWorld) recovered() {
	w.t.Helper()
	flagtest.Eventually(w.t, "the receipts that waited", func() bool { return w.waiting() == 0 })
}

// complete looks into the ledger that is left: it verifies, every operation has its outcome, and late ones are marked.
func (w *fullDiskWorld) complete(dir string, kinds ...string) {
	w.t.Helper()
	out, err := command(w.t, w.Stage, w.state, "once").CombinedOutput() // hands over what the log has not taken
	if err != nil {
		w.t.Fatalf("a pass afterwards: %v\n%s", err, out)
	}
	list := w.reconcile("receipts", "list", "--json", "--ledger", dir)
	intents, late := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(list) {
		var r struct {
			Op_id, Kind, Phase string
			Late               bool
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			w.t.Fatal(err)
		}
		if r.Phase == "intent" {
			intents[r.Op_id] = true
		} else {
			delete(intents, r.Op_id)
		}
		late[r.Kind] = late[r.Kind] || r.Late
	}
	if len(intents) > 0 {
		w.t.Errorf("without an outcome: %v", intents)
	}
	for _, k := range kinds {
		if !late[k] {
			w.t.Errorf("no late receipt of kind %s in\n%s", k, list)
		}
	}
	if out := w.reconcile("receipts", "verify", "--ledger", dir); !strings.Contains(out, "ok  rampart/test") || !strings.Contains(out, " 0 not logged yet") {
		w.t.Errorf("verify: %s", out)
	}
}

func (w *fullDiskWorld) reconcile(args ...string) string {
	w.t.Helper()
	cmd := command(w.t, w.Stage, w.state)
	cmd.Args = append(cmd.Args[:1:1], args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("reconcile %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
