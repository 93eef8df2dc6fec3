package trust_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

func override(set ...trust.OverrideItem) *trust.Override {
	return &trust.Override{Environment: "prod", ID: strings.Repeat("0f", 16), Issued: now, Expires: now.Add(time.Hour), Reason: "receipts time out", Set: set}
}

func pct(p flags.Pct) *flags.Pct { return &p }

const brakes = `{
	"maintainer": {"signers": ["alice"], "may": ["*"]},
	"brake": {"signers": ["oncall"], "may": ["ramp.down", "disable"]},
	"slow": {"signers": ["slow"], "may": ["ramp.down"]},
	"team": {"signers": ["team"], "may": ["disable"], "features": ["pay-*"], "tenants": ["acme"]},
	"two": {"signers": ["dan", "eve"], "threshold": 2, "may": ["disable"]},
	"ramp": {"signers": ["bot"], "may": ["ramp.up", "cohort.add"]}}`

func TestAuthorizeOverride(t *testing.T) {
	p := policyWith(t, brakes, `"environment":"prod"`, `"override":{"max_ttl":"2h"}`)
	live := spec(t, "v1", `{"x":{"pct":50,"tenants":{"acme":{"pct":20},"off":{"enabled":false}}},"pay-card":{"pct":50},"dead":{"enabled":false}}`, `"environment":"prod"`)
	fresh := func(string) bool { return false }
	off := func(feature, tenant string) trust.OverrideItem {
		return trust.OverrideItem{Feature: feature, Tenant: tenant}
	}
	down := func(feature, tenant string, to flags.Pct) trust.OverrideItem {
		return trust.OverrideItem{Feature: feature, Tenant: tenant, Pct: pct(to)}
	}
	with := func(change func(*trust.Override)) *trust.Override { o := override(off("x", "")); change(o); return o }
	for _, tc := range []struct {
		name    string
		o       *trust.Override
		signers string
		used    func(string) bool
		want    trust.Reason
		says    string
	}{
		{"off, by the brake", override(off("x", "")), "oncall", fresh, trust.Authorized, ""},
		{"down, by the brake", override(down("x", "", 5000)), "oncall", fresh, trust.Authorized, ""},
		{"down, by who may only that", override(down("x", "", 5000)), "slow", fresh, trust.Authorized, ""},
		{"off, by who may only slow down", override(off("x", "")), "slow", fresh, trust.NotAuthorized, "no role of slow covers it"},
		{"by a maintainer", override(off("x", ""), off("pay-card", "acme")), "alice", fresh, trust.Authorized, ""},
		{"a team's own tenant", override(off("pay-card", "acme")), "team", fresh, trust.Authorized, ""},
		{"a team's feature for everybody", override(off("pay-card", "")), "team", fresh, trust.NotAuthorized, "does not reach there"},
		{"another's feature", override(off("x", "acme")), "team", fresh, trust.NotAuthorized, "does not reach there"},
		{"one of two", override(off("x", "")), "dan", fresh, trust.NotAuthorized, "needs 2 signers"},
		{"two of two", override(off("x", "")), "dan eve", fresh, trust.Authorized, ""},
		{"by the bot", override(off("x", "")), "bot", fresh, trust.NotAuthorized, "no role of bot covers it"},
		{"a part of it is not covered", override(off("pay-card", "acme"), off("x", "")), "team", fresh, trust.NotAuthorized, "x disable"},
		{"unsigned", override(off("x", "")), "", fresh, trust.Unsigned, "nobody"},
		{"by a stranger", override(off("x", "")), "mallory", fresh, trust.Unsigned, "nobody"},
		{"another environment's", with(func(o *trust.Override) { o.Environment = "staging" }), "alice", fresh, trust.WrongEnvironment, "staging"},
		{"no environment's", with(func(o *trust.Override) { o.Environment = "" }), "alice", fresh, trust.WrongEnvironment, ""},
		{"from the future", with(func(o *trust.Override) { o.Issued = now.Add(6 * time.Minute) }), "alice", fresh, trust.Expired, "still to come"},
		{"from a clock a little ahead", with(func(o *trust.Override) { o.Issued = now.Add(4 * time.Minute) }), "alice", fresh, trust.Authorized, ""},
		{"over", with(func(o *trust.Override) { o.Issued, o.Expires = now.Add(-time.Hour), now }), "alice", fresh, trust.Expired, "ended"},
		{"too long", with(func(o *trust.Override) { o.Expires = now.Add(3 * time.Hour) }), "alice", fresh, trust.Expired, "allows 2h"},
		{"again", override(off("x", "")), "alice", func(id string) bool { return id == strings.Repeat("0f", 16) }, trust.AlreadyUsed, ""},
		{"nobody remembers", override(off("x", "")), "alice", nil, trust.AlreadyUsed, ""},
		{"a typing error", override(off("recipts", "")), "alice", fresh, trust.Malformed, "no feature recipts"},
		{"off already", override(off("dead", "")), "alice", fresh, trust.Malformed, "off already"},
		{"off already for one", override(off("x", "off")), "alice", fresh, trust.Malformed, "off already"},
		{"up", override(down("x", "acme", 30000)), "alice", fresh, trust.Malformed, "only lowers"},
		{"to where it is", override(down("x", "acme", 20000)), "alice", fresh, trust.Malformed, "only lowers"},
		{"a tenant without an entry of its own", override(down("x", "new", 20000)), "alice", fresh, trust.Authorized, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := p.AuthorizeOverride(trust.OverrideRequest{Override: tc.o, Spec: live, Signers: strings.Fields(tc.signers), Now: now, Used: tc.used})
			if a.Reason != tc.want || (a.Verdict == trust.Allowed) != (tc.want == trust.Authorized) || !strings.Contains(a.Sentence(), tc.says) {
				t.Errorf("%v %s: %s, want %s %q", a.Verdict, a.Reason, a.Sentence(), tc.want, tc.says)
			}
		})
	}
}

// What is in force stays valid when git catches up with a part of it, and not when its
// signer is revoked.
func TestOverrideInForce(t *testing.T) {
	p := policyWith(t, brakes, `"environment":"prod"`)
	r := trust.OverrideRequest{
		Override: override(trust.OverrideItem{Feature: "x"}, trust.OverrideItem{Feature: "gone"}, trust.OverrideItem{Feature: "y"}),
		Spec:     spec(t, "v1", `{"x":{"enabled":false},"y":{}}`, `"environment":"prod"`),
		Signers:  []string{"oncall"}, Now: now, InForce: true,
	}
	if a := p.AuthorizeOverride(r); a.Verdict != trust.Allowed {
		t.Errorf("%s: %s", a.Reason, a.Sentence())
	}
	r.Now = now.Add(time.Hour)
	if a := p.AuthorizeOverride(r); a.Reason != trust.Expired {
		t.Errorf("%s: %s", a.Reason, a.Sentence())
	}
	r.Now = now
	if a := policyWith(t, `{"maintainer": {"signers": ["alice"], "may": ["*"]}}`, `"environment":"prod"`).AuthorizeOverride(r); a.Reason != trust.Unsigned {
		t.Errorf("%s: %s", a.Reason, a.Sentence())
	}
}

func TestOverrideLayer(t *testing.T) {
	live := spec(t, "v1", `{"x":{"pct":50,"cohorts":["A"],"tenants":{"acme":{"pct":20},"off":{"enabled":false}}},"y":{"pct":100}}`)
	key := func(f, tenant string) flags.Key { return flags.Key{Feature: f, Tenant: tenant} }
	got := override(trust.OverrideItem{Feature: "x", Pct: pct(30000)}, trust.OverrideItem{Feature: "x", Tenant: "new"}, trust.OverrideItem{Feature: "gone"}).Entries(live)
	if len(got) != 2 || got[key("x", "__default__")].Pct != 30000 || !got[key("x", "__default__")].Enabled ||
		got[key("x", "new")].Enabled || len(got[key("x", "new")].Cohorts) != 1 {
		t.Errorf("Entries = %+v", got)
	}
	// Once git says the same, there is nothing left to do.
	same := spec(t, "v1+ramp.1", `{"x":{"enabled":false,"pct":50},"y":{"pct":100}}`)
	if got := override(trust.OverrideItem{Feature: "x"}).Entries(same); len(got) != 0 {
		t.Errorf("Entries = %+v", got)
	}
	o := override(trust.OverrideItem{Feature: "x", Tenant: "acme"}, trust.OverrideItem{Feature: "y", Pct: pct(500)})
	if s := o.String(); s != "x of acme off, y down to 0.5 until 2026-11-22T13:00:00Z" {
		t.Errorf("String = %q", s)
	}
	for at, want := range map[time.Duration]bool{-time.Hour: false, 0: true, time.Hour - 1: true, time.Hour: false} {
		if o.ActiveAt(now.Add(at)) != want {
			t.Errorf("ActiveAt(%v) = %v", at, !want)
		}
	}
}

func TestParseOverrideRefuses(t *testing.T) {
	good, err := override(trust.OverrideItem{Feature: "x", Tenant: "acme"}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if o, err := trust.ParseOverride("o.json", good); err != nil || o.String() != override(trust.OverrideItem{Feature: "x", Tenant: "acme"}).String() || o.ID != strings.Repeat("0f", 16) {
		t.Fatalf("ParseOverride = %v, %v", o, err)
	}
	for name, change := range map[string][2]string{
		"on":              {`"off":true`, `"off":false`},
		"enabled":         {`"off":true`, `"off":true,"enabled":true`},
		"off and down":    {`"off":true`, `"off":true,"pct":5`},
		"neither":         {`,"off":true`, ``},
		"above 100":       {`"off":true`, `"pct":101`},
		"below 0":         {`"off":true`, `"pct":-1`},
		"nothing":         {`"set":[`, `"set":[],"x":[`},
		"no end":          {`"expires":"2026-11-22T13:00:00Z",`, ``},
		"ends at once":    {`T13:00:00Z`, `T12:00:00Z`},
		"local time":      {`T13:00:00Z`, `T13:00:00+01:00`},
		"no such day":     {`"expires":"2026-11-22`, `"expires":"2026-02-30`},
		"no id":           {`"id":"0f`, `"id":"xy`},
		"no reason":       {`"receipts time out"`, `""`},
		"another format":  {`override/v1`, `override/v2`},
		"a name in a key": {`"acme"`, `"ac:me"`},
		"twice":           {`"off":true}`, `"off":true},{"feature":"x","tenant":"acme","pct":5}`},
		"a field twice":   {`"off":true`, `"off":true,"off":true`},
	} {
		if !strings.Contains(string(good), change[0]) {
			t.Fatalf("%s: %q is not in %s", name, change[0], good)
		}
		if o, err := trust.ParseOverride("o.json", []byte(strings.Replace(string(good), change[0], change[1], 1))); err == nil || o != nil {
			t.Errorf("%s: %v, %v", name, o, err)
		}
	}
	if _, err := override().Encode(); err == nil {
		t.Error("an empty statement was written")
	}
}

// A sealed statement is checked by us and, taken apart with jq's means, by cosign.
func TestSealed(t *testing.T) {
	p := policyWith(t, brakes)
	o := override(trust.OverrideItem{Feature: "x"})
	o.Environment = ""
	text, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := signer(t, "oncall").Sign(context.Background(), text)
	if err != nil {
		t.Fatal(err)
	}
	file, err := trust.Sealed{Statement: text, Bundles: [][]byte{bundle}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := trust.ParseSealed("sealed.json", file)
	if err != nil {
		t.Fatal(err)
	}
	if string(s.Statement) != string(text) {
		t.Errorf("statement = %q", s.Statement)
	}
	if got := s.Verify(p, signing.Options{}).Signers(); len(got) != 1 || got[0] != "oncall" {
		t.Errorf("Signers = %q", got)
	}
	changed := s
	changed.Statement = []byte(strings.Replace(string(text), `"x"`, `"y"`, 1))
	if got := changed.Verify(p, signing.Options{}).Signers(); len(got) != 0 {
		t.Errorf("of a changed statement: %q", got)
	}
	for _, bad := range []string{``, `{}`, `{"format":"sealed/v1","statement":"{}","bundles":[]}`, `{"format":"sealed/v1","statement":"{}","bundles":["x"]}`} {
		if _, err := trust.ParseSealed("sealed.json", []byte(bad)); err == nil {
			t.Errorf("ParseSealed(%s) accepts it", bad)
		}
	}

	cosign := os.Getenv("COSIGN")
	if cosign == "" {
		if cosign, err = exec.LookPath("cosign"); err != nil {
			t.Skip("no cosign on the PATH and none in $COSIGN: the rest was checked")
		}
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"s.json": s.Statement, "s.bundle": s.Bundles[0], "k.pub": signer(t, "oncall").Public().PEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(cosign, "verify-blob", "--key", "k.pub", "--bundle", "s.bundle", "--insecure-ignore-tlog", "s.json")
	cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAcceptHistory(t *testing.T) {
	p := policyWith(t, brakes, `"environment":"prod"`)
	from, to := strings.Repeat("a", 40), strings.Repeat("b", 40)
	h := &trust.AcceptHistory{Environment: "prod", ID: trust.NewID(), Issued: now, From: from, To: to, Reason: "moved"}
	text, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := trust.ParseAcceptHistory("h.json", text); err != nil || *again != *h {
		t.Fatalf("ParseAcceptHistory = %+v, %v", again, err)
	}
	if _, err := (&trust.AcceptHistory{Environment: "prod", ID: trust.NewID(), Issued: now, From: from, To: "HEAD", Reason: "moved"}).Encode(); err == nil {
		t.Error("a name for a commit was written")
	}
	for _, tc := range []struct {
		name, last, signers string
		at                  time.Time
		want                trust.Reason
	}{
		{"a maintainer", from, "alice", now, trust.Authorized},
		{"the brake", from, "oncall", now, trust.NotAuthorized},
		{"nobody", from, "", now, trust.NotAuthorized},
		{"history has gone on", to, "alice", now, trust.AlreadyUsed},
		{"too late", from, "alice", now.Add(24 * time.Hour), trust.Expired},
		{"too early", from, "alice", now.Add(-time.Hour), trust.Expired},
	} {
		if a := p.AuthorizeHistory(h, tc.last, strings.Fields(tc.signers), tc.at); a.Reason != tc.want || (a.Verdict == trust.Allowed) != (tc.want == trust.Authorized) {
			t.Errorf("%s: %v %s: %s", tc.name, a.Verdict, a.Reason, a.Sentence())
		}
	}
	if a := policyWith(t, brakes, `"environment":"staging"`).AuthorizeHistory(h, from, []string{"alice"}, now); a.Reason != trust.WrongEnvironment {
		t.Errorf("another environment: %s", a.Reason)
	}
}
