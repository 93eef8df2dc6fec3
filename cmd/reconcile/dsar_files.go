package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/pii"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/signing"
)

// dsarSource is what is searched for a subject.
type dsarSource struct {
	repo   *gitrepo.Repo
	path   string // of the spec
	state  string
	ledger string // "" for none
	live   func() *reconciler.Live
	now    time.Time
}

// standing is a place in a spec where the subject stands.
type standing struct {
	Where   string `json:"where"` // cohort, segment, tenant
	Feature string `json:"feature,omitempty"`
	Tenant  string `json:"tenant,omitempty"`
	Segment string `json:"segment,omitempty"`
	As      string `json:"as"` // the plain or the hashed form
}

// span is a standing and the generations in which it held.
type span struct {
	standing
	FromGeneration uint64    `json:"from_generation"`
	From           time.Time `json:"from"`
	ToGeneration   uint64    `json:"to_generation,omitempty"` // the first without it; none: it still holds
	To             time.Time `json:"to,omitzero"`
}

type decided struct {
	Feature string       `json:"feature"`
	Tenant  string       `json:"tenant"`
	On      bool         `json:"on"`
	Reason  flags.Reason `json:"reason"`
	Version string       `json:"version"`
	// Override says that a break-glass statement in force decides, and not the spec alone.
	Override bool `json:"override,omitempty"`
}

// gather makes the files of an answer, without its manifest.
func gather(ctx context.Context, src dsarSource, subject string, tenants []string) (map[string][]byte, error) {
	forms := []string{subject, pii.Hashed(subject)}
	files := map[string][]byte{}
	put := func(name string, v any) error {
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("encoding %s: %w", name, err)
		}
		files[name] = append(data, '\n')
		return nil
	}
	generations, err := reconciler.Generations(src.state)
	if err != nil && !errors.Is(err, reconciler.ErrNoState) {
		return nil, err
	}
	spans, spec, notes, err := src.spans(ctx, generations, forms)
	if err != nil {
		return nil, err
	}
	live := src.live()
	if live == nil || live.Spec == nil { // none runs here: what was accepted last, and what was laid over it
		if live, err = reconciler.Laid(src.state, spec, src.now); err != nil {
			return nil, err
		}
	}
	now := []standing{}
	decisions := []decided{}
	if live.Spec != nil {
		now = append(now, standings(live.Spec, forms)...)
		decisions = decide(live, subject, tenants, now)
	}
	receipts, count, err := src.receipts(forms)
	if err != nil {
		return nil, err
	}
	evidence, more, err := src.evidence(ctx, forms)
	if err != nil {
		return nil, err
	}
	notes = append(notes, more...)
	told, err := src.pushed(forms)
	if err != nil {
		return nil, err
	}
	if told != nil {
		if err := put("pushed.json", told); err != nil {
			return nil, err
		}
	}
	files["receipts.jsonl"] = receipts
	maps.Copy(files, evidence)
	return files, errors.Join(
		put("subject.json", map[string]any{"format": "dsar/v1", "subject": subject, "forms": forms, "generated_at": src.now.UTC().Format(time.RFC3339),
			"found": map[string]int{"standings": len(now), "past": len(spans), "receipts": count, "evidence": len(evidence)}, "notes": notes}),
		put("cohorts.json", now), put("history.json", spans), put("decisions.json", decisions), put("overrides.json", slices.Concat([]reconciler.InForce{}, live.Overrides)))
}

// standings finds a subject in a spec.
func standings(s *flags.Spec, forms []string) []standing {
	var out []standing
	in := func(members []string, at standing) {
		for _, m := range members {
			if slices.Contains(forms, m) {
				at.As = m
				out = append(out, at)
			}
		}
	}
	for _, name := range s.Segments() {
		members, _ := s.Segment(name)
		in(members, standing{Where: "segment", Segment: name})
	}
	for _, name := range s.Features() {
		f := s.Feature(name)
		if f.Own != nil {
			in(f.Own.Cohorts, standing{Where: "cohort", Feature: name, Tenant: flags.DefaultTenant})
		}
		for tenant, o := range f.Tenants() {
			in(o.Cohorts, standing{Where: "cohort", Feature: name, Tenant: tenant})
			if tenant == forms[0] {
				out = append(out, standing{Where: "tenant", Feature: name, Tenant: tenant, As: tenant})
			}
		}
	}
	return out
}

// spans follows the subject through every accepted spec that the repository still has.
func (src dsarSource) spans(ctx context.Context, all []reconciler.Generation, forms []string) (out []span, last *flags.Spec, notes []string, err error) {
	open := map[standing]int{}
	var dec flags.Decoder
	for _, g := range all {
		if err := ctx.Err(); err != nil {
			return nil, nil, nil, err
		}
		text, err := src.repo.ReadFile(ctx, g.Commit, src.path, maxSpec)
		if err != nil {
			notes = append(notes, fmt.Sprintf("generation %d: the repository no longer has commit %s", g.Number, g.Commit))
			continue
		}
		s, err := dec.Decode(src.path, text)
		if err != nil {
			notes = append(notes, fmt.Sprintf("generation %d: %v", g.Number, err))
			continue
		}
		last = s
		holds := map[standing]bool{}
		for _, st := range standings(s, forms) {
			holds[st] = true
			if _, ok := open[st]; !ok {
				open[st] = len(out)
				out = append(out, span{standing: st, FromGeneration: g.Number, From: g.At})
			}
		}
		for st, i := range open {
			if !holds[st] {
				out[i].ToGeneration, out[i].To = g.Number, g.At
				delete(open, st)
			}
		}
	}
	slices.SortFunc(out, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.FromGeneration, b.FromGeneration), cmp.Compare(a.Where, b.Where), cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Tenant, b.Tenant))
	})
	return out, last, notes, nil
}

// decide says what each flag decides for the subject, break-glass statements and all: under the tenants that were asked for,
// those that it stands under, and everybody else.
func decide(live *reconciler.Live, subject string, tenants []string, now []standing) []decided {
	under := append([]string{flags.DefaultTenant}, tenants...)
	for _, st := range now {
		if st.Tenant != "" {
			under = append(under, st.Tenant)
		}
	}
	slices.Sort(under)
	under = slices.Compact(under)
	out := []decided{}
	for _, name := range live.Spec.Features() {
		for _, tenant := range under {
			e, git := live.Entry(name, tenant), live.Spec.Feature(name).Entry(tenant)
			d := flags.Decide(&e, tenant, subject)
			out = append(out, decided{name, tenant, d.On, d.Reason, d.Version, e.Enabled != git.Enabled || e.Pct != git.Pct})
		}
	}
	return out
}

// receipts are the receipts that name the subject, a line each, as they were written.
func (src dsarSource) receipts(forms []string) ([]byte, int, error) {
	var out bytes.Buffer
	n := 0
	if src.ledger == "" {
		return nil, 0, nil
	}
	err := receipt.ScanFrom(src.ledger, 0, func(r receipt.Record) error {
		if names(r.Body, forms) {
			out.Write(r.Body)
			out.WriteByte('\n')
			n++
		}
		return nil
	})
	return out.Bytes(), n, err
}

// evidence are the files of evidence at the branch's head that name the subject.
func (src dsarSource) evidence(ctx context.Context, forms []string) (map[string][]byte, []string, error) {
	_, head := src.repo.Head()
	if head == "" {
		return nil, nil, nil
	}
	pattern := path.Join(path.Dir(src.path), "evidence", "*.json")
	found, err := src.repo.ReadGlob(ctx, head, pattern, 4<<20)
	if errors.Is(err, gitrepo.ErrTooLarge) {
		return nil, []string{"there are too many files of evidence to read at once: search " + path.Dir(pattern) + " in a checkout"}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	out := map[string][]byte{}
	for _, f := range found {
		if f.Err == nil && names(f.Data, forms) {
			out["evidence-"+path.Base(f.Path)] = f.Data
		}
	}
	return out, nil, nil
}

// names reports whether a JSON text holds one of the forms as a whole string, or as a word of one.
func names(text []byte, forms []string) bool {
	for _, form := range forms {
		quoted, err := json.Marshal(form)
		if err != nil {
			continue
		}
		inner := quoted[1 : len(quoted)-1]
		for rest := text; ; {
			i := bytes.Index(rest, inner)
			if i < 0 {
				break
			}
			end := i + len(inner)
			if (i == 0 || !wordByte(rest[i-1])) && (end == len(rest) || !wordByte(rest[end])) {
				return true
			}
			rest = rest[end:]
		}
	}
	return false
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '-' || c >= 0x80
}

// packFiles adds a signed manifest and zips everything. The same files give the same zip but for the signature.
func packFiles(ctx context.Context, files map[string][]byte, key *signing.Signer) ([]byte, error) {
	type entry struct {
		Name   string `json:"name"`
		Size   int    `json:"size"`
		Digest string `json:"digest"`
	}
	var list []entry
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256(files[name])
		list = append(list, entry{name, len(files[name]), "sha256:" + hex.EncodeToString(sum[:])})
	}
	manifest, err := json.MarshalIndent(map[string]any{"format": "dsar-manifest/v1", "files": list}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the manifest: %w", err)
	}
	manifest = append(manifest, '\n')
	bundle, err := key.Sign(ctx, manifest)
	if err != nil {
		return nil, fmt.Errorf("signing the manifest: %w", err)
	}
	files["manifest.json"], files["manifest.json.sigstore.json"] = manifest, bundle
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			return nil, fmt.Errorf("packing %s: %w", name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("packing the answer: %w", err)
	}
	return out.Bytes(), nil
}
