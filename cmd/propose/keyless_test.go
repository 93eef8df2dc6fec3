package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rampart-flags/rampart/signing/keyless/keylesstest"
)

// TestKeyless runs testdata/keyless/*.txtar against a sigstore of the test's own: an authority that
// issues certificates to a GitHub workflow.
func TestKeyless(t *testing.T) {
	authority := keylesstest.New(t)
	config, root := authority.Services(), authority.TrustedRoot()
	const workflow = "https://github.com/acme/flags/.github/workflows/ramp.yml@refs/heads/main"
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "keyless"),
		RequireExplicitExec: true,
		Condition:           scriptCondition,
		Setup: func(env *testscript.Env) error {
			if err := setupScript(env); err != nil {
				return err
			}
			for name, content := range map[string][]byte{"config.json": config, "root.json": root} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o644); err != nil {
					return err
				}
			}
			env.Setenv("TOKEN", authority.Token(keylesstest.GitHubIssuer, workflow))
			env.Setenv("SUBJECT", workflow)
			env.Setenv("ISSUER", keylesstest.GitHubIssuer)
			return nil
		},
	})
}
