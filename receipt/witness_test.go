package receipt

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// testWitness is a witness after C2SP tlog-witness and tlog-cosignature, made of the Go checksum database's own code and
// crypto/ed25519: it shares no code with what it tests.
type testWitness struct {
	name string
	key  ed25519.PrivateKey
	hash [4]byte // of the key (C2SP signed-note)
	logs map[string]note.Verifier

	mu     sync.Mutex
	latest map[string]tlog.Tree
}

// startWitness runs a witness that knows the logs with these public keys, and returns its address and its public key.
func startWitness(t *testing.T, logs ...string) (url, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &testWitness{name: "witness.example/w1", key: private, logs: map[string]note.Verifier{}, latest: map[string]tlog.Tree{}}
	keyed := append([]byte{4}, public...) // 4: timestamped Ed25519 cosignatures
	sum := sha256.Sum256(append([]byte(w.name+"\n"), keyed...))
	copy(w.hash[:], sum[:])
	for _, l := range logs {
		v, err := note.NewVerifier(l)
		if err != nil {
			t.Fatal(err)
		}
		w.logs[v.Name()] = v
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.addCheckpoint)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL, fmt.Sprintf("%s+%x+%s", w.name, w.hash, base64.StdEncoding.EncodeToString(keyed))
}

func (w *testWitness) addCheckpoint(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	code, answer := w.judge(string(body))
	if size, ok := answer.(int64); ok {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		answer = fmt.Sprintf("%d\n", size)
	}
	rw.WriteHeader(code)
	fmt.Fprint(rw, answer)
}

// judge follows the specification's add-checkpoint, step by step.
func (w *testWitness) judge(body string) (int, any) {
	head, checkpoint, ok := strings.Cut(body, "\n\n")
	lines := strings.Split(head, "\n")
	first, hasOld := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseInt(first, 10, 64)
	if !ok || !hasOld || err != nil || strconv.FormatInt(old, 10) != first || len(lines) > 64 {
		return http.StatusBadRequest, "no old size"
	}
	var proof tlog.TreeProof
	for _, l := range lines[1:] {
		h, err := tlog.ParseHash(l)
		if err != nil {
			return http.StatusBadRequest, "no hash"
		}
		proof = append(proof, h)
	}
	origin, _, _ := strings.Cut(checkpoint, "\n")
	verifier, known := w.logs[origin]
	if !known {
		return http.StatusNotFound, "unknown log"
	}
	n, err := note.Open([]byte(checkpoint), note.VerifierList(verifier))
	if err != nil {
		return http.StatusForbidden, "not signed by the log"
	}
	var tree tlog.Tree
	text := strings.Split(n.Text, "\n")
	if tree.N, err = strconv.ParseInt(text[1], 10, 64); err != nil {
		return http.StatusBadRequest, "no size"
	}
	if tree.Hash, err = tlog.ParseHash(text[2]); err != nil {
		return http.StatusBadRequest, "no root"
	}
	last := w.latest[origin]
	switch {
	case old > tree.N:
		return http.StatusBadRequest, "the old size is the larger one"
	case old != last.N:
		return http.StatusConflict, last.N
	case old == tree.N && last.Hash != tree.Hash:
		return http.StatusConflict, last.N
	case old == 0 && len(proof) > 0:
		return http.StatusUnprocessableEntity, "a proof from nothing"
	case old > 0 && old < tree.N && tlog.CheckTree(proof, tree.N, tree.Hash, old, last.Hash) != nil:
		return http.StatusUnprocessableEntity, "the proof does not verify"
	}
	w.latest[origin] = tree
	now := time.Now().Unix()
	sig := binary.BigEndian.AppendUint64(w.hash[:len(w.hash):len(w.hash)], uint64(now))
	sig = append(sig, ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", now, n.Text))...)
	return http.StatusOK, "\u2014 " + w.name + " " + base64.StdEncoding.EncodeToString(sig) + "\n"
}

func addTest(t *testing.T, l *Ledger, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.Append(t.Context(), &Receipt{Kind: Generation, Phase: Outcome, Environment: "prod", Generation: uint64(i + 1), Result: "applied"}); err != nil {
			t.Fatal(err)
		}
	}
}

// anchored appends n receipts and waits until the witness has cosigned all of them.
func anchored(t *testing.T, dir, url, key string, n int) {
	t.Helper()
	l := openTest(t, dir)
	w, err := NewC2SPWitness(C2SPWitness{HTTPSNotary: HTTPSNotary{ID: "w1", URL: url}, Key: key, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	a, err := StartAnchors(t.Context(), l, w)
	if err != nil {
		t.Fatal(err)
	}
	addTest(t, l, n)
	want := l.Size()
	for end := time.Now().Add(time.Minute); a.State()[0].Confirmed < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the witness did not cosign %d receipts: %+v", want, a.State())
		}
	}
	a.Close()
	closeTest(t, l)
}

func verifyWith(t *testing.T, dir string, keys ...string) Report {
	t.Helper()
	var checks []Check
	for _, k := range keys {
		c, err := WitnessCheck(k)
		if err != nil {
			t.Fatal(err)
		}
		checks = append(checks, c)
	}
	rep, err := Verify(t.Context(), dir, "", checks...)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func publicKey(t *testing.T, dir string) string {
	t.Helper()
	closeTest(t, openTest(t, dir)) // makes the key
	pub, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(pub))
}

// A witness cosigns a log that grows, over restarts of ours that forget how far it is, and its cosignatures verify offline.
func TestWitnessCosignsAGrowingLog(t *testing.T) {
	dir := t.TempDir()
	url, key := startWitness(t, publicKey(t, dir))
	anchored(t, dir, url, key, 5)
	anchored(t, dir, url, key, 300) // past a tile, from a size that the witness had to tell us
	rep := verifyWith(t, dir, key)
	if !rep.OK() || len(rep.Checked) != 1 || rep.Checked[0].Name != "witness.example/w1" || rep.Checked[0].Proofs < 2 || rep.Checked[0].Size < 305 {
		t.Fatalf("report %+v", rep)
	}
	_, other := startWitness(t)
	if rep := verifyWith(t, dir, other); rep.OK() || rep.Findings[0].Problem != ProblemAnchor {
		t.Errorf("another witness of that name: %+v", rep)
	}
}

// A ledger that was put back to an older copy, and one that was written anew with the same key, get no cosignature.
func TestWitnessSeesWhatWasTakenBack(t *testing.T) {
	base := t.TempDir()
	dir, copied := filepath.Join(base, "ledger"), filepath.Join(base, "copy")
	url, key := startWitness(t, publicKey(t, dir))
	anchored(t, dir, url, key, 3)
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	anchored(t, dir, url, key, 9)

	refused := func(dir string, n int) error {
		t.Helper()
		l := openTest(t, dir)
		defer closeTest(t, l)
		addTest(t, l, n)
		w, err := NewC2SPWitness(C2SPWitness{HTTPSNotary: HTTPSNotary{ID: "w1", URL: url}, Key: key, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		cp := newestTest(t, l, dir)
		_, _, err = w.Confirm(t.Context(), "", cp)
		return err
	}
	if err := refused(copied, 1); !errors.Is(err, ErrAhead) {
		t.Errorf("an older copy: %v, want ErrAhead", err)
	}
	for _, gone := range []string{"journal", "log", "anchors"} {
		if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
			t.Fatal(err)
		}
	}
	if err := refused(dir, 100); !errors.Is(err, ErrOtherHistory) {
		t.Errorf("another history: %v, want ErrOtherHistory", err)
	}
}

// newest waits until the log's checkpoint covers all receipts.
func newestTest(t *testing.T, l *Ledger, dir string) Checkpoint {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		cp, err := newestCheckpoint(dir)
		if err == nil && cp.Size == l.Size() {
			return cp
		}
		if time.Now().After(end) {
			t.Fatalf("checkpoint %+v, %v", cp, err)
		}
	}
}

// A witness that does not know the log, or has another key than the one that was given, confirms nothing.
func TestWitnessMustKnowTheLogAndBeTheOneThatWasNamed(t *testing.T) {
	dir := t.TempDir()
	pub := publicKey(t, dir)
	stranger, strangerKey := startWitness(t)
	url, _ := startWitness(t, pub)
	l := openTest(t, dir)
	addTest(t, l, 2)
	cp := newestTest(t, l, dir)
	for name, c := range map[string]struct{ url, key, want string }{
		"unknown log": {stranger, strangerKey, "404"},
		"another key": {url, strangerKey, "no signature of"},
	} {
		w, err := NewC2SPWitness(C2SPWitness{HTTPSNotary: HTTPSNotary{ID: "w1", URL: c.url}, Key: c.key, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Confirm(t.Context(), "", cp); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	closeTest(t, l)
}
