package console

import (
	"errors"
	"net/http"
	"time"

	"github.com/rampart-flags/rampart/receipt"
)

type receiptsData struct {
	Rows    []numbered
	More    bool
	Chain   string
	Chains  []receipt.Chain
	Report  *receipt.Report
	Anchors []receipt.AnchorState
	Kept    bool
	Kind    string
	Kinds   []receipt.Kind
	Took    string
}

var receiptKinds = []receipt.Kind{receipt.Generation, receipt.Rollback, receipt.Refusal, receipt.Repair, receipt.Override,
	receipt.Suspension, receipt.PolicyChange, receipt.Anchor, receipt.Purge}

func (c *Console) receipts(r *http.Request) (string, view, error) {
	q := r.URL.Query()
	d := receiptsData{Kept: c.opt.Ledger != "", Chain: q.Get("chain"), Kind: q.Get("kind"), Kinds: receiptKinds}
	if !d.Kept {
		return "receipts", view{Title: "Receipts", Nav: "receipts", Data: d}, nil
	}
	var err error
	if d.Chain != "" {
		d.Chains, err = receipt.Lineage(d.Chain, func(fn func(receipt.Record) error) error { return receipt.ScanFrom(c.opt.Ledger, 0, fn) })
		if err != nil {
			return "", view{}, err
		}
	}
	d.Rows, d.More, err = c.index.newest(200, func(n numbered) bool { return d.Kind == "" || string(n.Kind) == d.Kind })
	if c.opt.Anchors != nil {
		d.Anchors = c.opt.Anchors()
	}
	return "receipts", view{Title: "Receipts", Nav: "receipts", Data: d}, err
}

// verify checks the ledger; the page says that it is the server that does so. One at a time: it reads everything.
func (c *Console) verify(r *http.Request) (string, view, error) {
	name, v, err := c.receipts(r)
	if err != nil || c.opt.Ledger == "" {
		return name, v, err
	}
	if !c.index.verifying.TryLock() {
		return "", view{}, errors.New("a verification is under way; try again in a moment")
	}
	defer c.index.verifying.Unlock()
	started := time.Now()
	rep, err := receipt.Verify(r.Context(), c.opt.Ledger, "")
	if err != nil {
		return "", view{}, err
	}
	d := v.Data.(receiptsData)
	d.Report, d.Took = &rep, time.Since(started).Round(time.Millisecond).String()
	v.Data = d
	return name, v, nil
}
