package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// storm does a schedule's actions to the world. What it sets wrong it puts right again,
// each thing at its time and all of it at the end of a storm.
type storm struct {
	w     *world
	check *checker

	mu      sync.Mutex
	open    map[string]func() error // how to lift what is wrong, by its name
	errs    int
	faults  int    // that were set
	rewrote string // the commit that history went on from when it was rewritten last
}

// run does one round's actions. It ends with every fault lifted.
func (s *storm) run(ctx context.Context, r round) {
	began := time.Now()
	var under sync.WaitGroup
	var line sync.Mutex // commits come one after the other, as on a busy branch
	for _, a := range r.Actions {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(began.Add(a.At))):
		}
		if ctx.Err() != nil {
			break
		}
		under.Go(func() {
			if byPeople[a.Do] != nil {
				line.Lock()
				defer line.Unlock()
			}
			s.do(a)
		})
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(began.Add(r.Storm))):
	}
	under.Wait()
	s.liftAll()
	s.sayAgain()
}

// byPeople are the actions on the branch.
var byPeople = map[string]func(s *storm, a action) error{
	"commit":  func(s *storm, a action) error { return s.w.people.good(a.N) },
	"ramp":    func(s *storm, a action) error { return s.w.people.ramp(a.N) },
	"race":    func(s *storm, a action) error { return s.w.people.race(a.N) },
	"revert":  func(s *storm, a action) error { return s.w.people.revert(a.N) },
	"bad":     func(s *storm, a action) error { return s.w.people.bad(a.Kind, a.N) },
	"rewrite": func(s *storm, a action) error { return s.rewrite(a) },
}

// do does one action. Its error is about the harness' own hands and tells nothing of
// Rampart; it is noted.
func (s *storm) do(a action) {
	if to, ok := strings.CutPrefix(a.To, "b"); ok && len(s.w.names) == 1 {
		a.To = "a" + to
	}
	s.w.trace.action(a.String(), a)
	act := byPeople[a.Do]
	if act == nil {
		act = byFault[a.Do]
	}
	if act == nil {
		s.w.trace.note("no action is called %q", a.Do)
		return
	}
	if err := act(s, a); err != nil {
		s.hands(fmt.Sprintf("%s: %v", a, err))
	}
}

// hands notes that the harness could not do what it meant to.
func (s *storm) hands(what string) {
	s.mu.Lock()
	s.errs++
	s.mu.Unlock()
	s.w.trace.note("%s", what)
}

// byFault are the actions on processes, links and Redis.
var byFault = map[string]func(s *storm, a action) error{
	"kill":      (*storm).kill,
	"terminate": (*storm).terminate,
	"stop":      (*storm).stop,
	"cut": func(s *storm, a action) error {
		s.w.links.cut(a.To)
		return s.link(a)
	},
	"hold": func(s *storm, a action) error { return errors.Join(s.w.links.hold(a.To), s.link(a)) },
	"delay": func(s *storm, a action) error {
		return errors.Join(s.w.links.delay(a.To, time.Duration(20+a.N%480)*time.Millisecond), s.link(a))
	},
	"narrow": func(s *storm, a action) error { return errors.Join(s.w.links.narrow(a.To, 1+a.N%20), s.link(a)) },
	"hijack": func(s *storm, a action) error {
		err := s.w.people.hijack(a.N)
		return errors.Join(err, s.until(a, "hijack", s.w.people.unhijack))
	},
	"flush":    (*storm).flush,
	"redis":    (*storm).restartRedis,
	"drift":    (*storm).drift,
	"override": (*storm).override,
	"suspend":  (*storm).suspend,
	"disk":     (*storm).fillDisk,
	"clock":    (*storm).moveClock,
	"nudge": func(s *storm, a action) error {
		_, _, err := s.w.ask(a.To, http.MethodPost, "/admin/reconcile", "")
		return err
	},
}

// until lifts a fault after its time, or at the end of the storm.
func (s *storm) until(a action, name string, lift func() error) error {
	s.mu.Lock()
	s.faults++
	s.open[name] = lift
	s.mu.Unlock()
	time.Sleep(a.For)
	return s.lift(name)
}

func (s *storm) lift(name string) error {
	s.mu.Lock()
	lift := s.open[name]
	delete(s.open, name)
	s.mu.Unlock()
	if lift == nil {
		return nil
	}
	s.w.trace.add("lift", name, nil)
	return lift()
}

// liftAll puts everything right.
func (s *storm) liftAll() {
	s.mu.Lock()
	var names []string
	for name := range s.open {
		names = append(names, name)
	}
	s.mu.Unlock()
	for _, name := range names {
		if err := s.lift(name); err != nil {
			s.hands(fmt.Sprintf("lifting %s: %v", name, err))
		}
	}
}

func (s *storm) link(a action) error {
	return s.until(a, "link "+a.To, func() error { return s.w.links.mend(a.To) })
}

func (s *storm) kill(a action) error {
	p := s.w.procs[a.To]
	p.kill()
	return s.until(a, "process "+a.To, func() error { return s.again(p) })
}

func (s *storm) terminate(a action) error {
	p := s.w.procs[a.To]
	p.end()
	return s.until(a, "process "+a.To, func() error { return s.again(p) })
}

// again starts a process that was ended. A server whose port is taken for a moment is
// tried again, by one at a time: what was ended twice is started once.
func (s *storm) again(p *process) error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.alive() {
		return nil
	}
	var err error
	for range 5 {
		if err = p.start(); err == nil {
			return nil
		}
		p.kill()
		time.Sleep(time.Second)
	}
	return err
}

func (s *storm) stop(a action) error {
	p := s.w.procs[a.To]
	p.signal(syscall.SIGSTOP)
	return s.until(a, "process "+a.To, func() error { p.signal(syscall.SIGCONT); return nil })
}

// suspend tells a reconciler to take nothing new for a while; it resumes by itself.
func (s *storm) suspend(a action) error {
	body, err := json.Marshal(map[string]string{"reason": "chaos", "for": a.For.String()})
	if err != nil {
		return fmt.Errorf("suspending %s: %w", a.To, err)
	}
	if _, _, err = s.w.ask(a.To, http.MethodPost, "/admin/suspend", string(body)); err != nil {
		return err
	}
	return s.until(a, "suspension of "+a.To, func() error {
		_, _, err := s.w.ask(a.To, http.MethodPost, "/admin/resume", "{}")
		return err
	})
}

// fillDisk leaves no byte free below b's state folder.
func (s *storm) fillDisk(a action) error {
	if s.w.small == "" {
		return nil
	}
	path := filepath.Join(s.w.small, "filler")
	f, err := os.Create(path)
	if err == nil {
		for size, left := 1<<20, 2*smallSize; size > 0 && left > 0; { // never more than the file system has
			n, err := f.Write(make([]byte, size))
			if left -= n; err != nil {
				size /= 4
			}
		}
		f.Close()
	}
	return s.until(a, "disk", func() error { return os.Remove(path) })
}

// moveClock makes a process' wall clock jump, far or near, forth or back, and back
// again later.
func (s *storm) moveClock(a action) error {
	jumps := []time.Duration{5 * time.Second, -5 * time.Second, time.Minute, -time.Minute, time.Hour, -time.Hour, 26 * time.Hour, -26 * time.Hour}
	d := jumps[a.N%len(jumps)]
	if a.To == "redis" {
		if s.w.fake == "" {
			return nil
		}
		c := s.w.clocks["redis"]
		s.check.excuse.clockMoved()
		return errors.Join(c.shiftMapped(d), s.until(a, "clock of redis", func() error { return c.shiftMapped(0) }))
	}
	if !s.w.movable {
		return nil
	}
	c := s.w.clocks[a.To]
	s.check.excuse.clockMoved()
	return errors.Join(c.shift(d), s.until(a, "clock of "+a.To, func() error { return c.shift(0) }))
}

// rewrite rewrites history and lets a maintainer say so. Who could not take the statement then is told again when the storm is over.
func (s *storm) rewrite(a action) error {
	commit, err := s.w.people.rewrite(a.N)
	if err != nil || commit == "" {
		return err
	}
	s.w.trace.note("history was rewritten up to %.12s", commit)
	s.mu.Lock()
	s.rewrote = commit
	s.mu.Unlock()
	for _, name := range s.w.names {
		err = errors.Join(err, s.accept(name, commit))
	}
	return err
}

// accept has a maintainer say to a reconciler that history goes on from a commit.
func (s *storm) accept(name, commit string) error {
	_, err := s.w.command(s.w.dir, "reconcile", "accept-history", commit, "--state-dir", s.w.state(name), "--trust", filepath.Join(s.w.dir, "trust.json"),
		"--repo", s.w.repo, "--reason", "chaos", "--key", s.w.keys["alice"].file)
	return err
}

// sayAgain is the maintainer's look at each reconciler's status after a storm: one that says that history was rewritten is told again.
func (s *storm) sayAgain() {
	s.mu.Lock()
	commit := s.rewrote
	s.mu.Unlock()
	if commit == "" {
		return
	}
	for _, name := range s.w.names {
		err := eventually(quietIn/2, name+" to go on after a rewrite of history", func() bool {
			_, body, err := s.w.ask(name, http.MethodGet, "/api/v1/status", "")
			var status reconcilerStatus
			if err != nil || json.Unmarshal(body, &status) != nil {
				return false
			}
			if !status.rewritten() {
				return true
			}
			if err := s.accept(name, commit); err != nil {
				s.hands(fmt.Sprintf("telling %s again: %v", name, err))
			}
			time.Sleep(2 * interval) // it has to look
			return false
		})
		if err != nil {
			s.hands(err.Error())
		}
	}
}

// reconcilerStatus is what a maintainer looks at.
type reconcilerStatus struct {
	Conditions []struct{ Type, Status string } `json:"conditions"`
}

func (r reconcilerStatus) rewritten() bool {
	for _, c := range r.Conditions {
		if c.Type == "HistoryRewritten" && c.Status == "True" {
			return true
		}
	}
	return false
}
