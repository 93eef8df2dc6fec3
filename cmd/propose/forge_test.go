package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

const forgeToken = "forge-t0ken"

// fakeGitea is a forge as the proposer sees it: git's own http-backend over a real bare repository, and
// as much of Gitea's API as is used, which merges with real git. A request that it does not expect, or
// one to the API without the token, fails the test.
type fakeGitea struct {
	*httptest.Server
	t    *testing.T
	repo *flagtest.GitRepo

	mu       sync.Mutex
	pulls    []*fakePull
	labels   []string
	comments map[int][]string
	blocked  bool // merging is for others
}

type fakePull struct {
	number            int
	head, title, body string
	state             string
	merged            bool
	labels            []string
	edits             int
}

func startGitea(t *testing.T, repo *flagtest.GitRepo) *fakeGitea {
	repo.GitOrigin("config", "http.receivepack", "true")
	f := &fakeGitea{t: t, repo: repo, comments: map[int][]string{}}
	mux := http.NewServeMux()
	backend := &cgi.Handler{
		Path: filepath.Join(repo.Git("--exec-path"), "git-http-backend"), Root: "/acme", Stderr: io.Discard,
		Env: append(repo.Env(), "GIT_PROJECT_ROOT="+filepath.Dir(repo.Origin), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=bot"),
	}
	mux.Handle("/acme/origin.git/", backend)
	api := func(pattern string, h func(*http.Request, map[string]any) (int, any)) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /api/v1/repos/acme/origin"+path, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "token "+forgeToken {
				t.Errorf("%s %s comes with Authorization %q", r.Method, r.URL, got)
			}
			var body map[string]any
			if src, _ := io.ReadAll(r.Body); len(src) > 0 {
				if err := json.Unmarshal(src, &body); err != nil {
					t.Errorf("%s %s sends %q: %v", r.Method, r.URL, src, err)
				}
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			code, answer := h(r, body)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	mux.HandleFunc("GET /api/v1/version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":"1.26.4"}`) })
	api("GET ", func(*http.Request, map[string]any) (int, any) {
		return 200, map[string]any{"id": 1, "name": "origin", "allow_merge_commits": true}
	})
	api("GET /pulls", f.list)
	api("POST /pulls", f.create)
	api("GET /pulls/{n}", func(r *http.Request, _ map[string]any) (int, any) { return 200, f.json(f.pull(r)) })
	api("PATCH /pulls/{n}", f.edit)
	api("POST /pulls/{n}/merge", f.merge)
	api("GET /labels", func(*http.Request, map[string]any) (int, any) { return 200, f.labelList(f.labels) })
	api("POST /labels", func(_ *http.Request, body map[string]any) (int, any) {
		f.labels = append(f.labels, body["name"].(string))
		return 201, f.labelList(f.labels)[len(f.labels)-1]
	})
	api("POST /issues/{n}/labels", f.label)
	api("POST /issues/{n}/comments", func(r *http.Request, body map[string]any) (int, any) {
		p := f.pull(r)
		f.comments[p.number] = append(f.comments[p.number], body["body"].(string))
		return 201, map[string]any{"id": 1}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("unexpected request %s %s", r.Method, r.URL)
		http.NotFound(w, r)
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeGitea) pull(r *http.Request) *fakePull {
	for _, p := range f.pulls {
		if fmt.Sprint(p.number) == r.PathValue("n") {
			return p
		}
	}
	f.t.Errorf("no pull request %s", r.PathValue("n"))
	return &fakePull{}
}

// sha is where a branch is, "" when there is none.
func (f *fakeGitea) sha(branch string) string {
	return f.repo.GitOrigin("for-each-ref", "--format=%(objectname)", "refs/heads/"+branch)
}

func (f *fakeGitea) json(p *fakePull) map[string]any {
	return map[string]any{
		"id": p.number, "number": p.number, "title": p.title, "body": p.body, "state": p.state, "merged": p.merged,
		"html_url": fmt.Sprintf("%s/acme/origin/pulls/%d", f.URL, p.number), "labels": f.labelList(p.labels),
		"head": map[string]any{"ref": p.head, "sha": f.sha(p.head), "repo_id": 1},
		"base": map[string]any{"ref": "main", "sha": f.sha("main"), "repo_id": 1},
	}
}

func (f *fakeGitea) labelList(names []string) []map[string]any {
	out := []map[string]any{}
	for _, name := range names {
		out = append(out, map[string]any{"id": slices.Index(f.labels, name) + 1, "name": name})
	}
	return out
}

func (f *fakeGitea) list(r *http.Request, _ map[string]any) (int, any) {
	out := []map[string]any{}
	for _, p := range f.pulls {
		if p.state == "open" && (r.URL.Query().Get("page") == "1" || r.URL.Query().Get("page") == "") {
			out = append(out, f.json(p))
		}
	}
	return 200, out
}

func (f *fakeGitea) create(_ *http.Request, body map[string]any) (int, any) {
	p := &fakePull{number: len(f.pulls) + 1, head: body["head"].(string), title: body["title"].(string), body: body["body"].(string), state: "open"}
	if f.sha(p.head) == "" || body["base"] != "main" {
		f.t.Errorf("a pull request from %s into %v", p.head, body["base"])
	}
	f.pulls = append(f.pulls, p)
	return 201, f.json(p)
}

func (f *fakeGitea) edit(r *http.Request, body map[string]any) (int, any) {
	p := f.pull(r)
	p.edits++
	for name, dst := range map[string]*string{"title": &p.title, "body": &p.body, "state": &p.state} {
		if v, ok := body[name].(string); ok && v != "" {
			*dst = v
		}
	}
	return 201, f.json(p)
}

func (f *fakeGitea) label(r *http.Request, body map[string]any) (int, any) {
	p := f.pull(r)
	for _, id := range body["labels"].([]any) {
		p.labels = append(p.labels, f.labels[int(id.(float64))-1])
	}
	return 200, f.labelList(p.labels)
}

func (f *fakeGitea) merge(r *http.Request, body map[string]any) (int, any) {
	p := f.pull(r)
	if f.blocked {
		return 403, map[string]any{"message": "only maintainers may merge here"}
	}
	if body["head_commit_id"] != f.sha(p.head) {
		return 409, map[string]any{"message": "the head moved"}
	}
	f.mergeWithGit(p)
	return 200, map[string]any{}
}

// mergeWithGit makes the merge commit that the button makes.
func (f *fakeGitea) mergeWithGit(p *fakePull) {
	head, base := f.sha(p.head), f.sha("main")
	tree := f.repo.GitOrigin("merge-tree", "--write-tree", base, head)
	commit := f.repo.GitOrigin("commit-tree", "-p", base, "-p", head, "-m", fmt.Sprintf("Merge pull request '%s' (#%d)", p.title, p.number), tree)
	f.repo.GitOrigin("update-ref", "refs/heads/main", commit, base)
	p.state, p.merged = "closed", true
}

// address is the repository's, for people and for git.
func (f *fakeGitea) address() string { return f.URL + "/acme/origin.git" }

// open lists the open pull requests' numbers.
func (f *fakeGitea) open() (numbers []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.pulls {
		if p.state == "open" {
			numbers = append(numbers, p.number)
		}
	}
	return numbers
}
