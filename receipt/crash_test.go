package receipt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

const writerDir = "RAMPART_TEST_LEDGER"

// TestWriterProcess is no test: it is the process that TestKilledWhileWriting kills. It appends receipts as fast as it can,
// small and large, and names each on stdout once it is acknowledged.
func TestWriterProcess(t *testing.T) {
	dir := os.Getenv(writerDir)
	if dir == "" {
		t.Skip("only as a child of TestKilledWhileWriting")
	}
	l, err := Open(context.Background(), Options{Dir: dir, Origin: "prod/test", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		t.Fatal(err)
	}
	var out sync.Mutex
	for range 3 {
		go func() {
			for {
				rs := make([]*Receipt, 1+rand.N(40))
				for i := range rs {
					rs[i] = &Receipt{Kind: Generation, Phase: Outcome, Environment: "prod", Detail: strings.Repeat("x", rand.N(20_000))}
				}
				recs, err := l.Append(context.Background(), rs...)
				if err != nil {
					panic(err)
				}
				var text bytes.Buffer
				for i, r := range rs {
					fmt.Fprintf(&text, "ack %d %s\n", recs[i].Seq, r.OpID)
				}
				out.Lock()
				_, _ = os.Stdout.Write(text.Bytes())
				out.Unlock()
			}
		}()
	}
	select {}
}

// A process that writes the ledger is killed at random moments, again and again: whatever it acknowledged is there, under the
// number that it said; what a write left behind in part is removed at the next start, and said; the log verifies.
func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	acked := map[uint64]string{}
	torn, cut := 0, 0
	for round := range 14 {
		journal := journalDir(dir)
		cmd := exec.Command(os.Args[0], "-test.run=^TestWriterProcess$")
		cmd.Env = append(os.Environ(), writerDir+"="+dir)
		var said bytes.Buffer
		cmd.Stderr = &said
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(stdout)
		first, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("the writer ended: %v, %s", err, said.String())
		}
		noteAck(t, acked, first)
		lines := make(chan string, 1<<16)
		go func() {
			defer close(lines)
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				lines <- line
			}
		}()
		<-time.After(rand.N(40 * time.Millisecond)) // the subject is the moment
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for line := range lines {
			noteAck(t, acked, line)
		}
		_ = cmd.Wait()
		if strings.Contains(said.String(), "cut short was removed") {
			torn++
		}
		found := map[uint64]string{}
		if err := scan(journal, 0, func(r Record) error {
			got, err := r.Decode()
			found[r.Seq] = got.OpID
			return err
		}); err != nil {
			t.Fatalf("reading what the kill left: %v", err)
		}
		for seq, op := range acked {
			if found[seq] != op {
				t.Fatalf("receipt %d was acknowledged as %s and is %q", seq, op, found[seq])
			}
		}
		if round%2 == 0 && round < 12 { // a kill seldom falls into a write: what a power cut leaves of one is added by hand
			tear(t, journal)
			cut++
		}
	}
	if torn < cut {
		t.Errorf("%d starts told of a torn end, there were %d at least", torn, cut)
	}
	fill(t, dir, 1)
	rep := verifyTest(t, dir)
	if !rep.OK() || rep.Unlogged != 0 || rep.Records < uint64(len(acked)) {
		t.Fatalf("report %+v of %d acknowledged", rep, len(acked))
	}
	t.Logf("%d receipts acknowledged, %d kept; %d starts found a torn end", len(acked), rep.Records, torn)
}

// tear leaves the beginning of a record behind the last one.
func tear(t *testing.T, journal string) {
	t.Helper()
	j, err := openJournal(journal) // cuts what the kill left
	if err != nil {
		t.Fatal(err)
	}
	line := appendLine(nil, Record{Seq: j.next, Salt: make([]byte, 16), Body: bytes.Repeat([]byte("y"), 5000)})
	_, err = j.file.WriteAt(line[:1+rand.N(len(line)-1)], j.size)
	if err = errors.Join(err, j.close()); err != nil {
		t.Fatal(err)
	}
}

func noteAck(t *testing.T, acked map[uint64]string, line string) {
	t.Helper()
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[0] != "ack" {
		return // cut short by the kill: nobody was told
	}
	seq, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil || len(fields[2]) != 36 {
		return
	}
	if before, ok := acked[seq]; ok && before != fields[2] {
		t.Fatalf("number %d was given twice: %s and %s", seq, before, fields[2])
	}
	acked[seq] = fields[2]
}

// On a disk that is full, nothing is acknowledged that is not there, what waits is kept in memory, and all of it is written
// once there is room again: journal, log and checkpoint.
func TestFullDisk(t *testing.T) {
	disk := flagtest.NewSmallDisk(t, 2<<20)
	dir := disk.Dir + "/ledger"
	l := openTest(t, dir)
	big := strings.Repeat("x", 3000)
	add := func() error {
		_, err := l.Append(context.Background(), &Receipt{Kind: Generation, Phase: Intent, Environment: "prod", Detail: big})
		return err
	}
	acked := 0
	for range 5 {
		if err := add(); err != nil {
			t.Fatal(err)
		}
		acked++
	}
	for round := range 3 {
		disk.Fill()
		full := 0
		for range 2000 { // blocks that are allotted already take some more
			if err := add(); err == nil {
				acked++
				continue
			} else if errors.Is(err, ErrDamaged) || errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
			if full++; full == 3 {
				break
			}
		}
		if full < 3 {
			t.Fatal("the disk was never full")
		}
		for range 4 {
			if l.Queue(context.Background(), &Receipt{Kind: Override, Phase: Outcome, Environment: "prod", Detail: big}) {
				t.Fatal("durable on a full disk")
			}
		}
		if l.Waiting() != 4 {
			t.Fatalf("%d wait, want 4", l.Waiting())
		}
		if err := l.Flush(context.Background()); err == nil {
			t.Fatal("flushed on a full disk")
		}
		disk.Free()
		flagtest.Eventually(t, "the late receipts", func() bool { return l.Flush(context.Background()) == nil && l.Waiting() == 0 })
		acked += 4
		if round == 1 { // also over a restart right after the disk was full
			closeTest(t, l)
			l = openTest(t, dir)
		}
	}
	closeTest(t, l)
	rep := verifyTest(t, dir)
	if !rep.OK() || rep.Records != uint64(acked) || rep.Unlogged != 0 {
		t.Fatalf("%d acknowledged, report %+v", acked, rep)
	}
	late := 0
	err := scan(journalDir(dir), 0, func(r Record) error {
		got, err := r.Decode()
		if got.Late {
			late++
		}
		return err
	})
	if err != nil || late != 12 {
		t.Errorf("%d receipts are marked late, want 12, %v", late, err)
	}
}
