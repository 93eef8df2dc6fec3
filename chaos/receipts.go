package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// receiptLine is what is read of "reconcile receipts list --json".
type receiptLine struct {
	Seq        uint64 `json:"seq"`
	Kind       string `json:"kind"`
	Phase      string `json:"phase"`
	Generation uint64 `json:"generation"`
	Digest     string `json:"digest"`
	Result     string `json:"outcome"`
	Detail     string `json:"detail"`
	OpID       string `json:"op_id"`
	Anchored   *struct {
		Size uint64 `json:"size"`
	} `json:"anchored"`
}

// reportLine is what is read of "reconcile receipts verify --json".
type reportLine struct {
	Dir      string `json:"dir"`
	OK       bool   `json:"ok"`
	Records  uint64 `json:"records"`
	Leaves   uint64 `json:"leaves"`
	Unlogged uint64 `json:"unlogged"`
	Anchors  int    `json:"anchors"`
	Findings []struct {
		Problem string `json:"problem"`
		Detail  string `json:"detail"`
	} `json:"findings"`
}

func (c *checker) ledgers() []string {
	var args []string
	for _, name := range c.w.names {
		args = append(args, "--ledger", filepath.Join(c.w.state(name), "ledger"))
	}
	return args
}

// receipts checks all ledgers together: they verify, each generation that was ever live
// and each acknowledged statement has its receipt in one of them, and the notary has
// confirmed everything from before the quiet.
func (c *checker) receipts() map[string]uint64 {
	c.anchored()
	out, err := c.w.command(c.w.dir, "reconcile", append([]string{"receipts", "verify", "--json"}, c.ledgers()...)...)
	reports, perr := lines[reportLine](out)
	if err != nil || perr != nil {
		c.w.trace.breaks(invReceipts, "the ledgers do not verify: %v %v: %s", err, perr, out)
	}
	sizes := map[string]uint64{}
	for _, r := range reports {
		sizes[filepath.Base(filepath.Dir(r.Dir))] = r.Records
		if r.Anchors == 0 {
			c.w.trace.breaks(invReceipts, "%s was never anchored", r.Dir)
		}
	}
	all, err := c.listed()
	if err != nil {
		c.w.trace.breaks(invReceipts, "the receipts cannot be listed: %v", err)
		return sizes
	}
	seen := c.seen()
	for _, generation := range sortedKeys(seen) {
		digest := seen[generation]
		exact := func(r receiptLine) bool { return r.Generation == generation && r.Digest == digest }
		content := func(r receiptLine) bool { return r.Digest == digest }
		switch {
		case slices.ContainsFunc(all, exact):
		case c.raised && slices.ContainsFunc(all, content): // somebody wrote the number into meta, and it was taken over
			c.renumbered++
		default:
			c.w.trace.breaks(invReceipts, "generation %d (%.19s) was live, and no ledger says so", generation, digest)
		}
	}
	c.statements(all)
	return sizes
}

func (c *checker) listed() ([]receiptLine, error) {
	var all []receiptLine
	for _, name := range c.w.names {
		some, err := c.listOne(filepath.Join(c.w.state(name), "ledger"))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (c *checker) listOne(dir string) ([]receiptLine, error) {
	out, err := c.w.command(c.w.dir, "reconcile", "receipts", "list", "--json", "--ledger", dir)
	if err != nil {
		return nil, err
	}
	return lines[receiptLine](out)
}

// statements looks for the receipt of each acknowledged statement, by its reason: no two
// have the same.
func (c *checker) statements(all []receiptLine) {
	for _, o := range c.excuse.everHeld() {
		told := func(r receiptLine) bool { return r.Kind == "override" && strings.HasSuffix(r.Detail, o.Reason) }
		if !slices.ContainsFunc(all, told) {
			c.w.trace.breaks(invReceipts, "statement %s (%s) was acknowledged, and no ledger says so", o.ID, o.Reason)
		}
	}
}

// anchored waits until the notary has confirmed what stood in the ledgers when the
// quiet began.
func (c *checker) anchored() {
	for _, name := range c.w.names {
		dir := filepath.Join(c.w.state(name), "ledger")
		all, err := c.listOne(dir)
		if err != nil {
			c.w.trace.breaks(invReceipts, "the ledger of %s cannot be read: %v", name, err)
			return
		}
		var at uint64 // the receipt that says so of a confirmation waits for the next one
		for _, r := range all {
			if r.Kind != "anchor" {
				at = r.Seq + 1
			}
		}
		err = eventually(quietIn, "the notary", func() bool {
			proofs, err := filepath.Glob(filepath.Join(dir, "anchors", "outside", "*.json"))
			if err != nil {
				return false
			}
			for _, p := range proofs {
				var size uint64
				if _, err := fmt.Sscanf(filepath.Base(p), "%d.json", &size); err == nil && size >= at {
					return true
				}
			}
			return false
		})
		if err != nil {
			c.w.trace.breaks(invReceipts, "the notary has not confirmed the %d receipts of %s within %v", at, name, quietIn)
		}
	}
}
