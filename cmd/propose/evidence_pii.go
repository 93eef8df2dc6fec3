package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/pii"
	"github.com/rampart-flags/rampart/trust"
)

// piiRules are the policy's; without one the mode is "warn", as for a policy that says nothing.
func piiRules(policy *trust.Policy) (pii.Rules, string) {
	if policy == nil {
		return pii.Rules{}, "warn"
	}
	return pii.Rules{Allow: policy.PII.Allow, Deny: policy.PII.Deny}, policy.PII.Mode
}

// maxEvidenceFile is how large a file of evidence may be, in bytes; the reconciler reads no larger ones.
const maxEvidenceFile = 8 << 20

// evidenceFiles looks through the files of evidence beside a spec.
func (a *app) evidenceFiles(spec string, rules pii.Rules) ([]pii.Hit, error) {
	paths, err := filepath.Glob(filepath.Join(escapeGlob(filepath.Dir(spec)), "evidence", "*.json"))
	if err != nil {
		return nil, fmt.Errorf("looking for evidence: %w", err)
	}
	var hits []pii.Hit
	for _, path := range paths {
		if strings.HasSuffix(path, ".sigstore.json") {
			continue
		}
		src, err := a.readFile(path, maxEvidenceFile)
		if err != nil {
			return nil, fmt.Errorf("reading evidence: %w", err)
		}
		hits = append(hits, pii.Document(filepath.ToSlash(path), src, rules)...)
	}
	return hits, nil
}

func escapeGlob(dir string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(dir)
}

// checkCollected warns of personal data in what was collected, before it is written. A ramp decides what becomes of it: what is
// red must be seen whatever else it says.
func (a *app) checkCollected(policyPath, name string, doc []byte) error {
	policy, _, err := a.readTrust(policyPath)
	if err != nil {
		return err
	}
	rules, mode := piiRules(policy)
	if mode == "off" {
		return nil
	}
	if name == "-" {
		name = "what was collected"
	}
	hits := pii.Document(name, doc, rules)
	a.warnPersonal(name, hits)
	if len(hits) > 0 && mode == "deny" {
		a.env.Talk("%s: the policy forbids personal data: propose ramp will raise nothing by this", name)
	}
	return nil
}

// cleanRecord says whether the evidence of a run may be kept. What is found is told; under a policy that denies it, it may not.
func (r *rampRun) cleanRecord(record []byte) (bool, error) {
	policy, _, err := r.readTrust(r.s.sign.trust)
	if err != nil {
		return false, err
	}
	rules, mode := piiRules(policy)
	if mode == "off" {
		return true, nil
	}
	hits := pii.Document("the evidence of this run", record, rules)
	if !r.json && !r.warned { // a run may keep its evidence in two places, and try more than once
		r.warned = true
		r.warnPersonal(displayName(r.file), hits)
	}
	return len(hits) == 0 || mode != "deny", nil
}

// guardRecord refuses to commit evidence that the policy forbids, unless the run lowers something: a way down is never held up.
func (r *rampRun) guardRecord(p *rampProposal) error {
	clean, err := r.cleanRecord(p.record)
	if err != nil || clean {
		return err
	}
	lowers := slices.ContainsFunc(flags.Diff(p.cur, p.next), func(c flags.Change) bool { return c.Kind == flags.RampDown || c.Kind == flags.Disable })
	if lowers {
		r.env.Talk("%s: committed all the same, for it lowers something", displayName(r.file))
		return nil
	}
	return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("%s: personal data in the evidence of this run, which the policy forbids", displayName(r.file)),
		"name nobody in tenants, alerts and labels where it is measured; what is none: name it in the policy's pii.allow"))
}
