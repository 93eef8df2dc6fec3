package gitrepo_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// In a child process the test binary works on a state folder without end, for
// its parent to kill.
func TestMain(m *testing.M) {
	if url := os.Getenv("GITREPO_TEST_CHILD"); url != "" {
		if err := child(url, os.Getenv("GITREPO_TEST_DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func child(url, dir string) error {
	ctx := context.Background()
	for {
		repo, err := gitrepo.Open(ctx, gitrepo.Options{URL: url, Branch: "main", Dir: dir, MaxPacks: 1})
		if err != nil {
			return err
		}
		for range 5 {
			head, err := repo.Fetch(ctx)
			if err != nil {
				return err
			}
			if _, err := repo.ReadFile(ctx, head, spec, 1<<20); err != nil {
				return err
			}
			if _, err := repo.Walk(ctx, "", head, specPaths); err != nil {
				return err
			}
			if _, err := repo.Tidy(ctx, head); err != nil {
				return err
			}
			fmt.Println("pass")
		}
		if err := repo.Close(); err != nil {
			return err
		}
		// Every other round begins from nothing.
		if rand.IntN(2) == 0 {
			_ = os.Remove(filepath.Join(dir, "current"))
		}
	}
}

func TestKillAtAnyMoment(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile(spec, strings.Repeat("x", 100_000)+"\n", "start")
	r.Push()
	dir := filepath.Join(t.TempDir(), "state")
	for i := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(r.Env(), "GITREPO_TEST_CHILD="+r.URL(), "GITREPO_TEST_DIR="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		passes := bufio.NewScanner(stdout)
		for range i % 4 {
			passes.Scan()
		}
		r.CommitFile(spec, fmt.Sprintf("%d\n", i), "while it runs")
		want := r.Push()
		// The moment itself is left to chance: that is what is tried here.
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
			t.Fatalf("the child ended by itself: %v\n%s", err, stderr.String())
		}
		repo := open(t, gitrepo.Options{URL: r.URL(), Branch: "main", Dir: dir})
		if got := fetch(t, repo); got != want {
			t.Fatalf("head is %s, want %s", got, want)
		}
		if got := walk(t, repo, "", want); len(got) != i+2 {
			t.Fatalf("%d commits, want %d", len(got), i+2)
		}
		if err := repo.Close(); err != nil {
			t.Fatal(err)
		}
		clean(t, dir)
	}
}

// clean checks that a state folder holds one sound clone and nothing else.
func clean(t *testing.T, dir string) {
	t.Helper()
	var clones []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, "clone-"):
			clones = append(clones, filepath.Join(dir, name))
		case name != "lock" && name != "current":
			t.Errorf("%s is left in the state folder", name)
		}
	}
	if len(clones) != 1 {
		t.Fatalf("clones: %q", clones)
	}
	out, err := exec.Command("git", "-C", clones[0], "fsck", "--strict").CombinedOutput()
	if err != nil {
		t.Errorf("git fsck: %v\n%s", err, out)
	}
	for _, left := range []string{"incoming-*", "objects/pack/tmp_*", ".tmp-*"} {
		if names, _ := filepath.Glob(filepath.Join(clones[0], left)); len(names) > 0 {
			t.Errorf("left over: %q", names)
		}
	}
}

// currentClone is the folder of the clone in force.
func currentClone(t *testing.T, dir string) string {
	t.Helper()
	var cur struct{ Clone string }
	b, err := os.ReadFile(filepath.Join(dir, "current"))
	if err == nil {
		err = json.Unmarshal(b, &cur)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, cur.Clone)
}

func TestADamagedCloneIsMadeAnew(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile(spec, "1\n", "one")
	two := r.CommitFile(spec, "2\n", "two")
	r.Push()
	overwrite := func(pattern string, content []byte) func(*testing.T, string) {
		return func(t *testing.T, clone string) {
			names, err := filepath.Glob(filepath.Join(clone, pattern))
			if err != nil || len(names) == 0 {
				t.Fatalf("%s: %q, %v", pattern, names, err)
			}
			for _, name := range names {
				_ = os.Chmod(name, 0o600)
				if err := os.WriteFile(name, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, damage := range map[string]func(*testing.T, string){
		"ref emptied":     overwrite("refs/heads/main", nil),
		"ref nonsense":    overwrite("refs/heads/main", []byte("nonsense\n")),
		"ref elsewhere":   overwrite("refs/heads/main", []byte(strings.Repeat("ab", 20)+"\n")),
		"index emptied":   overwrite("objects/pack/*.idx", nil),
		"index cut":       overwrite("objects/pack/*.idx", []byte("\xfftOc\x00\x00\x00\x02")),
		"pack emptied":    overwrite("objects/pack/*.pack", nil),
		"pack nonsense":   overwrite("objects/pack/*.pack", bytes.Repeat([]byte("nonsense"), 1000)),
		"current emptied": overwrite("../current", nil),
		"current escapes": overwrite("../current", []byte(`{"format":"rampart-clone/v1","clone":"../..","address":"`+r.URL()+`","asked":"main","branch":"main"}`)),
		"clone removed":   func(t *testing.T, clone string) { _ = os.RemoveAll(clone) },
		"pack removed": func(t *testing.T, clone string) {
			_ = os.RemoveAll(filepath.Join(clone, "objects", "pack"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			repo := follow(t, r, dir)
			fetch(t, repo)
			if err := repo.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, currentClone(t, dir))
			repo = follow(t, r, dir)
			if got := fetch(t, repo); got != two {
				t.Errorf("head is %s, want %s", got, two)
			}
			if b, err := repo.ReadFile(t.Context(), two, spec, 9); err != nil || string(b) != "2\n" {
				t.Errorf("ReadFile = %q, %v", b, err)
			}
			if err := repo.Close(); err != nil {
				t.Fatal(err)
			}
			clean(t, dir)
		})
	}
}

func TestDamageFoundWhileRunningIsMendedByTheNextFetch(t *testing.T) {
	r := flagtest.Repo(t)
	one := r.CommitFile(spec, "1\n", "one")
	r.Push()
	dir := t.TempDir()
	repo := follow(t, r, dir)
	fetch(t, repo)
	two := r.CommitFile(spec, "2\n", "two")
	r.Push()
	fetch(t, repo)
	packs, _ := filepath.Glob(filepath.Join(currentClone(t, dir), "objects", "pack", "*.pack"))
	for _, p := range packs {
		_ = os.Chmod(p, 0o600)
		if err := os.Truncate(p, 20); err != nil {
			t.Fatal(err)
		}
	}
	_, err := repo.ReadFile(t.Context(), two, spec, 9)
	wantErr(t, err, gitrepo.ErrDamaged)
	if got := fetch(t, repo); got != two {
		t.Fatalf("head is %s", got)
	}
	wantSlice(t, "since one", hashes(walk(t, repo, one, two)), []string{two})
}

func TestTheStateFolderIsForOneAddressBranchAndProcess(t *testing.T) {
	a, b := flagtest.Repo(t), flagtest.Repo(t)
	a.CommitFile(spec, "a\n", "a")
	a.Git("push", "-q", "origin", "HEAD:refs/heads/other")
	a.CommitFile(spec, "aa\n", "aa")
	a.Push()
	b.CommitFile(spec, "b\n", "b")
	b.Push()
	dir := t.TempDir()
	repo := follow(t, a, dir)
	fetch(t, repo)
	_, err := gitrepo.Open(t.Context(), gitrepo.Options{URL: a.URL(), Branch: "main", Dir: dir})
	wantErr(t, err, gitrepo.ErrLocked)
	for _, opt := range []gitrepo.Options{
		{URL: b.URL(), Branch: "main"}, {URL: a.URL(), Branch: "other"}, {URL: a.URL(), Branch: "main"},
	} {
		if err := repo.Close(); err != nil {
			t.Fatal(err)
		}
		opt.Dir = dir
		repo = open(t, opt)
		if _, head := repo.Head(); head != "" {
			t.Errorf("%s %s begins with %s", opt.URL, opt.Branch, head)
		}
		head := fetch(t, repo)
		want := a.GitOrigin("rev-parse", opt.Branch)
		if opt.URL == b.URL() {
			want = b.Head()
		}
		if head != want {
			t.Errorf("head is %s, want %s", head, want)
		}
	}
	if err := repo.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, gitrepo.Options{URL: a.URL(), Branch: "main", Dir: dir})
	if _, head := again.Head(); head != a.Head() {
		t.Errorf("the same one begins with %q", head)
	}
}

func TestTidyKeepsTheFolderSmall(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile(spec, "0\n", "zero")
	r.Push()
	dir := t.TempDir()
	repo := open(t, gitrepo.Options{URL: r.URL(), Branch: "main", Dir: dir, MaxPacks: 5})
	accepted := fetch(t, repo)
	files := func() int {
		n := 0
		_ = filepath.WalkDir(dir, func(string, os.DirEntry, error) error { n++; return nil })
		return n
	}
	most, tidied := 0, 0
	for i := range 14 {
		r.CommitFile(spec, fmt.Sprintf("%d\n", i+1), "more")
		r.Push()
		head := fetch(t, repo)
		done, err := repo.Tidy(t.Context(), accepted)
		if err != nil {
			t.Fatal(err)
		}
		if done {
			tidied++
		}
		// The last accepted commit trails behind, as under a quarantined head.
		if i == 9 {
			accepted = head
		}
		if got := walk(t, repo, accepted, head); i < 9 && len(got) != i+1 {
			t.Fatalf("%d commits since the accepted one, want %d", len(got), i+1)
		}
		most = max(most, files())
	}
	if tidied < 2 || most > 60 {
		t.Errorf("tidied %d times, at most %d files", tidied, most)
	}
	clean(t, dir)
}

// A clone is tidied also while what was accepted is not in the branch's history
// any more; and a remote that cannot serve a clone is not asked at each pass.
func TestTidyInTrouble(t *testing.T) {
	r := flagtest.Repo(t)
	accepted := r.CommitFile(spec, "0\n", "zero")
	r.Push()
	dir := t.TempDir()
	opt := gitrepo.Options{URL: r.URL(), Branch: "main", Dir: dir, MaxPacks: 1}
	repo := open(t, opt)
	fetch(t, repo)
	if done, err := repo.Tidy(t.Context(), ""); done || err != nil {
		t.Errorf("nothing to tidy: %v, %v", done, err)
	}
	r.Git("commit", "-q", "--amend", "-m", "other")
	r.ForcePush()
	head := fetch(t, repo)
	for _, keep := range []string{accepted, ""} {
		if done, err := repo.Tidy(t.Context(), keep); !done || err != nil {
			t.Errorf("keeping %q: %v, %v", keep, done, err)
		}
		all := hashes(walk(t, repo, "", head))
		wantSlice(t, "the newest", all[len(all)-1:], []string{head})
		head = r.CommitFile(spec, keep+"more\n", "more")
		r.Push()
		fetch(t, repo)
	}
	elsewhere := r.Origin + "-moved"
	if err := os.Rename(r.Origin, elsewhere); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Tidy(t.Context(), head); err == nil {
		t.Error("a clone of nothing")
	}
	if done, err := repo.Tidy(t.Context(), head); done || err != nil {
		t.Errorf("tried again at once: %v, %v", done, err)
	}
	if err := os.Rename(elsewhere, r.Origin); err != nil {
		t.Fatal(err)
	}
	wantSlice(t, "it goes on", hashes(walk(t, repo, "", head))[1:], strings.Fields(r.Git("rev-list", "--reverse", "HEAD~2..HEAD")))
	clean(t, dir)
}
