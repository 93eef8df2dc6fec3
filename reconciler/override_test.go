package reconciler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/trust"
)

const withBrake = `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]},
	"brake":{"signers":["bob"],"may":["disable","ramp.down"]},"ramp":{"signers":["bot"],"may":["ramp.up"]}}}`

// seal is a statement of an hour, signed by these.
func (w *world) seal(set []trust.OverrideItem, signers ...string) []byte {
	w.t.Helper()
	now := w.r.now().UTC().Truncate(time.Second)
	o := &trust.Override{Environment: w.r.trust.policy.Environment, ID: trust.NewID(), Issued: now, Expires: now.Add(time.Hour), Reason: "time-outs", Set: set}
	text, err := o.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	s := trust.Sealed{Statement: text}
	for _, name := range signers {
		s.Bundles = append(s.Bundles, w.Keys[name].Bundle(text))
	}
	src, err := s.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	return src
}

// is fails the test unless the store holds this for the entry: "off", a percentage, or
// "" for none.
func (w *world) is(feature, tenant, want string) {
	w.t.Helper()
	values, err := w.store.Read(context.Background(), []flags.Key{{Feature: feature, Tenant: tenant}})
	if err != nil {
		w.t.Fatal(err)
	}
	got := ""
	if values[0] != nil {
		e, err := flags.ParseEntry(values[0])
		if err != nil {
			w.t.Fatal(err)
		}
		if got = e.Pct.String(); !e.Enabled {
			got = "off"
		}
	}
	if got != want {
		w.t.Errorf("%s of %s is %q, want %q", feature, tenant, got, want)
	}
}

func TestOverride(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, flagtest.Redis(t), withBrake)
	w.release("flags-v1", "receipts", 10, "attest", 20)
	w.pass()
	if err := os.Rename(w.Repo.Origin, w.Repo.Origin+".away"); err != nil {
		t.Fatal(err)
	}
	w.fail = errors.New("the ledger is full") // no reason to leave something on
	w.events = nil
	off := w.seal([]trust.OverrideItem{{Feature: "receipts", Tenant: "acme"}}, "bob")
	in, err := w.r.Override(ctx, off)
	if err != nil {
		t.Fatal(err)
	}
	w.is("receipts", "acme", "off") // at once
	w.is("receipts", flags.DefaultTenant, "10")
	if got := w.Redis.CLI("HGET", "flags:v1:overrides", in.ID); got != strings.TrimSuffix(string(off), "\n") && got != string(off) {
		t.Errorf("overrides holds %q", got)
	}
	if len(w.events) != 1 || w.events[0].Kind != KindOverride || w.events[0].Outcome != OutcomeApplied || len(w.events[0].Changes) != 1 {
		t.Errorf("events = %+v", w.events)
	}
	if e := w.r.Live().Entry("receipts", "acme"); e.Enabled {
		t.Error("what is shown as live is still on")
	}
	var refused *RefusedOverride
	for name, c := range map[string]struct {
		src  []byte
		code trust.Reason
	}{
		"a replay":          {off, trust.AlreadyUsed},
		"by the ramp's key": {w.seal([]trust.OverrideItem{{Feature: "attest"}}, "bot"), trust.NotAuthorized},
		"by a stranger":     {w.seal([]trust.OverrideItem{{Feature: "attest"}}, "mallory"), trust.Unsigned},
		"up":                {w.seal([]trust.OverrideItem{{Feature: "attest", Pct: new(flags.Pct(50_000))}}, "bob"), trust.Malformed},
		"no statement":      {[]byte("{}"), trust.Malformed},
	} {
		if _, err := w.r.Override(ctx, c.src); !errors.As(err, &refused) || refused.Code != Code(c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}

	// What somebody writes over it is put down again; the statements too.
	w.Redis.CLI("SET", "flags:v1:receipts:acme", `{"version":"v1","enabled":true,"ramp_pct":100,"cohorts":[]}`)
	w.Redis.CLI("DEL", "flags:v1:overrides")
	_, _ = w.try() // git is away
	w.is("receipts", "acme", "off")
	if w.Redis.CLI("HLEN", "flags:v1:overrides") != "1" {
		t.Error("the statement was not put back")
	}
	w.Redis.Flush()
	_, _ = w.try()
	w.is("receipts", "acme", "off")

	// A restart keeps it and remembers it.
	w.close()
	_, _ = w.try()
	w.is("receipts", "acme", "off")
	if s := w.r.Status(); len(s.Overrides) != 1 || s.Overrides[0].ID != in.ID {
		t.Errorf("status lists %+v", s.Overrides)
	}
	if _, err := w.r.Override(ctx, off); !errors.As(err, &refused) || refused.Code != Code(trust.AlreadyUsed) {
		t.Errorf("a replay after a restart: %v", err)
	}

	// At its time it goes.
	w.events = nil
	w.clock.Advance(time.Hour)
	_, _ = w.try()
	w.is("receipts", "acme", "")
	w.is("receipts", flags.DefaultTenant, "10")
	if len(w.r.Status().Overrides) != 0 || w.Redis.CLI("EXISTS", "flags:v1:overrides") != "0" {
		t.Error("a statement is still listed after its time")
	}
	if len(w.events) != 1 || !strings.Contains(w.events[0].Message, "its time is over") {
		t.Errorf("events = %+v", w.events)
	}
}

// A new generation keeps what lies over it, and one that says the same ends it.
func TestOverrideAndGit(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, flagtest.Redis(t), withBrake)
	w.release("flags-v1", "receipts", 50, "attest", 20)
	w.pass()
	if _, err := w.r.Override(ctx, w.seal([]trust.OverrideItem{{Feature: "receipts", Pct: new(flags.Pct(5000))}}, "bob")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.r.Override(ctx, w.seal([]trust.OverrideItem{{Feature: "attest"}}, "bob")); err != nil {
		t.Fatal(err)
	}
	w.is("receipts", flags.DefaultTenant, "5")
	w.release("flags-v2", "receipts", 60, "attest", 30)
	w.pass()
	w.is("receipts", flags.DefaultTenant, "5")
	w.is("attest", flags.DefaultTenant, "off")
	if w.meta().Generation != 2 {
		t.Error("the generation is not live")
	}
	p, err := w.r.Plan(ctx)
	if err != nil || !p.Empty() || len(p.Overrides) != 2 {
		t.Errorf("plan = %+v, %v", p, err)
	}
	w.release("flags-v3", "receipts", 4, "attest", 30)
	w.pass()
	w.is("receipts", flags.DefaultTenant, "4")
	if s := w.r.Status(); len(s.Overrides) != 1 {
		t.Errorf("in force: %+v", s.Overrides)
	}
	w.release("flags-v4", "receipts", 40, "attest", 30)
	w.pass()
	w.is("receipts", flags.DefaultTenant, "40") // git decides again
	w.is("attest", flags.DefaultTenant, "off")

	// An instance without the state folder takes over what it finds, and never shows more.
	w.forget()
	w.pass()
	w.is("attest", flags.DefaultTenant, "off")
	if s := w.r.Status(); len(s.Overrides) != 1 || !s.HeadLive {
		t.Errorf("in force: %+v, head live: %v", s.Overrides, s.HeadLive)
	}

	// A policy that revokes the signer ends it.
	w.Policy(`{"roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}`)
	w.pass()
	w.is("attest", flags.DefaultTenant, "30")
}

// Statements left as files while no reconciler ran are applied once.
func TestDroppedOverride(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), withBrake)
	w.release("flags-v1", "receipts", 50)
	w.pass()
	src, bad := w.seal([]trust.OverrideItem{{Feature: "receipts"}}, "bob"), w.seal([]trust.OverrideItem{{Feature: "receipts"}}, "mallory")
	dir := w.r.cfg.Dir
	w.close()
	for _, s := range [][]byte{src, bad} {
		if err := DropOverride(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	w.pass()
	w.is("receipts", flags.DefaultTenant, "off")
	if n := len(w.r.Status().Overrides); n != 1 {
		t.Errorf("%d are in force", n)
	}
	if left, err := os.ReadDir(dir + "/" + overrideFolder); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// So many statements are in force and no more; the one too many changes nothing, and is refused with the number.
func TestStatementsInForceAreBounded(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, flagtest.Redis(t), withBrake)
	w.release("flags-v1", "receipts", 10, "attest", 20)
	w.pass()
	for range maxInForce {
		if _, err := w.r.Override(ctx, w.seal([]trust.OverrideItem{{Feature: "receipts"}}, "bob")); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.r.Override(ctx, w.seal([]trust.OverrideItem{{Feature: "attest"}}, "bob"))
	refused, ok := errors.AsType[*RefusedOverride](err)
	if !ok || refused.Code != Code(trust.Malformed) || !strings.Contains(err.Error(), fmt.Sprint(maxInForce)) {
		t.Errorf("one too many: %v", err)
	}
	w.is("attest", flags.DefaultTenant, "20")
	if n := len(w.r.Status().Overrides); n != maxInForce {
		t.Errorf("%d statements are in force", n)
	}
}
