package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"propose": main})
}

// TestScript runs testdata/script/*.txtar: the real command and the real git, one file a
// subcommand. UPDATE_GOLDEN=1 rewrites the golden sections.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_GOLDEN") != "",
		Setup:               setupScript,
		Condition:           scriptCondition,
	})
}

// setupScript gives a script a home of its own, so that neither the user's nor the system's
// configuration of git is read, and a key, $WORK/plain/alice.key.
func setupScript(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	config := "[user]\n\tname = Alice\n\temail = alice@example.org\n[init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o644); err != nil {
		return err
	}
	if err := writePlainKey(filepath.Join(env.WorkDir, "plain", "alice")); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"HOME":                home,
		"XDG_CONFIG_HOME":     filepath.Join(home, ".config"),
		"GIT_CONFIG_NOSYSTEM": "1",
		"GIT_CONFIG_GLOBAL":   filepath.Join(home, ".gitconfig"),
		"GIT_TERMINAL_PROMPT": "0",
		"GIT_EDITOR":          "true",
		"COSIGN_PASSWORD":     "sesame",
		"NO_COLOR":            "1",
	} {
		env.Setenv(name, value)
	}
	return nil
}

// writePlainKey makes a key pair without a password: opening one with a password takes a tenth of a
// second on purpose, which adds up in scripts that are about something else.
func writePlainKey(prefix string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(prefix), 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(prefix+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
		os.WriteFile(prefix+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644),
	)
}

// scriptCondition adds [have:PROGRAM]. Under CI=true a program that is missing fails the script
// rather than skip it.
func scriptCondition(cond string) (bool, error) {
	program, ok := strings.CutPrefix(cond, "have:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			return false, fmt.Errorf("%s is needed here and is not installed", program)
		}
		return false, nil
	}
	return true, nil
}
