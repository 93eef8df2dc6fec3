package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/ramp/evidence"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/trust"
)

// TestLedgerScript runs testdata/ledger/*.txtar with the words of TestScript, and these:
//
//	receipt KIND PHASE OUTCOME [TEXT…]  wait for a receipt whose body has these texts; "-" is any outcome
//	override NAME FEATURE               a statement by NAME turns FEATURE off
//	evidence-file FILE                  write FILE as evidence into the work tree, under its digest
//	decides DIR FEATURE on|off git|override   what an answer about a person says of everybody else's entry
//	measures REGEXP                     wait until a line of /metrics matches
//	all-match SCHEMA FILE               each line of FILE is one by that schema
//	is-evidence FILE                    FILE is coverage evidence, of these tenants or more
func TestLedgerScript(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	words := scriptWords()
	words["receipt"] = func(ts *testscript.TestScript, _ bool, args []string) {
		until(ts, func() error {
			return wantReceipt(filepath.Join(ts.Getenv("STATE"), "ledger"), args[0], args[1], args[2], args[3:])
		})
	}
	words["override"] = func(ts *testscript.TestScript, _ bool, args []string) {
		path := filepath.Join(ts.Getenv("WORK"), "statement.json")
		ts.Check(os.WriteFile(path, statement(ts, args[0], args[1]), 0o600))
		ts.Check(ts.Exec("reconcile", "override", path))
	}
	words["evidence-file"] = func(ts *testscript.TestScript, _ bool, args []string) {
		src := ts.ReadFile(args[0])
		stageOf(ts).Repo.Write(fmt.Sprintf("specs/evidence/%x.json", sha256.Sum256([]byte(src))), src)
	}
	words["decides"] = func(ts *testscript.TestScript, _ bool, args []string) {
		var all []decided
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(args[0], "decisions.json"))), &all))
		for _, d := range all {
			if d.Feature == args[1] && d.Tenant == flags.DefaultTenant {
				if d.On != (args[2] == "on") || d.Override != (args[3] == "override") {
					ts.Fatalf("it says %+v", d)
				}
				return
			}
		}
		ts.Fatalf("nothing is said of %s: %+v", args[1], all)
	}
	words["measures"] = func(ts *testscript.TestScript, _ bool, args []string) {
		want := regexp.MustCompile("(?m)" + args[0])
		until(ts, func() error {
			address, err := runningAddress(ts.Getenv("STATE"))
			if err != nil {
				return err
			}
			body, err := ask(context.Background(), address, "/metrics")
			if err == nil && !want.Match(body) {
				err = fmt.Errorf("no line of /metrics matches %s", args[0])
			}
			return err
		})
	}
	words["all-match"] = func(ts *testscript.TestScript, _ bool, args []string) {
		part := schema.Lookup(args[0], "")
		n := 0
		for line := range strings.Lines(ts.ReadFile(args[1])) {
			v, err := schema.Value([]byte(line), 10000)
			ts.Check(err)
			if problems := part.Validate(v); problems != nil {
				ts.Fatalf("%s: %v", line, problems)
			}
			n++
		}
		if n == 0 {
			ts.Fatalf("%s is empty", args[1])
		}
	}
	words["is-evidence"] = func(ts *testscript.TestScript, _ bool, args []string) {
		c := evidence.Coverage([]byte(ts.ReadFile(args[0])))
		if c.Problem != "" || c.At.IsZero() || len(c.Tenants) == 0 {
			ts.Fatalf("no evidence: %+v", c)
		}
		for name, m := range c.Tenants {
			if m.Problem != "" || m.Samples < 1 {
				ts.Fatalf("tenant %s: %+v", name, m)
			}
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "ledger"), RequireExplicitExec: true, RequireUniqueNames: true, Setup: setupScript, Cmds: words,
	})
}

func wantReceipt(ledger, kind, phase, outcome string, texts []string) error {
	var seen []string
	found := false
	err := receipt.ScanFrom(ledger, 0, func(rec receipt.Record) error {
		r, err := rec.Decode()
		if err != nil {
			return err
		}
		has := string(r.Kind) == kind && string(r.Phase) == phase && (outcome == "-" || r.Result == outcome)
		for _, text := range texts {
			has = has && bytes.Contains(rec.Body, []byte(text))
		}
		found = found || has
		seen = append(seen, string(rec.Body))
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("no receipt %s %s %s %q in\n%s", kind, phase, outcome, texts, strings.Join(seen, "\n"))
	}
	return err
}

// statement turns a feature off for an hour.
func statement(ts *testscript.TestScript, name, feature string) []byte {
	stage := stageOf(ts)
	src, err := os.ReadFile(stage.Trust)
	ts.Check(err)
	policy, err := trust.Parse("trust.json", src)
	ts.Check(err)
	now := time.Now().UTC().Truncate(time.Second)
	o := &trust.Override{Environment: policy.Environment, ID: trust.NewID(), Issued: now, Expires: now.Add(time.Hour), Reason: "time-outs", Set: []trust.OverrideItem{{Feature: feature}}}
	text, err := o.Encode()
	ts.Check(err)
	body, err := trust.Sealed{Statement: text, Bundles: [][]byte{stage.Keys[name].Bundle(text)}}.Encode()
	ts.Check(err)
	if !json.Valid(body) {
		ts.Fatalf("the statement is no JSON")
	}
	return body
}
