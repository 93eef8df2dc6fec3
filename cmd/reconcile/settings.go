package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/signing/keyless"
)

// settings are the flags that say what to reconcile.
type settings struct {
	repo, branch, path, trust  string
	redis, namespace, stateDir string
	interval, lease            time.Duration
	json, debug                bool
	writes                     bool // the command changes what is live, and leaves receipts
	insecure                   bool
	name, attestKey, coldStart string
	trustedRoot, trustPath     string
	gitUser, gitTokenFile      string
	sshKey                     string
	gitTimeout                 time.Duration
	maxFetch                   int64
	knownHosts                 []string
}

// bind gives a command the flags that all but demo have. With --config it is about one environment.
func (a *app) bind(cmd *cobra.Command) {
	a.settings.bind(cmd)
	a.environments.bind(cmd)
	cmd.PreRunE = a.pick
}

func (s *settings) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.repo, "repo", "", "the `URL` of the repository: https://, ssh://, file:// or a path")
	f.StringVar(&s.branch, "branch", "main", "the `BRANCH` to follow")
	f.StringVar(&s.path, "path", "specs/flags.json", "the spec's `PATH` in the repository")
	f.StringVar(&s.trust, "trust", "", "the trust policy's `FILE`, outside the repository")
	f.StringVar(&s.trustPath, "trust-path", "", "where the policy's successors stand in the repository, a `PATH` (default: trust.json beside the spec; none: nowhere)")
	f.StringVar(&s.redis, "redis", "", "the `URL` of Redis: redis://, rediss://, unix://, sentinel://, several with commas for a Cluster; none: one inside this process, for trying things out")
	f.StringVar(&s.namespace, "namespace", redisstore.DefaultNamespace, "the `PREFIX` of every key")
	f.StringVar(&s.stateDir, "state-dir", "", "the state folder, a `DIR` (default: one below $XDG_STATE_HOME/rampart for this repository and namespace)")
	f.BoolVar(&s.insecure, "insecure-accept-unsigned", false, "accept specs that nobody signed, in place of --trust: for local trials only")
	f.StringVar(&s.coldStart, "accept-cold-start", "", "a `COMMIT` that a start without state may begin from although it changes live entries")
	f.StringVar(&s.name, "name", "", "this instance's `NAME` in meta and status (default: the host's)")
	f.StringVar(&s.attestKey, "attest-key", "", "a private key's `FILE` to vouch with for what is live (meta's attestation)")
	if f.Lookup("key") == nil { // else the command's own, with which a person signs
		f.StringVar(&s.attestKey, "key", "", "the older name of --attest-key")
		_ = f.MarkHidden("key")
		cli.NoEnv(cmd, "key") // RAMPART_KEY is a person's key: nobody vouches with it by accident
	}
	f.StringVar(&s.trustedRoot, "trusted-root", "", "the `FILE` that says which sigstore to believe for keyless signers (cosign trusted-root create)")
	f.StringVar(&s.gitUser, "git-user", "", "the user `NAME` for the repository")
	f.StringVar(&s.gitTokenFile, "git-token-file", "", "a `FILE` that holds the token for https:// (or $RAMPART_GIT_TOKEN does)")
	f.StringVar(&s.sshKey, "ssh-key", "", "the private key's `FILE` for ssh:// (default: the agent's; password in $RAMPART_SSH_KEY_PASSWORD)")
	f.StringSliceVar(&s.knownHosts, "known-hosts", nil, "the `FILE`s that SSH host keys are looked up in (default: ~/.ssh/known_hosts and the system's)")
	f.DurationVar(&s.gitTimeout, "git-timeout", gitrepo.DefaultTimeout, "how long one exchange with the repository may take, a `TIME`; a clone ten times that")
	f.Int64Var(&s.maxFetch, "max-fetch", gitrepo.DefaultMaxPack, "how many `BYTES` one fetch may bring")
	f.BoolVar(&s.json, "json", false, "print JSON, one object a line")
	f.BoolVar(&s.debug, "debug", false, "log more")
}

// bindLease gives a command that writes Redis the flag that says for how long it leads.
func (s *settings) bindLease(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&s.lease, "lease", 15*time.Second, "the `TIME` after which another instance takes over from one that is gone; 0: no lease is taken")
}

// checkLease refuses what would end before it could be renewed.
func (s *settings) checkLease() error {
	if s.lease != 0 && (s.lease < time.Second || s.lease > time.Hour) {
		return cli.Exit(cli.ExitUsage, errors.New("--lease must be 0, or from 1s to 1h"))
	}
	return nil
}

// check finds what is missing before anything is opened.
func (s *settings) check() error {
	usage := func(err error, hint string) error { return cli.Exit(cli.ExitUsage, cli.Hint(err, "%s", hint)) }
	switch {
	case s.repo == "":
		return usage(errors.New("no repository given"), "set --repo URL, or try: reconcile demo")
	case s.trust == "" && !s.insecure:
		return usage(errors.New("no trust policy given"), "set --trust FILE (propose init writes one); for a local trial: --insecure-accept-unsigned")
	case s.trust != "" && s.insecure:
		return usage(errors.New("--trust and --insecure-accept-unsigned exclude each other"), "leave one out")
	}
	return s.checkLease()
}

// opened is a reconciler and what it stands on.
type opened struct {
	*reconciler.Reconciler
	store *redisstore.Store
	repo  *gitrepo.Repo
	dir   string
	// ledger is nil where receipts are off, and for commands that write nothing.
	ledger *ledger
	traces *traces // nil where nothing is traced
	plans  *plans  // for all who ask over HTTP
}

// hurry makes the next look at git and at the store come at once.
func (o *opened) hurry() {
	o.repo.Hurry()
	o.Look()
}

func (o *opened) Close() {
	if o.Reconciler != nil {
		_ = o.Reconciler.Close()
	}
	if o.repo != nil {
		_ = o.repo.Close()
	}
	if o.store != nil {
		_ = o.store.Close()
	}
	_ = o.ledger.Close()
	o.traces.Close()
}

// open makes a reconciler from the settings. It contacts nobody.
func (a *app) open(ctx context.Context, log *slog.Logger, rec reconciler.Recorder, reg prometheus.Registerer) (_ *opened, err error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	o := &opened{}
	o.plans = newPlans(func(ctx context.Context, onto string) (*reconciler.Plan, error) { return o.PlanAccepting(ctx, onto) })
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	if o.dir, err = a.stateFolder(a.env); err != nil {
		return nil, err
	}
	key, err := a.signer(a.attestKey)
	if err != nil {
		return nil, err
	}
	verify, root, err := a.verification()
	if err != nil {
		return nil, err
	}
	at := redisstore.Options{URL: a.redis, Namespace: a.namespace, Log: log}
	if a.sharing != nil {
		at.Pool = a.sharing.stores
	} else {
		redisstore.RouteDriverLog(log)
	}
	if o.store, err = redisstore.Open(ctx, at); err != nil {
		return nil, cli.Exit(cli.ExitUsage, err)
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	var moved atomic.Pointer[reconciler.Reconciler]
	if o.repo, err = a.openRepo(ctx, o.dir, func() {
		if r := moved.Load(); r != nil {
			r.Nudge()
		}
	}); err != nil {
		return nil, explain(err, o.dir)
	}
	if a.writes {
		if o.ledger, err = a.receipts.openLedger(ctx, log, o.dir, a.name, reg); err != nil {
			return nil, err
		}
		if o.traces, err = openTraces(ctx, a.env, log, a.name); err != nil {
			return nil, err
		}
	}
	o.Reconciler, err = reconciler.Open(reconciler.Config{
		Repo: o.repo, Store: o.store, Dir: o.dir, Branch: a.branch, Path: a.path,
		Trust: a.trust, TrustPath: a.trustPath, AcceptUnsignedUnsafe: a.insecure, AcceptColdStart: a.coldStart,
		Signing: verify, TrustedRoot: root, Interval: a.interval, Lease: a.lease, Name: a.name, Key: key, Software: cli.Version(),
		Recorder: o.ledger.record(rec), Log: log, Metrics: reg,
		Trace: o.traces.hand(),
	})
	moved.Store(o.Reconciler)
	return o, explain(err, o.dir)
}

// openRepo opens the clone in the state folder, or the one that this process's environments share.
func (a *app) openRepo(ctx context.Context, dir string, moved func()) (*gitrepo.Repo, error) {
	opt := gitrepo.Options{
		URL: a.repo, Branch: a.branch, Dir: filepath.Join(dir, "repo"), Timeout: a.gitTimeout, MaxPack: a.maxFetch,
		Auth: gitrepo.Auth{
			Username: a.gitUser, Token: a.env.Getenv("RAMPART_GIT_TOKEN"), TokenFile: a.gitTokenFile,
			SSHKeyFile: a.sshKey, SSHKeyPassword: a.env.Getenv("RAMPART_SSH_KEY_PASSWORD"), KnownHosts: a.knownHosts,
		},
	}
	if a.sharing == nil {
		return gitrepo.Open(ctx, opt)
	}
	return a.sharing.repos.Open(ctx, opt, a.interval*9/10, moved)
}

// explain adds the next step to what opening can meet.
func explain(err error, dir string) error {
	var defects schema.Errors
	switch {
	case denied(err, dir):
		return cli.Exit(cli.ExitRefused, cli.Hint(err, "%s belongs to another user: run it as its owner", dir))
	case errors.Is(err, redisstore.ErrDenied):
		return cli.Hint(err, "check user, password and database in --redis, and what the user may do: reconcile doctor")
	case errors.Is(err, redisstore.ErrUnavailable):
		return cli.Hint(err, "check host and port in --redis, and that the server runs: reconcile doctor")
	case errors.As(err, &defects):
		return cli.Exit(cli.ExitRefused, cli.Hint(err, "mend the file that --trust names; docs/trust.md describes it"))
	case errors.Is(err, gitrepo.ErrAddress):
		return cli.Exit(cli.ExitUsage, err)
	case errors.Is(err, reconciler.ErrStateInUse), errors.Is(err, gitrepo.ErrLocked):
		return inUse(err, dir)
	case errors.Is(err, reconciler.ErrStateElsewhere):
		return cli.Exit(cli.ExitUsage, cli.Hint(err, "check --path and --namespace; another environment needs another --state-dir than %s", dir))
	case errors.Is(err, gitrepo.ErrShallow):
		return cli.Hint(err, "is --repo a shallow clone? in it: git fetch --unshallow; then take the folder repo in the state folder away, which is the clone of before")
	case errors.Is(err, reconciler.ErrStateDamaged):
		return cli.Exit(cli.ExitRefused, cli.Hint(err, "restore %s from a backup, or move it away: a cold start follows, and stops before it changes what is live", dir))
	}
	return err
}

// inUse adds what to do where another process holds the state folder.
func inUse(err error, dir string) error {
	return cli.Hint(err, "one reconciler a state folder: ask the running one (reconcile status), or set another --state-dir than %s", dir)
}

// verification says how bundles are verified beside keys: with a trusted root, keyless ones as well, without any network.
func (a *app) verification() (verify signing.Options, name string, err error) {
	if a.trustedRoot == "" {
		return signing.Options{}, "", nil
	}
	src, err := os.ReadFile(a.trustedRoot)
	if err != nil {
		return signing.Options{}, "", fmt.Errorf("reading the trusted root: %w", err)
	}
	v, err := keyless.New(src)
	if err != nil {
		return signing.Options{}, "", cli.Exit(cli.ExitUsage, cli.Hint(err, "make one: cosign trusted-root create --with-default-services --out trusted_root.json"))
	}
	sum := sha256.Sum256(src)
	return signing.Options{Keyless: v.Check}, "sha256:" + hex.EncodeToString(sum[:]), nil
}

// signer opens the private key in file, nil where none is named.
func (a *app) signer(file string) (*signing.Signer, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		err = fmt.Errorf("reading the private key: %w", err)
		if errors.Is(err, fs.ErrNotExist) {
			err = cli.Exit(cli.ExitUsage, cli.Hint(err, "--attest-key and --key name the file of a private key: propose keygen makes one"))
		}
		return nil, err
	}
	return signing.LoadSigner(pem, func() ([]byte, error) {
		for _, name := range []string{"RAMPART_KEY_PASSWORD", "COSIGN_PASSWORD"} {
			if value, ok := a.env.Lookup(name); ok {
				return []byte(value), nil
			}
		}
		return nil, fmt.Errorf("the key is encrypted: set RAMPART_KEY_PASSWORD")
	})
}

// logger writes to stderr; with --json one object a line.
func (a *app) logger() *slog.Logger {
	level := slog.LevelInfo
	if a.debug {
		level = slog.LevelDebug
	}
	opt := &slog.HandlerOptions{Level: level}
	if a.json {
		return slog.New(slog.NewJSONHandler(a.env.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(a.env.Stderr, opt))
}
