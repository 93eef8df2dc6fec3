package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/config"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/trust"
)

// environments are the flags that name a rampart.json and one of its environments.
type environments struct {
	file, name string
}

func (e *environments) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&e.file, "config", "", "a `FILE` that describes environments, a rampart.json (docs/environments.md), in place of the flags that describe one")
	f.StringVar(&e.name, "environment", "", "the `NAME` of one environment in the file of --config")
}

// described are the flags whose values stand in the file: with --config they are not taken.
var described = []string{
	"repo", "branch", "path", "trust", "redis", "namespace", "state-dir", "insecure-accept-unsigned", "accept-cold-start", "name", "attest-key", "key", "trust-path", "trusted-root",
	"git-user", "git-token-file", "ssh-key", "known-hosts", "interval", "ledger", "notary", "notaries", "notify", "console-url", "allow-host",
}

// read reads the file, and refuses flags on the command line that it would overrule. What comes from variables is passed over:
// a REDIS_URL in a container may mean somebody else. Flags in except are the command's own.
func (e *environments) read(args []string, except ...string) (*config.File, error) {
	for _, arg := range args {
		if name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "="); strings.HasPrefix(arg, "--") && slices.Contains(described, name) && !slices.Contains(except, name) {
			return nil, cli.Exit(cli.ExitUsage, cli.Hint(fmt.Errorf("--%s and --config exclude each other", name), "say it in %s", e.file))
		}
	}
	f, err := config.Read(e.file)
	if err == nil {
		return f, nil
	}
	var defects schema.Errors
	if errors.As(err, &defects) {
		return nil, cli.Exit(cli.ExitRefused, cli.Hint(err, "try: propose validate --config %s", e.file))
	}
	return nil, err
}

// one is the environment that a command is about: the one that --environment names, or the only one.
func (e *environments) one(f *config.File) (config.Environment, error) {
	if e.name == "" && len(f.Environments) == 1 {
		return f.Environments[0], nil
	}
	names := f.Names()
	known := strings.Join(names[:min(len(names), 10)], ", ")
	if len(names) > 10 {
		known += fmt.Sprintf(" and %d more", len(names)-10)
	}
	if e.name == "" {
		return config.Environment{}, cli.Exit(cli.ExitUsage, cli.Hint(fmt.Errorf("%s describes %d environments", e.file, len(names)), "pick one with --environment: %s", known))
	}
	if env, ok := f.Find(e.name); ok {
		return env, nil
	}
	hint := "it has " + known
	if near := cli.Nearest(e.name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return config.Environment{}, cli.Exit(cli.ExitUsage, cli.Hint(fmt.Errorf("%s has no environment %q", e.file, e.name), "%s", hint))
}

// pick makes the flags of a command about one environment say what the file says of it.
func (a *app) pick(cmd *cobra.Command, _ []string) error {
	if a.environments.file == "" {
		if a.environments.name != "" && slices.ContainsFunc(a.env.Args, func(arg string) bool { return strings.HasPrefix(arg, "--environment") }) {
			return cli.Exit(cli.ExitUsage, cli.Hint(errors.New("--environment needs --config"), "set --config rampart.json"))
		}
		return nil
	}
	var own []string
	if key := cmd.Flags().Lookup("key"); key != nil && !key.Hidden { // with which a person signs
		own = append(own, "key")
	}
	f, err := a.environments.read(a.env.Args, own...)
	if err != nil {
		return err
	}
	e, err := a.environments.one(f)
	if err != nil {
		return err
	}
	one, err := a.about(e)
	if err != nil {
		return err
	}
	a.settings, a.receipts, a.env = one.settings, one.receipts, one.env
	return nil
}

// about is the app for one environment: with what the file says of it, what flags say that the file cannot, and the secrets
// that the file points to. It fails where a secret is not there.
func (a *app) about(e config.Environment) (*app, error) {
	out := &app{env: a.env, settings: a.settings, receipts: a.receipts}
	s := &out.settings
	s.repo, s.branch, s.path, s.trust = e.Repo, e.Branch, e.Path, e.Trust
	s.namespace, s.stateDir, s.interval = e.Namespace, e.StateDir, e.Every
	s.insecure, s.name, s.attestKey, s.coldStart = e.InsecureAcceptUnsigned, e.Name, e.Key, e.AcceptColdStart
	s.trustPath = e.TrustPath
	s.trustedRoot, s.gitUser, s.gitTokenFile, s.sshKey, s.knownHosts = e.TrustedRoot, e.GitUser, e.GitTokenFile, e.SSHKey, e.KnownHosts
	out.receipts.ledger, out.receipts.notaries, out.receipts.notariesFile = e.Ledger, nil, e.Notaries
	secrets := map[string]string{"RAMPART_GIT_TOKEN": e.GitTokenEnv, "RAMPART_SSH_KEY_PASSWORD": e.SSHKeyPasswordEnv, "RAMPART_KEY_PASSWORD": e.KeyPasswordEnv}
	for _, name := range secrets {
		if name != "" && a.env.Getenv(name) == "" {
			return nil, fmt.Errorf("environment %s: the variable %s is not set", e.Environment, name)
		}
	}
	getenv := a.env.Getenv
	out.env.Getenv = func(name string) string {
		if other, ok := secrets[name]; ok && (other != "" || name == "RAMPART_GIT_TOKEN" && e.GitTokenFile != "") {
			if other == "" {
				return "" // the file has it
			}
			name = other
		}
		return getenv(name)
	}
	var err error
	s.redis, err = redisOf(e, a.env)
	return out, err
}

// redisOf is the address of an environment's Redis, with its password.
func redisOf(e config.Environment, env cli.Env) (string, error) {
	switch {
	case e.RedisEnv != "":
		if url := env.Getenv(e.RedisEnv); url != "" {
			return url, nil
		}
		return "", fmt.Errorf("environment %s: the variable %s, which says where Redis is, is not set", e.Environment, e.RedisEnv)
	case e.RedisFile != "":
		src, err := os.ReadFile(e.RedisFile)
		if err != nil {
			return "", fmt.Errorf("environment %s: reading where Redis is: %w", e.Environment, err)
		}
		line, _, _ := bytes.Cut(src, []byte("\n"))
		if line = bytes.TrimSpace(line); len(line) == 0 {
			return "", fmt.Errorf("environment %s: %s, which says where Redis is, is empty", e.Environment, e.RedisFile)
		}
		return string(line), nil
	}
	return e.Redis, nil
}

// sharing is what the environments of one process have in common.
type sharing struct {
	repos  *gitrepo.Pool
	stores *redisstore.Pool
}

func newSharing(f *config.File, alone bool) *sharing {
	dir := f.StateDir
	if dir == "" || alone { // another process may have the others
		dir = f.Environments[0].StateDir
	}
	return &sharing{repos: gitrepo.NewPool(filepath.Join(dir, "repositories")), stores: &redisstore.Pool{}}
}

// claimed refuses two environments that turn out to write one namespace: the file may say where a Redis is in two ways.
func claimed(all []config.Environment, env cli.Env) error {
	first := map[string]string{}
	for _, e := range all {
		url, err := redisOf(e, env)
		if err != nil {
			continue // said when the environment is opened
		}
		key := config.StoreID(url) + " " + e.Namespace
		if other, taken := first[key]; taken {
			return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("environments %s and %s share the namespace %s of one Redis", other, e.Environment, e.Namespace), "give each a namespace of its own"))
		}
		first[key] = e.Environment
	}
	return nil
}

// policyFits refuses the policy of another environment. What cannot be read is said by the reconciler.
func policyFits(e config.Environment) error {
	if e.Trust == "" {
		return nil
	}
	src, err := os.ReadFile(e.Trust)
	if err != nil {
		return nil
	}
	p, err := trust.Parse(e.Trust, src)
	if err == nil && p.Environment != "" && p.Environment != e.Environment {
		return fmt.Errorf("environment %s has the trust policy of %s (%s)", e.Environment, p.Environment, e.Trust)
	}
	return nil
}

// inTurn lets one goroutine write at a time.
type inTurn struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *inTurn) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w.Write(p)
}
