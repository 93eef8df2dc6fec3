package gitrepo_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

func TestReadFileRefusesWhatIsNoFile(t *testing.T) {
	r := flagtest.Repo(t)
	r.Write("target", "secret\n")
	r.Write("specs/real", "real\n")
	r.Write("exec", "#!\n")
	r.Git("add", "-A")
	r.Git("update-index", "--chmod=+x", "exec")
	blob := r.Git("rev-parse", ":target")
	link := func(path string) { r.Git("update-index", "--add", "--cacheinfo", "120000,"+blob+","+path) }
	link("link")
	r.Git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("ab", 20)+",module")
	r.Git("commit", "-q", "-m", "all kinds")
	head := r.Git("push", "-q", "origin", "HEAD:main") + r.Head()
	repo := follow(t, r, "")
	fetch(t, repo)
	local := checkout(t, r)
	type reader func(path string, max int64) ([]byte, error)
	for name, read := range map[string]reader{
		"bare":  func(p string, max int64) ([]byte, error) { return repo.ReadFile(t.Context(), head, p, max) },
		"local": func(p string, max int64) ([]byte, error) { return local.ReadFile(t.Context(), head, p, max) },
	} {
		t.Run(name, func(t *testing.T) {
			for path, want := range map[string]error{
				"target": nil, "specs/real": nil, "exec": nil,
				"link": gitrepo.ErrNotRegular, "module": gitrepo.ErrNotRegular, "specs": gitrepo.ErrNotRegular,
				"none": gitrepo.ErrNotExist, "specs/none": gitrepo.ErrNotExist, "no/ne": fs.ErrNotExist,
			} {
				b, err := read(path, 100)
				wantErr(t, err, want)
				if want == nil && len(b) == 0 || want != nil && b != nil {
					t.Errorf("%s: read %q", path, b)
				}
			}
			_, err := read("target", 6)
			wantErr(t, err, gitrepo.ErrTooLarge)
			if b, err := read("target", 7); err != nil || string(b) != "secret\n" {
				t.Errorf("at the limit: %q, %v", b, err)
			}
			for _, path := range []string{"../target", "/target", "specs/../target", "link/x", "target/x", ""} {
				if b, err := read(path, 100); err == nil {
					t.Errorf("%q reads as %q", path, b)
				}
			}
		})
	}
}

func TestReadGlob(t *testing.T) {
	r := flagtest.Repo(t)
	r.Write(spec, "spec\n")
	for _, s := range []string{"", ".bob", ".alice"} {
		r.Write(spec+s+".sigstore.json", s+"\n")
	}
	r.Write(spec+".big.sigstore.json", strings.Repeat("x", 101))
	r.Write(spec+".dir.sigstore.json/file", "x")
	r.Git("add", "-A")
	r.Git("update-index", "--add", "--cacheinfo", "120000,"+r.Git("rev-parse", ":"+spec)+","+spec+".evil.sigstore.json")
	r.Git("commit", "-q", "-m", "bundles")
	head := r.Push()
	repo := follow(t, r, "")
	fetch(t, repo)
	files, err := repo.ReadGlob(t.Context(), head, spec+".*sigstore.json", 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, fmt.Sprintf("%s %q", strings.TrimPrefix(f.Path, spec), f.Data))
		switch {
		case strings.Contains(f.Path, "evil"):
			wantErr(t, f.Err, gitrepo.ErrNotRegular)
		case strings.Contains(f.Path, "big"):
			wantErr(t, f.Err, gitrepo.ErrTooLarge)
		default:
			wantErr(t, f.Err, nil)
		}
	}
	wantSlice(t, "files", got, []string{`.alice.sigstore.json ".alice\n"`, `.big.sigstore.json ""`,
		`.bob.sigstore.json ".bob\n"`, `.evil.sigstore.json ""`, `.sigstore.json "\n"`})
	for _, none := range []string{"no/where/*.json", "specs/*.txt", spec + "/*"} {
		if files, err := repo.ReadGlob(t.Context(), head, none, 100); err != nil || len(files) != 0 {
			t.Errorf("%s: %v, %v", none, files, err)
		}
	}
	if _, err := repo.ReadGlob(t.Context(), head, "specs/[", 100); err == nil {
		t.Error("a broken pattern is taken")
	}
	for i := range 257 {
		r.Write(fmt.Sprintf("many/%d.sigstore.json", i), "x")
	}
	r.Commit("many")
	r.Push()
	_, err = repo.ReadGlob(t.Context(), fetch(t, repo), "many/*", 100)
	wantErr(t, err, gitrepo.ErrTooLarge)
}
