package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rampart-flags/rampart/flags"
)

// race lets two people change the branch at the same time, each with a clone that is
// equal to it: one push wins, the other is refused by git, takes the new branch and
// makes its change again.
func (p *people) race(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hidden != "" {
		return nil
	}
	if err := p.ready(p.clones[0]); err != nil {
		return err
	}
	if err := p.fresh(p.clones[1]); err != nil {
		return err
	}
	change := func(i int) error {
		return p.set(p.clones[i], "alice", features[(n+i)%len(features)], "--pct", pct(n+7*i))
	}
	made := make(chan error, 1)
	go func() { made <- change(1) }()
	if err := errors.Join(change(0), <-made); err != nil {
		return err
	}
	first, before := n%2, p.w.oracle.headCommit()
	if err := p.push(p.clones[first], "alice", false); err != nil {
		return err
	}
	loser := p.clones[1-first]
	if p.w.oracle.headCommit() == before { // the first had nothing to change, so there is no race
		return p.push(loser, "alice", false)
	}
	ahead, err := p.git(loser, "rev-list", "--count", "FETCH_HEAD..HEAD")
	if err != nil || ahead == "0" {
		return err
	}
	if _, err := p.git(loser, "push", "-q", "origin", "HEAD:main"); err == nil {
		at, err := p.git(loser, "rev-parse", "HEAD")
		if err != nil || at == p.w.oracle.headCommit() {
			return err
		}
		return errors.New("git took a push that did not descend from the branch")
	}
	if err := p.fresh(loser); err != nil {
		return err
	}
	if err := change(1 - first); err != nil {
		return err
	}
	return p.push(loser, "alice", false)
}

// ramp lands a step up by the bot, within its bounds.
func (p *people) ramp(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hidden != "" {
		return nil
	}
	dir := p.clones[n%2]
	if err := p.ready(dir); err != nil {
		return err
	}
	name := features[n%len(features)]
	e, _ := p.w.oracle.head().content.spec.Entry(name, flags.DefaultTenant)
	at := int(e.Pct / (flags.Full / 100))
	if at > 50 {
		return nil
	}
	if err := p.set(dir, "bot", name, "--pct", strconv.Itoa(at+1+n%10)); err != nil {
		return err
	}
	return p.push(dir, "bot", false)
}

// revert lands git revert of the newest commit, where that brings back what alice
// signed.
func (p *people) revert(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, ok := p.w.oracle.before()
	if p.hidden != "" || !ok || !p.w.oracle.head().content.authorized || before.content.signer != "alice" {
		return nil
	}
	dir := p.clones[n%2]
	if err := p.fresh(dir); err != nil {
		return err
	}
	if _, err := p.git(dir, "revert", "--no-edit", "HEAD"); err != nil {
		return err
	}
	return p.push(dir, "alice", false)
}

// badKinds are the commits that must never go live.
var badKinds = []string{"unsigned", "tampered", "mallory", "garbage", "overreach", "missing"}

var aPct = regexp.MustCompile(`"pct": ?\d+`)

// bad lands a commit that must be refused.
func (p *people) bad(kind string, n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hidden != "" {
		return nil
	}
	dir := p.clones[n%2]
	if err := p.ready(dir); err != nil {
		return err
	}
	if err := p.spoil(dir, kind, n); err != nil {
		return err
	}
	return p.push(dir, "", false)
}

// spoil commits something bad in a clone.
func (p *people) spoil(dir, kind string, n int) error {
	name, spec := features[n%len(features)], filepath.Join(dir, "specs", "flags.json")
	var err error
	switch kind {
	case "unsigned":
		if _, err = p.w.command(dir, "propose", "set", name, "--pct", strconv.Itoa(evil)); err == nil {
			err = os.Remove(spec + ".sigstore.json")
		}
	case "tampered":
		var src []byte
		if src, err = os.ReadFile(spec); err == nil {
			err = os.WriteFile(spec, aPct.ReplaceAll(src, fmt.Appendf(nil, `"pct": %d`, evil)), 0o644)
		}
	case "mallory":
		return p.set(dir, "mallory", name, "--pct", strconv.Itoa(evil))
	case "garbage":
		err = os.WriteFile(spec, fmt.Appendf(nil, `{"version":"flags-v1","features":{"alpha":{"pct":%d}`, evil), 0o644)
	case "overreach": // the bot may step by ten, not switch on for everybody
		return p.set(dir, "bot", name, "--tenant", "acme", "--pct", strconv.Itoa(evil))
	case "missing":
		err = os.Remove(spec)
	default:
		err = fmt.Errorf("no bad commit is called %q", kind)
	}
	if err != nil {
		return err
	}
	if _, err := p.git(dir, "add", "-A"); err != nil {
		return err
	}
	_, err = p.git(dir, "commit", "-q", "-m", "Trust me: "+kind)
	return err
}

// hijack force-pushes a branch that lacks the newest commits and ends in one by another
// key. Nobody works on it until unhijack.
func (p *people) hijack(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	commits, _ := p.w.oracle.size()
	if p.hidden != "" || commits < 4 {
		return nil
	}
	dir := p.clones[n%2]
	if err := p.ready(dir); err != nil {
		return err
	}
	was := p.w.oracle.headCommit()
	back := "HEAD~" + strconv.Itoa(1+n%2)
	if _, err := p.git(dir, "reset", "-q", "--hard", back); err != nil {
		return err
	}
	if err := p.spoilAnything(dir, n); err != nil {
		return err
	}
	if _, err := p.git(dir, "push", "-q", "--force", "origin", "HEAD:main"); err != nil {
		return err
	}
	p.hidden = was
	return nil
}

// spoilAnything commits whatever mallory can, also where the file is missing.
func (p *people) spoilAnything(dir string, n int) error {
	if err := p.spoil(dir, "mallory", n); err == nil {
		return nil
	}
	return p.spoil(dir, "garbage", n)
}

// unhijack puts the branch back.
func (p *people) unhijack() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hidden == "" {
		return nil
	}
	_, err := p.git(p.clones[0], "push", "-q", "--force", p.w.repo, p.hidden+":main")
	if err != nil { // the clone that hijacked knows it too
		_, err = p.git(p.clones[1], "push", "-q", "--force", p.w.repo, p.hidden+":main")
	}
	if err == nil {
		p.hidden = ""
	}
	return err
}

// rewrite takes the newest commits off the branch and lands another one that alice
// signed, under a base of its own: an honest rewrite of history, which every reconciler
// must refuse until a maintainer says so. It returns the new commit.
func (p *people) rewrite(n int) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	commits, _ := p.w.oracle.size()
	if p.hidden != "" || commits < 4 {
		return "", nil
	}
	dir := p.clones[n%2]
	if err := p.ready(dir); err != nil {
		return "", err
	}
	if _, err := p.git(dir, "reset", "-q", "--hard", "HEAD~1"); err != nil {
		return "", err
	}
	to, err := p.git(dir, "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	if _, err := p.show(dir, "HEAD"); err != nil || !p.atAuthorized(to) {
		return "", nil // it would rest on something bad
	}
	p.bases++
	if err := p.set(dir, "alice", features[n%len(features)], "--pct", pct(n+13), "--base", fmt.Sprintf("flags-r%d", p.bases)); err != nil {
		return "", err
	}
	p.w.oracle.rewind(to)
	if err := p.push(dir, "alice", true); err != nil {
		return "", err
	}
	return p.w.oracle.headCommit(), nil
}

func (p *people) atAuthorized(commit string) bool {
	_, _, err := p.w.oracle.at(commit)
	return err == nil
}

// statement makes a break-glass statement over the feature that no commit touches.
func (p *people) statement(tenant string, ttl string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.git(p.desk, "fetch", "-q", "origin", "main"); err != nil {
		return "", err
	}
	if _, err := p.git(p.desk, "reset", "-q", "--hard", p.w.oracle.newest().commit); err != nil {
		return "", err
	}
	p.said++
	args := []string{"override", "--off", "brake", "--ttl", ttl, "--reason", fmt.Sprintf("chaos %d", p.said), "--environment", environment, "--key", p.w.keys["oncall"].file}
	if tenant != "" {
		args = append(args, "--tenant", tenant)
	}
	out, err := p.w.command(p.desk, "propose", args...)
	return strings.TrimSpace(out), err
}
