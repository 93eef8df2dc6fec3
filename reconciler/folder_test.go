package reconciler

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func testGeneration(n uint64) Generation {
	return Generation{
		Format: generationFormat, Number: n, Kind: KindAccept, Commit: fmt.Sprintf("%040d", n),
		Version: fmt.Sprintf("v+ramp.%d", n), Digest: fmt.Sprintf("sha256:%064d", n),
		At: time.Date(2026, 11, 22, 4, 0, int(n), 0, time.UTC), Raised: []string{"receipts:acme"},
	}
}

func mustOpen(t *testing.T, dir string) (*folder, []Generation, cursor) {
	t.Helper()
	f, all, cur, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f, all, cur
}

func TestFolderKeepsGenerations(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	f, all, _ := mustOpen(t, dir)
	if len(all) != 0 {
		t.Fatalf("a new folder has %d generations", len(all))
	}
	if err := f.append(testGeneration(1), testGeneration(2)); err != nil {
		t.Fatal(err)
	}
	if err := f.saveCursor(cursor{Checked: "abc", Generation: 2}); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := openFolder(dir); !errors.Is(err, ErrStateInUse) {
		t.Errorf("a second holder got %v, want ErrStateInUse", err)
	}
	f.close()
	_, all, cur := mustOpen(t, dir)
	if len(all) != 2 || all[1].Version != "v+ramp.2" || cur.Checked != "abc" {
		t.Errorf("read back %d generations and cursor %+v", len(all), cur)
	}
}

// Whatever byte a crash cuts the log at, the whole lines before it stand, and the next
// append follows them.
func TestFolderCutsATornLine(t *testing.T) {
	dir := t.TempDir()
	f, _, _ := mustOpen(t, dir)
	if err := f.append(testGeneration(1), testGeneration(2)); err != nil {
		t.Fatal(err)
	}
	f.close()
	path := filepath.Join(dir, logName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[int]int{} // bytes -> whole lines
	for n, i := 0, 0; i <= len(whole); i++ {
		if i > 0 && whole[i-1] == '\n' {
			n++
		}
		lines[i] = n
	}
	for size := 0; size <= len(whole); size += 7 {
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		f, all, _, err := openFolder(dir)
		if err != nil {
			t.Fatalf("cut at %d: %v", size, err)
		}
		if len(all) != lines[size] {
			t.Errorf("cut at %d: %d generations, want %d", size, len(all), lines[size])
		}
		if err := f.append(testGeneration(9)); err != nil {
			t.Fatal(err)
		}
		f.close()
		f, again, _, err := openFolder(dir)
		if err != nil {
			t.Fatalf("cut at %d, then appended: %v", size, err)
		}
		f.close()
		if len(again) != len(all)+1 || again[len(again)-1].Number != 9 {
			t.Errorf("cut at %d, then appended: %d generations", size, len(again))
		}
	}
}

func TestFolderRefusesDamage(t *testing.T) {
	for name, content := range map[string]string{
		"not JSON":         "nonsense\n",
		"a newer format":   `{"format":"generation/v2","generation":1}` + "\n",
		"numbers that run": `{"format":"generation/v1","generation":2}` + "\n" + `{"format":"generation/v1","generation":2}` + "\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, logName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := openFolder(dir); !errors.Is(err, ErrStateDamaged) {
			t.Errorf("%s: %v, want ErrStateDamaged", name, err)
		}
	}
}

// A write that fails leaves the log as it was, and the next one follows it.
func TestFolderFailedAppendLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	f, _, _ := mustOpen(t, dir)
	if err := f.append(testGeneration(1)); err != nil {
		t.Fatal(err)
	}
	good := f.log
	ro, err := os.Open(filepath.Join(dir, logName)) // a file that cannot be written stands for a full disk
	if err != nil {
		t.Fatal(err)
	}
	f.log = ro
	if err := f.append(testGeneration(2)); err == nil {
		t.Fatal("an append that cannot be written was acknowledged")
	}
	ro.Close()
	if _, err := good.WriteAt([]byte(`{"half a li`), f.size); err != nil {
		t.Fatal(err)
	}
	f.log = good
	if err := f.append(testGeneration(3)); err != nil {
		t.Fatal(err)
	}
	f.close()
	_, all, _ := mustOpen(t, dir)
	if len(all) != 2 || all[1].Number != 3 {
		t.Errorf("got %+v", all)
	}
}

func TestFolderForgetsADamagedCursor(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, cursorName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, cur := mustOpen(t, dir); cur.Checked != "" {
		t.Errorf("cursor = %+v", cur)
	}
}
