package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/receipt"
)

// notaryProcess is the real program, which the test kills and starts again.
type notaryProcess struct {
	t            *testing.T
	bin, address string
	store        string
	cmd          *exec.Cmd
}

func (n *notaryProcess) start() {
	n.t.Helper()
	cmd := exec.Command(n.bin, "--listen", n.address, "--store", n.store)
	out, err := cmd.StderrPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "listens at") {
		n.t.Fatalf("the notary said %q, %v", line, err)
	}
	go io.Copy(io.Discard, out)
	n.cmd = cmd
}

func (n *notaryProcess) kill() {
	if n.cmd != nil {
		_ = n.cmd.Process.Signal(syscall.SIGKILL)
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

// Two notaries confirm everything, although one of them is killed again and again: nearly all receipts in
// time, and all once it is back. One that is down never holds up the other.
func TestAnchorsThroughOutages(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "notary")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	var procs []*notaryProcess
	var witnesses []receipt.Witness
	for i := range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := ln.Addr().String()
		ln.Close()
		p := &notaryProcess{t: t, bin: bin, address: address, store: filepath.Join(dir, fmt.Sprintf("store-%d", i))}
		p.start()
		t.Cleanup(p.kill)
		w, err := receipt.NewHTTPSNotary(receipt.HTTPSNotary{ID: fmt.Sprintf("n%d", i), URL: "http://" + address, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		procs, witnesses = append(procs, p), append(witnesses, w)
	}
	ctx := context.Background()
	l, err := receipt.Open(ctx, receipt.Options{Dir: filepath.Join(dir, "ledger"), Origin: "prod/test"})
	if err != nil {
		t.Fatal(err)
	}
	anchors, err := receipt.StartAnchors(ctx, l, witnesses...)
	if err != nil {
		t.Fatal(err)
	}
	// A receipt every tick; the first notary is down for a good second, twice.
	const ticks = 70
	down := func(i int) bool { return i%30 >= 15 && i%30 < 27 }
	var last uint64
	for i := range ticks {
		switch {
		case down(i) && procs[0].cmd != nil:
			procs[0].kill()
		case !down(i) && procs[0].cmd == nil:
			procs[0].start()
		}
		recs, err := l.Append(ctx, &receipt.Receipt{Kind: receipt.Generation, Phase: receipt.Outcome, Generation: uint64(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		last = recs[0].Seq
		time.Sleep(100 * time.Millisecond) // the subject is time: receipts come in one after another
	}
	deadline := time.Now().Add(time.Minute)
	for {
		done := true
		for _, s := range anchors.State() {
			done = done && s.Confirmed > last
		}
		if done {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not everything was confirmed: %+v", anchors.State())
		}
		time.Sleep(50 * time.Millisecond)
	}
	if s := anchors.State(); s[0].Failures == 0 {
		t.Error("the outages were not noticed: the test tried nothing")
	} else if s[1].Failures != 0 {
		t.Errorf("the notary that was never down failed %d times", s[1].Failures)
	}
	anchors.Close()
	closing, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := l.Close(closing); err != nil {
		t.Fatal(err)
	}
	late, all := lateness(t, filepath.Join(dir, "ledger"), ticks)
	t.Logf("%d of %d receipts were confirmed by both notaries within a minute", all-late, all)
	if late*20 > all {
		t.Errorf("%d of %d were late, want at most one in twenty", late, all)
	}
	rep, err := receipt.Verify(ctx, filepath.Join(dir, "ledger"), "")
	if err != nil || !rep.OK() || rep.Anchors == 0 {
		t.Errorf("report %+v, %v", rep, err)
	}
	if src, err := os.ReadFile(procs[0].store); err != nil || len(src) == 0 {
		t.Errorf("the notary kept nothing: %v", err)
	}
}

// lateness counts the receipts whose last confirmation came more than a minute after them.
func lateness(t *testing.T, dir string, n int) (late, all int) {
	t.Helper()
	made := map[uint64]time.Time{}
	confirmed := map[string]map[uint64]time.Time{} // notary, receipt
	err := receipt.ScanFrom(dir, 0, func(rec receipt.Record) error {
		r, err := rec.Decode()
		if err != nil {
			return err
		}
		if r.Kind == receipt.Generation {
			made[rec.Seq] = r.Time
		}
		if a := r.Anchored; a != nil {
			if confirmed[a.Notary] == nil {
				confirmed[a.Notary] = map[uint64]time.Time{}
			}
			for seq := range made {
				if _, ok := confirmed[a.Notary][seq]; !ok && seq < a.Size {
					confirmed[a.Notary][seq] = r.Time
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != n || len(confirmed) != 2 {
		t.Fatalf("%d receipts and %d notaries, want %d and 2", len(made), len(confirmed), n)
	}
	for seq, at := range made {
		for _, by := range confirmed {
			if when, ok := by[seq]; !ok || when.Sub(at) > time.Minute {
				late++
				break
			}
		}
	}
	return late, len(made)
}
