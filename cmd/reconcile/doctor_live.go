package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

// minFree is the space below which a folder is called full.
const minFree = 200 << 20

// checkState: the folder is there, is only ours, reads back, and has room.
func (d *doctor) checkState(_ context.Context, l cli.Check) []cli.Check {
	info, err := os.Stat(d.dir)
	switch {
	case d.shut:
		return one(l.Fail("run it as its owner", "%v; what it says is passed over", unreadable(d.dir)))
	case errors.Is(err, fs.ErrNotExist):
		l = l.OK("%s is not there yet: the first start makes it, and takes over what is live if it lies behind the branch", d.dir)
		if d.metaThere {
			return one(l.Warn("is it the folder that the reconciler has? --state-dir; if it was lost: docs/reconcile.md, a cold start",
				"%s is not there, and Redis is at generation %d: a start would be a cold start", d.dir, d.meta.Generation))
		}
		return one(l)
	case err != nil:
		return one(l.Fail("let this user read it", "%v", err))
	case !info.IsDir():
		return one(l.Fail("move it away, or name another: --state-dir", "%s is no folder", d.dir))
	case info.Mode().Perm()&0o077 != 0:
		return one(l.Fail("chmod 700 "+d.dir, "others on this machine may look into %s, which holds the admin token (mode %04o)", d.dir, info.Mode().Perm()))
	}
	if free, err := freeSpace(d.dir); err == nil && free < minFree {
		return one(l.Fail("make room", "%s has %d MiB left", d.dir, free>>20))
	}
	all, err := reconciler.Generations(d.dir)
	if errors.Is(err, reconciler.ErrNoState) {
		return one(l.OK("%s: nothing was accepted yet", d.dir))
	}
	if err != nil {
		return one(l.Fail("restore it from a backup, or move it away: a cold start follows", "%v", err))
	}
	if len(all) == 0 {
		return one(l.OK("%s: nothing was accepted yet", d.dir))
	}
	last := all[len(all)-1]
	text := fmt.Sprintf("%s: generation %d, %s", d.dir, last.Number, last.Version)
	switch {
	case !d.metaThere || !d.redisThere:
	case d.meta.Generation > last.Number:
		return one(l.Warn("is this the folder of the reconciler that writes there? If it was restored from a backup: it catches up by itself",
			"%s, and Redis is ahead, at %d, written by %s", text, d.meta.Generation, or(d.meta.Reconciler, "an unnamed one")))
	case d.meta.Generation < last.Number:
		return one(l.Warn("start the reconciler: it writes what is missing", "%s, and Redis is behind, at %d", text, d.meta.Generation))
	}
	return one(l.OK("%s", text))
}

// checkRunning asks the reconciler that should be there.
func (d *doctor) checkRunning(ctx context.Context, l cli.Check) []cli.Check {
	address := d.url
	if address == "" {
		var err error
		if address, err = runningAddress(d.dir); errors.Is(err, fs.ErrPermission) {
			return one(l.Warn("run it as the folder's owner, or name the reconciler: --url", "whether a reconciler serves on this state folder cannot be told"))
		} else if err != nil {
			return one(l.OK("no reconciler serves on this state folder now"))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := ask(ctx, address, "/api/v1/status")
	if err == nil {
		d.status, err = parseStatus(body)
	}
	if err != nil {
		if d.url == "" {
			return one(l.Warn("start it again: reconcile run", "the reconciler that ran here left its address and does not answer: %v", err))
		}
		return one(again(l.Fail("start it: reconcile run; or mend --url", "%v", err)))
	}
	s := d.status
	for _, c := range s.Conditions {
		if !c.Good() && c.Status != reconciler.Unknown && c.Type != reconciler.CondSourceVerified && c.Type != reconciler.CondSpecValid {
			tell := l.Fail
			if c.Type == reconciler.CondDriftDetected {
				tell = l.Warn // it was put right
			}
			return one(tell("reconcile status; docs/reconcile.md explains "+string(c.Reason), "%s says %s: %s: %s", address, c.Type, c.Reason, firstLine(c.Message)))
		}
	}
	switch {
	case d.head != "" && s.Observed != nil && s.Observed.Commit != d.head:
		return one(again(l.Warn("look again in a moment; if it stays: is it the same --repo and --branch?", "%s has seen %.12s, and the branch is at %.12s", address, s.Observed.Commit, d.head)))
	case s.Suspended != nil:
		return one(l.Warn("reconcile resume", "%s is suspended: %s", address, s.Suspended))
	}
	return one(l.OK("%s, last success %s ago", address, time.Duration(s.Age*float64(time.Second)).Round(time.Second)))
}

// checkLive asks what a pass would do: whether the newest commit holds, and whether Redis has what it should.
func (d *doctor) checkLive(ctx context.Context, l cli.Check) []cli.Check {
	alone := d.a.redis == "" && d.status == nil // no Redis is named: an empty one inside this process is asked
	if d.shut && d.status == nil {
		return nil // what was accepted is not known
	}
	if !d.specThere || !d.redisThere && !alone || (d.policy == nil && !d.a.insecure) {
		return nil
	}
	p, err := d.plan(ctx)
	if err != nil {
		return one(l.Fail(todo(err, "reconcile plan says more"), "asking what a pass would do: %v", err))
	}
	if verdict := planVerdict(p); cli.Code(verdict) == cli.ExitRefused {
		return one(l.Fail(todo(verdict, "reconcile plan"), "the newest commit would not go live: %v", verdict))
	}
	switch {
	case alone:
		return one(l.OK("the newest commit holds: in an empty Redis it would go live"))
	case p.Empty():
		return one(l.OK("the newest commit is live, and Redis holds exactly what it says"))
	case len(p.Changes) == 0:
		return one(l.Warn("the reconciler puts it right at its next pass; find out who writes there", "drift: %s from what is live, %d should not be there",
			counted(len(p.Set), "entry differs", "entries differ"), len(p.Delete)))
	}
	return one(l.Warn("run a pass: reconcile once, or reconcile run", "the newest commit holds and is not live yet: %s, %s to set, %d to delete", counted(len(p.Changes), "change", "changes"), counted(len(p.Set), "entry", "entries"), len(p.Delete)))
}

// plan is the plan of the reconciler that runs, or one made on a copy of what the state folder holds: nothing is
// written, and no lock taken.
func (d *doctor) plan(ctx context.Context) (*reconciler.Plan, error) {
	if d.status != nil {
		address := d.url
		if address == "" {
			address, _ = runningAddress(d.dir)
		}
		body, err := ask(ctx, address, "/api/v1/plan")
		if err == nil {
			var p reconciler.Plan
			if err = json.Unmarshal(body, &p); err == nil {
				return &p, nil
			}
		}
		return nil, err
	}
	dir, err := os.MkdirTemp("", "rampart-doctor-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := copyState(d.dir, dir); err != nil {
		return nil, fmt.Errorf("copying the state folder: %w", err)
	}
	a := *d.a
	a.stateDir, a.writes, a.attestKey = dir, false, ""
	o, err := a.open(ctx, slog.New(slog.DiscardHandler), silent{}, nil)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return o.Plan(ctx)
}

// copyState copies what a reconciler knows; the clone and the ledger, which are large and which it does not need for a
// plan, stay.
func copyState(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir() && (rel == "repo" || rel == "ledger"):
			return filepath.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !e.Type().IsRegular() || rel == "lock" || rel == runningName || rel == tokenName:
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), src, 0o600)
	})
}

// checkReceipts verifies the ledger from its files alone.
func (d *doctor) checkReceipts(ctx context.Context, l cli.Check) []cli.Check {
	dir := d.a.receipts.dir(d.dir)
	if dir == "" {
		return one(l.Warn("leave --ledger off away", "no receipts are kept: what happened cannot be shown later"))
	}
	if _, err := os.Stat(filepath.Join(dir, "key.pub")); errors.Is(err, fs.ErrPermission) {
		return one(l.Fail("run it as its owner", "%s cannot be read (permission denied)", dir))
	} else if errors.Is(err, fs.ErrNotExist) {
		return one(l.OK("%s: none yet", dir))
	}
	rep, err := receipt.Verify(ctx, dir, "")
	if err != nil {
		return one(l.Fail("reconcile receipts verify --ledger "+dir, "%v", err))
	}
	if !rep.OK() {
		return one(l.Fail("reconcile receipts verify --ledger "+dir+"; keep the folder as it is for whoever looks into it", "the ledger is not what was written: %s", counted(len(rep.Findings)+rep.MoreFound, "finding", "findings")))
	}
	return one(l.OK("%s: every receipt verifies (%d), %s anchored", dir, rep.Records, counted(rep.Anchors, "checkpoint is", "checkpoints are")))
}

// checkNotaries sees whether each answers at all: a checkpoint is sent by reconcile run only.
func (d *doctor) checkNotaries(ctx context.Context, l cli.Check) []cli.Check {
	if len(d.a.receipts.notaries) == 0 && d.a.receipts.notariesFile == "" {
		l = l.OK("none: receipts prove nothing to outsiders")
		l.Todo = "to let somebody outside confirm them: --notary NAME=URL (docs/receipts.md)"
		return one(l)
	}
	if _, err := d.a.receipts.witnesses(d.a.receipts.dir(d.dir)); err != nil {
		return one(l.Fail(todo(err, "docs/receipts.md"), "%v", err))
	}
	var out []cli.Check
	client := &http.Client{Timeout: 10 * time.Second}
	for _, n := range d.a.receipts.notaries {
		name, address, _ := strings.Cut(n, "=")
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
		if err == nil {
			var res *http.Response
			if res, err = client.Do(req); err == nil {
				res.Body.Close()
			}
		}
		if err != nil {
			out = append(out, again(l.Fail("see that it runs and can be reached; receipts wait for it meanwhile", "%s: %v", name, err)))
			continue
		}
		out = append(out, l.OK("%s answers", name))
	}
	return out
}

// checkToken: whoever reads the admin token may suspend and override.
func (d *doctor) checkToken(_ context.Context, l cli.Check) []cli.Check {
	if token := d.a.env.Getenv("RAMPART_ADMIN_TOKEN"); token != "" {
		if len(token) < minToken {
			return one(l.Fail("make a longer one: openssl rand -base64 24", "RAMPART_ADMIN_TOKEN has fewer than %d characters", minToken))
		}
		return one(l.OK("from RAMPART_ADMIN_TOKEN"))
	}
	path := filepath.Join(d.dir, tokenName)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return one(l.OK("the first start makes one, in %s", path))
	case errors.Is(err, fs.ErrPermission):
		return one(l.Fail("run it as its owner", "%s cannot be read (permission denied)", path))
	case err != nil:
		return one(l.Fail("let this user read it", "%v", err))
	case info.Mode().Perm()&0o077 != 0:
		return one(l.Fail("chmod 600 "+path+", and replace it: remove it and start again", "others on this machine may read %s (mode %04o)", path, info.Mode().Perm()))
	}
	return one(l.OK("%s, for its owner's eyes only", path))
}
