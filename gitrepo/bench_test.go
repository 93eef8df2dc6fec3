package gitrepo_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// longHistory fills the origin with n commits that each change one line of a
// spec of the given size and its bundle, with other files beside them.
func longHistory(t testing.TB, n, size int) *flagtest.GitRepo {
	t.Helper()
	r := flagtest.Repo(t)
	lines := make([]string, size/20)
	for i := range lines {
		lines[i] = fmt.Sprintf("%019d", i)
	}
	var in bytes.Buffer
	file := func(path, content string) {
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", path, len(content), content)
	}
	for i := range n {
		lines[i*7919%len(lines)] = fmt.Sprintf("%09d-%09d", i, i*i)
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Ada Author <ada@example.org> %d +0000\ndata 7\ncommit\n\n", 1_700_000_000+i)
		if i == 0 {
			for j := range 20 {
				file(fmt.Sprintf("docs/%d.md", j), "text\n")
			}
		}
		file(spec, strings.Join(lines, "\n")+"\n")
		file(spec+".sigstore.json", fmt.Sprintf(`{"signature":"%0400d"}`, i))
	}
	cmd := exec.Command("git", "fast-import", "--quiet")
	cmd.Dir, cmd.Env, cmd.Stdin = r.Origin, r.Env(), &in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git fast-import: %v\n%s", err, out)
	}
	r.Git("pull", "-q", "origin", "main")
	return r
}

func BenchmarkRemoteHead(b *testing.B) {
	r := flagtest.Repo(b)
	r.CommitFile(spec, "1\n", "one")
	r.Push()
	repo := follow(b, r, b.TempDir())
	fetch(b, repo)
	for b.Loop() {
		if _, err := repo.RemoteHead(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetchNothing(b *testing.B) {
	r := flagtest.Repo(b)
	r.CommitFile(spec, "1\n", "one")
	r.Push()
	repo := follow(b, r, b.TempDir())
	fetch(b, repo)
	for b.Loop() {
		fetch(b, repo)
	}
}

func BenchmarkFetchOneCommit(b *testing.B) {
	for _, size := range []int{20_000, 200_000, 5_000_000} {
		b.Run(fmt.Sprintf("%dKB", size/1000), func(b *testing.B) {
			r := longHistory(b, 3, size)
			repo := follow(b, r, b.TempDir())
			fetch(b, repo)
			text := r.Read(spec)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				r.CommitFile(spec, fmt.Sprintf("%09d", i)+text[9:], "change")
				want := r.Push()
				b.StartTimer()
				if got := fetch(b, repo); got != want {
					b.Fatalf("head is %s, want %s", got, want)
				}
			}
		})
	}
}

// BenchmarkWalk is a cold start on 10,000 commits that each touch a spec of
// 20 KB: the walk alone, and the walk with every spec and bundle read.
func BenchmarkWalk(b *testing.B) {
	const n = 10_000
	r := longHistory(b, n, 20_000)
	dir := b.TempDir()
	repo := follow(b, r, dir)
	head := fetch(b, repo)
	start := time.Now()
	if _, err := repo.Walk(b.Context(), "", head, specPaths); err != nil { // clones it whole
		b.Fatal(err)
	}
	b.Logf("whole clone and walk: %v", time.Since(start))
	for _, read := range []bool{false, true} {
		b.Run(map[bool]string{false: "walk", true: "walk+read"}[read], func(b *testing.B) {
			for b.Loop() {
				commits, err := repo.Walk(b.Context(), "", head, specPaths)
				if err != nil || len(commits) != n {
					b.Fatalf("%d commits, %v", len(commits), err)
				}
				if read {
					for _, c := range commits {
						readSpec(b, repo, c)
					}
				}
			}
		})
	}
}

func readSpec(b *testing.B, repo *gitrepo.Repo, c gitrepo.Commit) {
	if _, err := repo.ReadFile(b.Context(), c.Hash, spec, 1<<20); err != nil {
		b.Fatal(err)
	}
	if files, err := repo.ReadGlob(b.Context(), c.Hash, spec+".*sigstore.json", 1<<20); err != nil || len(files) != 1 {
		b.Fatal(files, err)
	}
}
