package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

// api is what programs read: the same that the console shows to people. docs/openapi.yaml describes it, and a test holds the
// two together.
type api struct {
	o      *opened
	ledger string
}

const (
	defaultPage = 100
	maxPage     = 1000
)

func (a *api) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/flags", a.flags)
	mux.HandleFunc("GET /api/v1/flags/{feature}", a.flag)
	mux.HandleFunc("GET /api/v1/history", a.history)
	mux.HandleFunc("GET /api/v1/receipts", a.receipts)
}

// page reads limit, or answers 400.
func page(w http.ResponseWriter, r *http.Request) (int, bool) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultPage, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		bad(w, fmt.Sprintf("limit must be a number from 1 to %d", maxPage))
		return 0, false
	}
	return n, true
}

// number reads a query's number, def where it is not given, or answers 400.
func number(w http.ResponseWriter, r *http.Request, name string, def uint64) (uint64, bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return def, true
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		bad(w, name+" must be a number")
		return 0, false
	}
	return n, true
}

// apiEntry is an entry as the API shows it: what is resolved, for everybody else or for one tenant.
type apiEntry struct {
	Enabled bool      `json:"enabled"`
	Pct     flags.Pct `json:"pct"`
	Version string    `json:"version"`
	Members int       `json:"members"` // of the cohorts; who they are stays in the spec
	Salted  bool      `json:"salted,omitempty"`
}

type apiFlag struct {
	Feature     string `json:"feature"`
	Description string `json:"description,omitempty"`
	Owner       string `json:"owner,omitempty"`
	Expires     string `json:"expires,omitempty"`
	apiEntry
	Ramp    json.RawMessage     `json:"ramp,omitempty"`
	Tenants map[string]apiEntry `json:"tenants,omitempty"`
}

func entryOf(e flags.Entry) apiEntry {
	return apiEntry{Enabled: e.Enabled, Pct: e.Pct, Version: e.Version, Members: len(e.Cohorts), Salted: e.Salt != ""}
}

func flagOf(live *reconciler.Live, f *flags.Feature) apiFlag {
	out := apiFlag{Feature: f.Name, Description: f.Description, Owner: f.Owner, Expires: f.Expires, apiEntry: entryOf(live.Entry(f.Name, flags.DefaultTenant)), Ramp: json.RawMessage(f.Ramp)}
	for tenant := range f.Tenants() {
		if out.Tenants == nil {
			out.Tenants = map[string]apiEntry{}
		}
		out.Tenants[tenant] = entryOf(live.Entry(f.Name, tenant))
	}
	for k, e := range live.Layer {
		if k.Feature == f.Name && k.Tenant != flags.DefaultTenant && f.Tenant(k.Tenant) == nil {
			if out.Tenants == nil {
				out.Tenants = map[string]apiEntry{}
			}
			out.Tenants[k.Tenant] = entryOf(e)
		}
	}
	return out
}

// apiLive says which spec an answer is about.
type apiLive struct {
	Generation uint64 `json:"generation"`
	Commit     string `json:"commit,omitempty"`
	Version    string `json:"version,omitempty"`
	Digest     string `json:"digest,omitempty"`
}

func (a *api) live() (apiLive, *reconciler.Live) {
	live := a.o.Live()
	if live == nil || live.Spec == nil {
		return apiLive{}, nil
	}
	return apiLive{live.Number, live.Commit, live.Version, live.Digest}, live
}

// flags lists the live features by name, from the one after "after" on.
func (a *api) flags(w http.ResponseWriter, r *http.Request) {
	limit, ok := page(w, r)
	if !ok {
		return
	}
	out := struct {
		Format string `json:"format"`
		apiLive
		Flags []apiFlag `json:"flags"`
		Next  string    `json:"next,omitempty"` // give it as "after" for the next page
	}{Format: "flags/v1", Flags: []apiFlag{}}
	var live *reconciler.Live
	out.apiLive, live = a.live()
	if live != nil {
		names, after := live.Spec.Features(), r.URL.Query().Get("after")
		from, found := slices.BinarySearch(names, after)
		if found {
			from++
		}
		names = names[from:]
		if len(names) > limit {
			names, out.Next = names[:limit], names[limit-1]
		}
		for _, name := range names {
			out.Flags = append(out.Flags, flagOf(live, live.Spec.Feature(name)))
		}
	}
	answer(w, http.StatusOK, out)
}

// flag is one live feature.
func (a *api) flag(w http.ResponseWriter, r *http.Request) {
	about, live := a.live()
	if live == nil || live.Spec.Feature(r.PathValue("feature")) == nil {
		answer(w, http.StatusNotFound, map[string]string{"error": "no such feature is live"})
		return
	}
	answer(w, http.StatusOK, struct {
		Format string `json:"format"`
		apiLive
		Flag apiFlag `json:"flag"`
	}{"flag/v1", about, flagOf(live, live.Spec.Feature(r.PathValue("feature")))})
}

// history lists accepted generations, newest first, below "before", and the commits that are refused or wait now.
func (a *api) history(w http.ResponseWriter, r *http.Request) {
	limit, ok := page(w, r)
	if !ok {
		return
	}
	before, ok := number(w, r, "before", 1<<63)
	if !ok {
		return
	}
	all, err := reconciler.Generations(a.o.dir)
	if err != nil && !errors.Is(err, reconciler.ErrNoState) {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	s := a.o.Status()
	out := struct {
		Format      string                  `json:"format"`
		Generations []reconciler.Generation `json:"generations"`
		Next        uint64                  `json:"next,omitempty"` // give it as "before" for older ones
		Refused     []reconciler.Refusal    `json:"refused"`
		Deferred    []reconciler.Refusal    `json:"deferred"`
	}{Format: "history/v1", Generations: []reconciler.Generation{}, Refused: emptied(s.Refused), Deferred: emptied(s.Deferred)}
	for _, g := range slices.Backward(all) {
		if g.Number >= before {
			continue
		}
		if len(out.Generations) == limit {
			out.Next = out.Generations[limit-1].Number
			break
		}
		out.Generations = append(out.Generations, g)
	}
	answer(w, http.StatusOK, out)
}

// emptied is a list that is never null in JSON.
func emptied[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// apiReceipt is a receipt and its number in the ledger.
type apiReceipt struct {
	Seq    uint64 `json:"seq"`
	Purged bool   `json:"purged,omitempty"`
	*receipt.Receipt
}

var errPageFull = errors.New("the page is full")

// receipts lists receipts from number "from" on, oldest first; with "chain" only those of that chain.
func (a *api) receipts(w http.ResponseWriter, r *http.Request) {
	limit, ok := page(w, r)
	if !ok {
		return
	}
	from, ok := number(w, r, "from", 0)
	if !ok {
		return
	}
	if a.ledger == "" {
		answer(w, http.StatusNotFound, map[string]string{"error": "no receipts are kept here: the reconciler runs with --ledger off"})
		return
	}
	chain := r.URL.Query().Get("chain")
	out := struct {
		Format   string       `json:"format"`
		At       time.Time    `json:"at"`
		Receipts []apiReceipt `json:"receipts"`
		Next     uint64       `json:"next,omitempty"` // give it as "from" for newer ones
	}{Format: "receipts/v1", At: time.Now().UTC(), Receipts: []apiReceipt{}}
	err := receipt.ScanFrom(a.ledger, from, func(rec receipt.Record) error {
		if r.Context().Err() != nil {
			return r.Context().Err()
		}
		row := apiReceipt{Seq: rec.Seq, Purged: rec.Purged()}
		if !row.Purged {
			body, err := rec.Decode()
			if err != nil {
				return err
			}
			row.Receipt = &body
		}
		if chain != "" && (row.Receipt == nil || row.ChainID != chain) {
			return nil
		}
		if len(out.Receipts) == limit {
			out.Next = rec.Seq
			return errPageFull
		}
		out.Receipts = append(out.Receipts, row)
		return nil
	})
	if err != nil && !errors.Is(err, errPageFull) {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, out)
}
