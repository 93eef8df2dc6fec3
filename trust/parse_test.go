package trust_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

const whole = `{
  "$schema": "../schema/trust.schema.json",
  "description": "who may change flags in prod",
  "version": 3,
  "previous": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
  "environment": "prod",
  "signers": {
    "alice": { "keys": [«alice», «alice2»], "expires": "2027-03-01", "ssh": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJt alice"] },
    "bob": { "key": «bob» },
    "ramp-bot": { "issuer": "https://token.actions.githubusercontent.com",
                  "subject": "https://github.com/acme/flags/.github/workflows/ramp.yml@refs/heads/main" },
    "collector": { "issuer": "https://token.actions.githubusercontent.com",
                   "subject_pattern": "https://github\\.com/acme/flags/\\.github/workflows/collect\\.yml@refs/heads/.+" }
  },
  "roles": {
    "maintainer": { "signers": ["alice", "bob"], "threshold": 2, "may": ["*"] },
    "ramp": { "signers": ["ramp-bot"], "may": ["ramp.up", "ramp.down"], "features": ["pay-*"], "tenants": ["acme"],
              "max_step": 12.5, "max_pct": 50, "min_interval": "1h30m", "evidence": "required", "max_evidence_age": "2h" },
    "evidence": { "signers": ["collector"] }
  },
  "rollback": { "max_generations": 5, "max_age": "48h", "raise": true },
  "limits": { "max_removed": 10, "max_removed_fraction": 0.1 },
  "override": { "max_ttl": "4h" },
  "require_previous": true, "legacy_readers": true, "require_signed_commit": true,
  "pii": { "mode": "deny", "allow": ["user-*"] }
}`

func TestParse(t *testing.T) {
	src := document(t, whole)
	p, err := trust.Parse("trust.json", src)
	if err != nil {
		t.Fatal(err)
	}
	if p.Version != 3 || p.Environment != "prod" || !strings.HasPrefix(p.Previous, "sha256:0123") || p.PII.Mode != "deny" || p.PII.Allow[0] != "user-*" ||
		!p.RequirePrevious || !p.LegacyReaders || !p.RequireSignedCommit || p.OverrideTTL != 4*time.Hour {
		t.Errorf("Parse = %+v", p)
	}
	if p.Rollback != (trust.Rollback{MaxGenerations: 5, MaxAge: 48 * time.Hour, Raise: true}) || *p.Limits.MaxRemoved != 10 || *p.Limits.MaxRemovedFraction != 0.1 {
		t.Errorf("Rollback = %+v, Limits = %+v", p.Rollback, p.Limits)
	}
	ids := p.Identities()
	if len(ids) != 4 || ids[0].Name != "alice" || len(ids[0].Keys) != 2 || ids[2].Keyless.Pattern == nil || ids[3].Keyless.Subject == "" {
		t.Errorf("Identities = %+v", ids)
	}
	if !p.Signers[0].Expires.Equal(time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)) || len(p.Signers[0].SSH) != 1 {
		t.Errorf("alice = %+v", p.Signers[0])
	}
	ramp := p.Roles[2]
	if ramp.Name != "ramp" || *ramp.MaxStep != 12500 || *ramp.MaxPct != 50000 || ramp.MinInterval != 90*time.Minute || !ramp.Evidence || ramp.EvidenceAge != 2*time.Hour {
		t.Errorf("ramp = %+v", ramp)
	}
	if p.Digest() != signing.NewArtifact(src).Digest() {
		t.Errorf("Digest = %s", p.Digest())
	}
	if strings.Join(p.RolesOf("alice"), " ") != "maintainer" || !p.MaySignEvidence([]string{"collector"}, now) || p.MaySignEvidence([]string{"ramp-bot", "alice"}, now) {
		t.Error("roles")
	}
}

// design.md's own example, and the least that a policy may say.
func TestParseDefaults(t *testing.T) {
	p := policy(t, `{"version":1,"signers":{"alice":{"key":«alice»}},"roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}`)
	if p.Rollback != (trust.Rollback{MaxGenerations: 20, MaxAge: 720 * time.Hour}) || p.Limits != (trust.Limits{}) ||
		p.Roles[0].Threshold != 1 || p.OverrideTTL != 24*time.Hour || p.PII.Mode != "warn" {
		t.Errorf("Parse = %+v", p)
	}
}

// Each case is the whole policy with one thing wrong; the error names file, line and
// pointer, and says what to do.
func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, old, with string
		pointer, says   string
	}{
		{"unknown field", `"pii": {`, `"piii": 1, "pii": {`, "/piii", "piii"},
		{"case of a field", `"version": 3`, `"Version": 3`, "", ""},
		{"field twice", `"version": 3,`, `"version": 3, "version": 4,`, "/version", "duplicate"},
		{"version zero", `"version": 3`, `"version": 0`, "/version", ""},
		{"version as text", `"version": 3`, `"version": "3"`, "/version", ""},
		{"no roles", `"roles": {`, `"rules": {`, "", ""},
		{"unknown kind", `"ramp.up", "ramp.down"`, `"ramp.up", "ramp.sideways"`, "/roles/ramp/may/1", ""},
		{"other by name", `"ramp.up", "ramp.down"`, `"ramp.up", "other"`, "/roles/ramp/may/1", ""},
		{"kinds by pattern", `"ramp.up", "ramp.down"`, `"ramp.*"`, "/roles/ramp/may/0", ""},
		{"unknown signer", `["alice", "bob"]`, `["alice", "bobby"]`, "/roles/maintainer/signers/1", `"bobby" is not a signer`},
		{"signer twice", `["alice", "bob"]`, `["alice", "alice"]`, "/roles/maintainer/signers/1", "twice"},
		{"threshold too high", `"threshold": 2`, `"threshold": 3`, "/roles/maintainer/threshold", "3 of 2"},
		{"threshold zero", `"threshold": 2`, `"threshold": 0`, "/roles/maintainer/threshold", ""},
		{"may nothing", `"threshold": 2, "may": ["*"]`, `"threshold": 2`, "/roles/maintainer", "may do nothing"},
		{"key under two names", `"key": «bob»`, `"key": «alice2»`, "/signers/bob", "alice's as well"},
		{"key twice", `[«alice», «alice2»]`, `[«alice», «alice»]`, "/signers/alice/keys/1", "twice"},
		{"identity under two names", `"key": «bob»`, `"issuer": "https://token.actions.githubusercontent.com", "subject": "https://github.com/acme/flags/.github/workflows/ramp.yml@refs/heads/main"`, "/signers/ramp-bot", "bob's as well"},
		{"pattern over another's subject", `collect\\.yml@refs/heads/.+`, `[a-z]+\\.yml@refs/heads/.+`, "/signers/collector/subject_pattern", "ramp-bot"},
		{"pattern for anybody", `https://github\\.com/acme/flags/\\.github/workflows/collect\\.yml@refs/heads/.+`, `.*`, "/signers/collector/subject_pattern", "anybody"},
		{"broken pattern", `collect\\.yml@refs/heads/.+`, `(`, "/signers/collector/subject_pattern", "missing closing"},
		{"pattern that breaks out", `collect\\.yml@refs/heads/.+`, `a)|(b`, "/signers/collector/subject_pattern", "unexpected )"},
		{"subject and pattern", `"subject_pattern"`, `"subject": "x", "subject_pattern"`, "/signers/collector/subject_pattern", "both"},
		{"issuer alone", `"subject_pattern": "https://github\\.com/acme/flags/\\.github/workflows/collect\\.yml@refs/heads/.+"`, `"description": ""`, "/signers/collector", "missing"},
		{"issuer beside a key", `"key": «bob»`, `"key": «bob», "issuer": "https://accounts.google.com"`, "/signers/bob/issuer", "everyone"},
		{"neither key nor issuer", `"key": «bob»`, `"ssh": ["ssh-ed25519 AAAA bob"]`, "/signers/bob", ""},
		{"rubbish for a key", `"key": «bob»`, `"key": "hello"`, "/signers/bob/key", "no PEM"},
		{"no date", `"2027-03-01"`, `"2027-13-01"`, "/signers/alice/expires", "not a date"},
		{"an ssh key of two lines", `AAAAC3NzaC1lZDI1NTE5AAAAIJt alice`, `AAAA\nssh-ed25519 BBBB`, "/signers/alice/ssh/0", "not an SSH"},
		{"no duration", `"1h30m"`, `"soon"`, "/roles/ramp/min_interval", ""},
		{"no time at all", `"1h30m"`, `"0s"`, "/roles/ramp/min_interval", "above zero"},
		{"broken glob", `"pay-*"`, `"pay-["`, "/roles/ramp/features/0", "not a pattern"},
		{"step beyond 100", `"max_step": 12.5`, `"max_step": 101`, "/roles/ramp/max_step", ""},
		{"step of nothing", `"max_step": 12.5`, `"max_step": 0.00001`, "/roles/ramp/max_step", ""},
		{"evidence sometimes", `"required"`, `"sometimes"`, "/roles/ramp/evidence", ""},
		{"a name with a slash", `"bob": { "key"`, `"b/b": { "key"`, "", ""},
		{"trailing data", `["user-*"] }
}`, `["user-*"] }
}{}`, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(whole, tc.old) {
				t.Fatalf("%q is not in the policy", tc.old)
			}
			p, err := trust.Parse("trust.json", document(t, strings.Replace(whole, tc.old, tc.with, 1)))
			var errs schema.Errors
			if !errors.As(err, &errs) || p != nil {
				t.Fatalf("Parse = %v, %v", p, err)
			}
			found := false
			for _, e := range errs {
				if e.File != "trust.json" || e.Line < 1 || e.Column < 1 {
					t.Errorf("without its place: %+v", e)
				}
				found = found || e.Pointer == tc.pointer && strings.Contains(e.Problem, tc.says)
			}
			if !found && tc.pointer+tc.says != "" {
				t.Errorf("%v\ndoes not say %q at %s", err, tc.says, tc.pointer)
			}
		})
	}
}

func TestParseNamesALine(t *testing.T) {
	_, err := trust.Parse("trust.json", document(t, strings.Replace(whole, `["alice", "bob"]`, `["alice", "bobby"]`, 1)))
	if err == nil || !strings.HasPrefix(err.Error(), "trust.json:16:") {
		t.Errorf("err = %v", err)
	}
}

func TestPrivateKeyInAPolicy(t *testing.T) {
	priv, _, err := signing.GenerateKey(signing.ECDSAP256, nil)
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(string(priv))
	if err != nil {
		t.Fatal(err)
	}
	_, err = trust.Parse("trust.json", document(t, strings.Replace(whole, `«bob»`, string(quoted), 1)))
	if err == nil || !strings.Contains(err.Error(), "private key must never stand here") || strings.Contains(err.Error(), string(priv[50:80])) {
		t.Errorf("err = %v", err)
	}
}
