package trust

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/signing"
)

// What trust.json says, in its own shape (schema/trust.schema.json).
type (
	policyFile struct {
		Schema              string                `json:"$schema"`
		Description         string                `json:"description"`
		Version             int                   `json:"version"`
		Previous            string                `json:"previous"`
		Environment         string                `json:"environment"`
		Signers             map[string]signerFile `json:"signers"`
		Roles               map[string]roleFile   `json:"roles"`
		Rollback            rollbackFile          `json:"rollback"`
		Limits              limitsFile            `json:"limits"`
		Override            overrideFile          `json:"override"`
		RequirePrevious     bool                  `json:"require_previous"`
		LegacyReaders       bool                  `json:"legacy_readers"`
		RequireSignedCommit bool                  `json:"require_signed_commit"`
		PII                 jsontext.Value        `json:"pii"`
	}
	signerFile struct {
		Description    string   `json:"description"`
		Key            string   `json:"key"`
		Keys           []string `json:"keys"`
		Issuer         string   `json:"issuer"`
		Subject        string   `json:"subject"`
		SubjectPattern string   `json:"subject_pattern"`
		SSH            []string `json:"ssh"`
		PGP            string   `json:"pgp"`
		Expires        string   `json:"expires"`
	}
	roleFile struct {
		Description    string       `json:"description"`
		Signers        []string     `json:"signers"`
		Threshold      int          `json:"threshold"`
		May            []flags.Kind `json:"may"`
		Features       []string     `json:"features"`
		Tenants        []string     `json:"tenants"`
		MaxStep        *flags.Pct   `json:"max_step"`
		MaxPct         *flags.Pct   `json:"max_pct"`
		MinInterval    string       `json:"min_interval"`
		Evidence       string       `json:"evidence"`
		MaxEvidenceAge string       `json:"max_evidence_age"`
	}
	rollbackFile struct {
		MaxGenerations *int   `json:"max_generations"`
		MaxAge         string `json:"max_age"`
		Raise          bool   `json:"raise"`
	}
	limitsFile struct {
		MaxRemoved         *int     `json:"max_removed"`
		MaxRemovedFraction *float64 `json:"max_removed_fraction"`
	}
	overrideFile struct {
		MaxTTL string `json:"max_ttl"`
	}
)

// What a policy means where it says nothing.
const (
	defaultGenerations = 20
	defaultAge         = 720 * time.Hour
	defaultEvidenceAge = 24 * time.Hour
	defaultOverrideTTL = 24 * time.Hour
)

// Parse reads a trust policy strictly. file is only used in errors, which are
// [schema.Errors]: an unknown field, a role that names nobody, a key that stands
// under two names and the like are all refused, each with its place in the file.
func Parse(file string, src []byte) (*Policy, error) {
	var f policyFile
	if err := schema.Decode("trust", file, src, &f); err != nil {
		return nil, err
	}
	var b builder
	p := b.policy(f)
	report := schema.NewReport(file, src)
	report.AddProblems(0, "", b.problems)
	if err := report.Err(); err != nil {
		return nil, err
	}
	p.digest = digestOf(src)
	return p, nil
}

// builder turns the file's shape into a policy and gathers, on the way, every error
// that a JSON Schema cannot see.
type builder struct{ problems []schema.Problem }

func (b *builder) fail(pointer, hint, format string, args ...any) {
	b.problems = append(b.problems, schema.Problem{Pointer: pointer, Problem: fmt.Sprintf(format, args...), Hint: hint})
}

func (b *builder) policy(f policyFile) *Policy {
	p := &Policy{
		Version:             f.Version,
		Previous:            f.Previous,
		Environment:         f.Environment,
		RequirePrevious:     f.RequirePrevious,
		LegacyReaders:       f.LegacyReaders,
		RequireSignedCommit: f.RequireSignedCommit,
		PII:                 b.pii(f.PII),
		Rollback: Rollback{
			MaxGenerations: defaultGenerations,
			MaxAge:         b.duration("/rollback/max_age", f.Rollback.MaxAge, defaultAge),
			Raise:          f.Rollback.Raise,
		},
		Limits:      Limits(f.Limits),
		OverrideTTL: b.duration("/override/max_ttl", f.Override.MaxTTL, defaultOverrideTTL),
		signers:     map[string]*Signer{},
	}
	if f.Rollback.MaxGenerations != nil {
		p.Rollback.MaxGenerations = *f.Rollback.MaxGenerations
	}
	for _, name := range slices.Sorted(maps.Keys(f.Signers)) {
		p.Signers = append(p.Signers, b.signer(name, f.Signers[name]))
	}
	for i := range p.Signers {
		p.signers[p.Signers[i].Name] = &p.Signers[i]
	}
	b.oneVoteEach(p.Signers)
	for _, name := range slices.Sorted(maps.Keys(f.Roles)) {
		p.Roles = append(p.Roles, b.role(p, name, f.Roles[name]))
	}
	return p
}

func (b *builder) signer(name string, f signerFile) Signer {
	at := "/signers/" + escape(name)
	s := Signer{Name: name, SSH: f.SSH, PGP: f.PGP}
	if f.Key != "" {
		b.key(&s, at+"/key", f.Key)
	}
	for i, pem := range f.Keys {
		b.key(&s, fmt.Sprintf("%s/keys/%d", at, i), pem)
	}
	if f.Issuer != "" {
		s.Keyless = b.keyless(at, f)
	}
	if f.Expires != "" {
		var err error
		if s.Expires, err = parseTime(f.Expires); err != nil {
			b.fail(at+"/expires", `write a date ("2027-03-01") or an RFC 3339 time`, "%q is not a date", f.Expires)
		}
	}
	for i, line := range f.SSH {
		if strings.ContainsAny(line, "\n\r") || !strings.Contains(line, " ") {
			b.fail(fmt.Sprintf("%s/ssh/%d", at, i), `write one line of a .pub file: "ssh-ed25519 AAAA…"`, "not an SSH public key")
		}
	}
	if f.PGP != "" && strings.Count(f.PGP, "-----BEGIN PGP PUBLIC KEY BLOCK-----") != 1 {
		b.fail(at+"/pgp", "export it: gpg --armor --export KEYID", "not one armored PGP public key block")
	}
	return s
}

func (b *builder) key(s *Signer, at, pem string) {
	key, err := signing.ParsePublicKey([]byte(pem))
	if err != nil {
		hint := "paste the whole .pub file, line ends as \\n"
		if strings.Contains(pem, "PRIVATE KEY") {
			hint = "a private key must never stand here: replace it everywhere it was used, and paste the .pub file"
		}
		b.fail(at, hint, "%v", err)
		return
	}
	if slices.ContainsFunc(s.Keys, key.Equal) {
		b.fail(at, "leave one of them out", "the same key stands here twice")
		return
	}
	s.Keys = append(s.Keys, key)
}

func (b *builder) keyless(at string, f signerFile) *signing.Keyless {
	k := &signing.Keyless{Issuer: f.Issuer, Subject: f.Subject}
	switch {
	case f.Subject != "" && f.SubjectPattern != "":
		b.fail(at+"/subject_pattern", "keep one of the two", "both subject and subject_pattern are given")
	case f.Subject == "" && f.SubjectPattern == "":
		b.fail(at+"/issuer", "add the subject, as in https://github.com/ORG/REPO/.github/workflows/FILE.yml@refs/heads/main",
			"an issuer without a subject would trust everyone whom it knows")
	case f.SubjectPattern != "":
		var err error
		if k.Pattern, err = signing.NewPattern(f.SubjectPattern); err != nil {
			b.fail(at+"/subject_pattern", "see https://golang.org/s/re2syntax", "%v", err)
		} else if k.Pattern.MatchString("") || k.Pattern.MatchString("https://anybody.example/?x") {
			b.fail(at+"/subject_pattern", "name at least the host and the organisation", "the pattern matches anybody")
		}
	}
	return k
}

// oneVoteEach refuses a key or a keyless identity under two names: whoever held it
// would count twice towards a threshold.
func (b *builder) oneVoteEach(signers []Signer) {
	owner := map[string]string{}
	claim := func(s *Signer, what, id, at string) {
		if other, taken := owner[id]; taken && other != s.Name {
			b.fail(at, "list it under one name: a person is one vote, however many keys they have",
				"%s %s is %s's as well", s.Name+"'s", what, other)
		}
		owner[id] = s.Name
	}
	for i := range signers {
		s := &signers[i]
		at := "/signers/" + escape(s.Name)
		for _, k := range s.Keys {
			claim(s, "key", k.ID(), at)
		}
		if s.Keyless != nil {
			claim(s, "identity", s.Keyless.Issuer+" "+s.Keyless.Subject+" "+fmt.Sprint(s.Keyless.Pattern), at)
		}
	}
	// A pattern may cover somebody else's exact subject.
	for i := range signers {
		for j := range signers {
			a, c := signers[i].Keyless, signers[j].Keyless
			if i != j && a != nil && c != nil && a.Issuer == c.Issuer && a.Pattern != nil && c.Pattern == nil && a.Pattern.MatchString(c.Subject) {
				b.fail("/signers/"+escape(signers[i].Name)+"/subject_pattern", "narrow the pattern",
					"the pattern also matches %s's subject", signers[j].Name)
			}
		}
	}
}

func (b *builder) role(p *Policy, name string, f roleFile) Role {
	at := "/roles/" + escape(name)
	r := Role{
		Name:        name,
		Threshold:   max(f.Threshold, 1),
		May:         f.May,
		Features:    f.Features,
		Tenants:     f.Tenants,
		MaxStep:     f.MaxStep,
		MaxPct:      f.MaxPct,
		MinInterval: b.duration(at+"/min_interval", f.MinInterval, 0),
		Evidence:    f.Evidence == "required",
		EvidenceAge: b.duration(at+"/max_evidence_age", f.MaxEvidenceAge, defaultEvidenceAge),
	}
	for i, who := range f.Signers {
		switch {
		case p.signers[who] == nil:
			b.fail(fmt.Sprintf("%s/signers/%d", at, i), "signers are: "+strings.Join(slices.Sorted(maps.Keys(p.signers)), ", "), "%q is not a signer", who)
		case slices.Contains(r.Signers, who):
			b.fail(fmt.Sprintf("%s/signers/%d", at, i), "leave one of them out", "%q stands here twice", who)
		default:
			r.Signers = append(r.Signers, who)
		}
	}
	if r.Threshold > len(f.Signers) {
		b.fail(at+"/threshold", "lower it, or add signers", "%d of %d signers can never be reached", r.Threshold, len(f.Signers))
	}
	if len(r.May) == 0 && name != string(Evidence) {
		b.fail(at, `say what it may do, as in "may": ["ramp.up", "ramp.down"]`, "role %q may do nothing", name)
	}
	b.globs(at+"/features", r.Features)
	b.globs(at+"/tenants", r.Tenants)
	return r
}

func (b *builder) globs(at string, globs []string) {
	for i, g := range globs {
		if _, err := path.Match(g, ""); err != nil {
			b.fail(fmt.Sprintf("%s/%d", at, i), "* is any run of characters, ? is one, [a-z] is one of a range", "%q is not a pattern", g)
		}
	}
}

func (b *builder) duration(at, s string, zero time.Duration) time.Duration {
	if s == "" {
		return zero
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		b.fail(at, `write it like "90m" or "720h"`, "%q is not a span of time above zero", s)
		return zero
	}
	return d
}

// parseTime reads a date, meaning its first moment in UTC, or an RFC 3339 time.
func parseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339, s)
}

// pii reads "deny", or an object with the mode and lists.
func (b *builder) pii(raw jsontext.Value) PII {
	out := PII{Mode: "warn"}
	switch raw.Kind() {
	case '"':
		if err := json.Unmarshal(raw, &out.Mode); err != nil {
			b.fail("/pii", "", "%v", err)
		}
	case '{':
		var f struct {
			Mode  string   `json:"mode"`
			Allow []string `json:"allow"`
			Deny  []string `json:"deny"`
		}
		if err := json.Unmarshal(raw, &f); err != nil {
			b.fail("/pii", "", "%v", err)
		}
		out = PII(f)
	}
	return out
}

// escape writes name as one part of a JSON pointer (RFC 6901).
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
