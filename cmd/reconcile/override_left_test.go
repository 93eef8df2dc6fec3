package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/trust"
)

// What became of a statement is told to whoever gave it: that it is none, that the next pass refused it, or that it waits for Redis.
func TestOverrideSaysWhatBecameOfIt(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	s := flagtest.NewStage(t, flagtest.Redis(t), `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]},"brake":{"signers":["bob"],"may":["disable"]}}}`)
	s.Spec("flags-v1", "receipts=50")
	s.Sign("alice")
	s.Land("first")
	state, file := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "statement.json")
	put := func(src []byte) {
		t.Helper()
		if err := os.WriteFile(file, src, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	statement := func(tenant string) []byte {
		t.Helper()
		now := time.Now().UTC().Truncate(time.Second)
		o := &trust.Override{ID: trust.NewID(), Issued: now, Expires: now.Add(time.Hour), Reason: "time-outs",
			Set: []trust.OverrideItem{{Feature: "receipts", Tenant: tenant}}}
		text, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		body, err := trust.Sealed{Statement: text, Bundles: [][]byte{s.Keys["bob"].Bundle(text)}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	ends := func(code int, args ...string) string {
		t.Helper()
		cmd := command(t, s, state, args...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("%v ended with %d, want %d:\n%s", args, got, code, out)
		}
		return string(out)
	}
	has := func(out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("it does not say %q:\n%s", w, out)
			}
		}
	}
	ends(0, "once")
	for _, none := range []string{"", `{"format":"package.json"}`} {
		put([]byte(none))
		out := ends(4, "override", file)
		has(out, "reading the statement: ", "hint: give it what propose override made")
		if strings.Contains(out, "will take it up") {
			t.Errorf("nobody will take it up:\n%s", out)
		}
	}
	put(statement("acme"))
	has(ends(0, "override", file), "the next one will take it up")
	has(ends(0, "once"), "override ")
	ends(0, "override", file)
	out := ends(4, "once")
	has(out, "refused override: AlreadyUsed: ", "receipts", "error: refused: a statement left as a file: AlreadyUsed: ", "hint: ")

	run := command(t, s, state, "run", "--listen", "127.0.0.1:0", "--interval", "200ms", "--lease", "0")
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = run.Process.Kill(); _ = run.Wait() }()
	flagtest.Eventually(t, "the reconciler", func() bool {
		address, err := runningAddress(state)
		if err == nil {
			_, err = ask(t.Context(), address, "/readyz")
		}
		return err == nil
	})
	s.Redis.Kill()
	put(statement("other"))
	has(ends(1, "override", file), "the override stands", "hint: nothing is to be done: it goes live by itself as soon as Redis answers")
}
