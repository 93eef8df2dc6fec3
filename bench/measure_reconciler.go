package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rampart-flags/rampart/bench/results"
	"github.com/rampart-flags/rampart/receipt"
)

func (m *meter) receipts(ctx context.Context, c *Costs) error {
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := receipt.Open(ctx, receipt.Options{Dir: dir, Origin: "prod/bench"})
	if err != nil {
		return err
	}
	const n = 2000
	for i := range n {
		r := &receipt.Receipt{
			Kind: receipt.Generation, Phase: receipt.Outcome, Environment: "prod", Commit: fmt.Sprintf("%040d", i), Generation: uint64(i), Version: "flags-v1+ramp.7",
			Digest: "sha256:" + strings.Repeat("0", 64), PreviousDigest: "sha256:" + strings.Repeat("1", 64), Result: "applied",
			Signers: []receipt.Signer{{Name: "ramp-bot", Roles: []string{"ramp"}}}, Redis: &receipt.Counts{Set: 10},
		}
		for t := range 10 {
			r.Changes = append(r.Changes, receipt.Change{Kind: "ramp.up", Feature: "receipts", Tenant: fmt.Sprintf("tenant-%06d", t), From: "10", To: "20", Rises: true})
		}
		if _, err := l.Append(ctx, r); err != nil {
			return errors.Join(err, l.Close(ctx))
		}
	}
	if err := l.Close(ctx); err != nil {
		return err
	}
	var size int64
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, ierr := d.Info()
			if ierr == nil {
				size += info.Size()
			}
			err = ierr
		}
		return err
	})
	c.ReceiptBytes, c.ReceiptsPerCommit = float64(size)/n, 3
	return err
}

// passes takes what the reconciler's own benchmarks say.
func (m *meter) passes(ctx context.Context, c *Costs) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^(BenchmarkCommitToLive|BenchmarkIdle)$", "-benchtime", "5x", "./reconciler")
	cmd.Stderr = m.talk
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("running the reconciler's benchmarks: %w\n%s", err, out)
	}
	all := results.Parse(string(out))
	get := func(name, unit string) float64 {
		for _, r := range all {
			if r.Name == name {
				return r.Values[unit]
			}
		}
		return 0
	}
	small, large := get("CommitToLive/1000", "ms/live")/1000, get("CommitToLive/100000", "ms/live")/1000
	c.CommitEntrySeconds = (large - small) / 99_000
	c.CommitSeconds = max(small-1000*c.CommitEntrySeconds, small/2) // on a busy machine the difference says little
	c.PassSeconds = get("Idle/1000", "ns/op") / 1e9
	if small == 0 || large == 0 || c.PassSeconds == 0 {
		return fmt.Errorf("the reconciler's benchmarks did not say what was asked:\n%s", out)
	}
	return nil
}
