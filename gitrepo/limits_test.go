package gitrepo_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

func TestLimitsOfAFetch(t *testing.T) {
	r := flagtest.Repo(t)
	one := r.CommitFile(spec, "1\n", "one")
	r.Push()
	opt := gitrepo.Options{URL: r.URL(), Branch: "main", Dir: t.TempDir(), MaxObject: 1 << 20, MaxPack: 200_000}
	repo := open(t, opt)
	fetch(t, repo)
	refused := func(what string) {
		t.Helper()
		_, err := repo.Fetch(t.Context())
		wantErr(t, err, gitrepo.ErrTooLarge)
		if _, head := repo.Head(); head != one {
			t.Errorf("%s: head moved to %s", what, head)
		}
		r.Git("reset", "-q", "--hard", one)
		r.ForcePush()
	}
	r.CommitFile("bomb", strings.Repeat("\x00", 2<<20), "inflates to 2 MiB")
	r.Push()
	refused("a bomb")
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	r.CommitFile("noise", string(noise), "does not compress")
	r.Push()
	refused("a large pack")

	// A delta bomb: a small base that the next version repeats.
	base := string(noise[:60_000])
	r.CommitFile("delta", base, "base")
	r.Push()
	fetch(t, repo)
	one = r.CommitFile("README", "r\n", "still small")
	r.Push()
	fetch(t, repo)
	r.CommitFile("delta", strings.Repeat(base, 30), "30 times")
	r.Push()
	r.GitOrigin("repack", "-adfq", "--depth=50")
	refused("a delta")
	clean(t, opt.Dir)
}

func TestMemoryIsFlatOverManyPasses(t *testing.T) {
	const warm, passes = 40, 80
	p := newPasser(t, warm+passes)
	p.run(warm)
	before, goroutines := heap(), runtime.NumGoroutine()
	p.run(passes)
	after := heap()
	if after > before+16<<20 {
		t.Errorf("the heap grew from %d KiB to %d KiB in %d passes", before>>10, after>>10, passes)
	}
	if n := runtime.NumGoroutine(); n > goroutines+10 {
		t.Errorf("%d goroutines, there were %d", n, goroutines)
	}
}

// passer moves an origin on by one commit at a time and follows it, over HTTP.
type passer struct {
	t       testing.TB
	origin  *flagtest.GitRepo
	repo    *gitrepo.Repo
	commits []string
	done    int
}

func newPasser(t testing.TB, passes int) *passer {
	p := &passer{t: t, origin: longHistory(t, passes, 20_000)}
	p.commits = strings.Fields(p.origin.GitOrigin("rev-list", "--reverse", "main"))
	srv := gitHTTP(t, p.origin, secret)
	p.repo = open(t, gitrepo.Options{URL: srv.URL + "/origin.git", Branch: "main", Dir: t.TempDir(), Auth: gitrepo.Auth{Token: secret}})
	return p
}

func (p *passer) run(n int) {
	p.t.Helper()
	for ; n > 0; n-- {
		want := p.commits[p.done]
		if err := os.WriteFile(filepath.Join(p.origin.Origin, "refs", "heads", "main"), []byte(want+"\n"), 0o600); err != nil {
			p.t.Fatal(err)
		}
		if got := fetch(p.t, p.repo); got != want {
			p.t.Fatalf("head is %s, want %s", got, want)
		}
		if p.done > 0 {
			wantSlice(p.t, "new", hashes(walk(p.t, p.repo, p.commits[p.done-1], want)), p.commits[p.done:p.done+1])
		}
		if _, err := p.repo.ReadFile(p.t.Context(), want, spec, 1<<20); err != nil {
			p.t.Fatal(err)
		}
		if _, err := p.repo.Tidy(p.t.Context(), want); err != nil {
			p.t.Fatal(err)
		}
		p.done++
	}
}

// heap is what is in use once garbage is collected, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// BenchmarkPasses is 1,000 passes with a new commit each, and reports how much
// larger the heap is after the last 900 of them.
func BenchmarkPasses(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		p := newPasser(b, 1000)
		b.StartTimer()
		p.run(100)
		before := heap()
		p.run(900)
		b.ReportMetric((float64(heap())-float64(before))/1024, "KiB-grown")
	}
}

// Readers go on while the clone under them is fetched into, deepened, tidied
// and pushed from.
func TestReadersBesideAWriter(t *testing.T) {
	r := flagtest.Repo(t)
	first := r.CommitFile(spec, "0\n", "zero")
	r.Push()
	repo := open(t, gitrepo.Options{URL: r.URL(), Branch: "main", Dir: t.TempDir(), MaxPacks: 2})
	fetch(t, repo)
	var readers sync.WaitGroup
	read := func() {
		for range 5 {
			_, head := repo.Head()
			if b, err := repo.ReadFile(t.Context(), head, spec, 100); err != nil || len(b) == 0 {
				t.Errorf("reading beside a writer: %q, %v", b, err)
				return
			}
			if ok, err := repo.IsAncestor(t.Context(), head, head); !ok || err != nil {
				t.Errorf("ancestry beside a writer: %v", err)
				return
			}
		}
	}
	base := first
	for i := range 8 {
		head := r.CommitFile(spec, strings.Repeat("x", i+1), "more")
		r.Push()
		for range 4 {
			readers.Go(read)
		}
		fetch(t, repo)
		if got := walk(t, repo, base, head); len(got) != 1 {
			t.Fatalf("%d commits", len(got))
		}
		if i == 4 {
			walk(t, repo, "", head)
		}
		if _, err := repo.Tidy(t.Context(), head); err != nil {
			t.Fatal(err)
		}
		commitAndPush(t, repo, head, "side-"+head[:8])
		base = head
	}
	readers.Wait()
}
