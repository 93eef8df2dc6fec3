package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// evil is the percentage that only unauthorized contents have: wherever it shows, an
// invariant is broken.
const evil = 77

var features = []string{"alpha", "beta", "gamma", "delta"}

// people commit and push, as the real ones do: each in a clone of their own, with real
// git and the real propose.
type people struct {
	w      *world
	mu     sync.Mutex // the branch is changed under it
	clones [2]string
	desk   string // a clone of the one on call, who lands nothing
	env    []string
	bases  int
	said   int
	hidden string // where the branch was before somebody hijacked it, "" now
}

func newPeople(w *world) (*people, error) {
	p := &people{w: w, env: cleanEnv(filepath.Join(w.dir, "home"))}
	if _, err := p.git(w.dir, "init", "-q", "--bare", "-b", "main", w.repo); err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(w.dir, "git", name) }
	p.clones, p.desk = [2]string{at("clone-0"), at("clone-1")}, at("desk")
	for _, dir := range []string{p.clones[0], p.clones[1], p.desk} {
		if _, err := p.git(w.dir, "init", "-q", "-b", "main", dir); err != nil {
			return nil, err
		}
		if _, err := p.git(dir, "remote", "add", "origin", w.repo); err != nil {
			return nil, err
		}
	}
	return p, p.begin()
}

// begin makes the first commit: four features to change, and one for break-glass
// statements that no commit touches.
func (p *people) begin() error {
	var b strings.Builder
	b.WriteString("{\n  \"version\": \"flags-v1\",\n  \"environment\": \"" + environment + "\",\n  \"features\": {\n")
	for _, f := range features {
		fmt.Fprintf(&b, "    %q: {\n      \"pct\": 10,\n      \"cohorts\": [\"A\"],\n      \"tenants\": {\n        \"acme\": {\"pct\": 20},\n        \"globex\": {\"enabled\": false}\n      }\n    },\n", f)
	}
	b.WriteString("    \"brake\": {\n      \"pct\": 100,\n      \"tenants\": {\n        \"acme\": {\"pct\": 100}\n      }\n    }\n  }\n}\n")
	dir := p.clones[0]
	file := filepath.Join(dir, "specs", "flags.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("making the first commit: %w", err)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("making the first commit: %w", err)
	}
	if _, err := p.w.command(dir, "propose", "sign", "--key", p.w.keys["alice"].file); err != nil {
		return err
	}
	if _, err := p.git(dir, "add", "-A"); err != nil {
		return err
	}
	if _, err := p.git(dir, "commit", "-q", "-m", "The first flags"); err != nil {
		return err
	}
	return p.push(dir, "alice", false)
}

func (p *people) git(dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, p.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// push lands the clone's HEAD and tells the oracle who may be credited with it. Where
// nothing was committed, nothing happens.
func (p *people) push(dir, signedBy string, force bool) error {
	if at, err := p.git(dir, "rev-parse", "HEAD"); err != nil || at == p.w.oracle.headCommit() {
		return err
	}
	at, err := p.land(dir, signedBy)
	if err != nil {
		return err
	}
	args := []string{"push", "-q", "origin", "HEAD:main"}
	if force {
		args = append(args, "--force")
	}
	if _, err := p.git(dir, args...); err != nil {
		p.w.oracle.unland(at)
		return err
	}
	return nil
}

// land tells the oracle of a commit before it is pushed: a reconciler may be quicker
// than git's answer.
func (p *people) land(dir, signedBy string) (string, error) {
	commit, err := p.git(dir, "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	src, _ := p.show(dir, "HEAD") // a bad commit may have taken the file away
	p.w.oracle.land(commit, src, signedBy)
	p.w.trace.add("observe", "landed", map[string]any{"commit": commit, "digest": digestOf(src), "signed_by": signedBy})
	return commit, nil
}

// show is the spec's bytes at a commit.
func (p *people) show(dir, commit string) ([]byte, error) {
	cmd := exec.Command("git", "show", commit+":specs/flags.json")
	cmd.Dir, cmd.Env = dir, p.env
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git show %s: %w", commit, err)
	}
	return out, nil
}

// fresh makes a clone equal to the branch.
func (p *people) fresh(dir string) error {
	for _, args := range [][]string{{"fetch", "-q", "origin", "main"}, {"reset", "-q", "--hard", "FETCH_HEAD"}, {"clean", "-q", "-f", "-d"}} {
		if _, err := p.git(dir, args...); err != nil {
			return err
		}
	}
	return nil
}

// mend puts the newest authorized content back on top of one that is not: what a person
// does who finds a bad commit on the branch.
func (p *people) mend(dir string) error {
	if p.w.oracle.head().content.authorized {
		return nil
	}
	if _, err := p.git(dir, "checkout", "-q", p.w.oracle.newest().commit, "--", "specs"); err != nil {
		return err
	}
	if _, err := p.git(dir, "commit", "-q", "-m", "Put back what was live"); err != nil {
		return err
	}
	return p.push(dir, "", false)
}

// set changes a feature in a clone with propose, signs and commits it.
func (p *people) set(dir, key string, args ...string) error {
	args = append([]string{"set"}, args...)
	if key != "" {
		args = append(args, "--key", p.w.keys[key].file)
	}
	_, err := p.w.command(dir, "propose", append(args, "--commit")...)
	return err
}

// pct is what propose set is told for a good change: never evil.
func pct(n int) string { return strconv.Itoa(n % 60) }

// good lands a change that alice signed.
func (p *people) good(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hidden != "" {
		return nil
	}
	dir := p.clones[n%2]
	if err := p.ready(dir); err != nil {
		return err
	}
	args := []string{features[n%len(features)], "--pct", pct(n)}
	if n%3 == 0 {
		args = append(args, "--tenant", []string{"acme", "globex", fmt.Sprintf("t%d", n%5)}[n%3+n/3%3])
	}
	if err := p.set(dir, "alice", args...); err != nil {
		return err
	}
	return p.push(dir, "alice", false)
}

func (p *people) ready(dir string) error {
	if err := p.fresh(dir); err != nil {
		return err
	}
	return p.mend(dir)
}

func digestOf(src []byte) string {
	sum := sha256.Sum256(src)
	return "sha256:" + hex.EncodeToString(sum[:])
}
