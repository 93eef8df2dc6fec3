package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
)

// passwordVariables hold a key's password, the first that is set winning, an empty one too: cosign
// users write COSIGN_PASSWORD= for a key without a password.
var passwordVariables = []string{"RAMPART_KEY_PASSWORD", "COSIGN_PASSWORD"}

// password finds the password of a key: in the environment, else at the terminal, asked for twice
// when the key is a new one. It is never taken from the command line, which others can read.
func (a *app) password(ctx context.Context, prompt string, fresh bool) ([]byte, error) {
	for _, name := range passwordVariables {
		if value, ok := a.env.Lookup(name); ok {
			return []byte(value), nil
		}
	}
	first, err := cli.Password(ctx, a.env, prompt)
	if errors.Is(err, cli.ErrNoTerminal) {
		return nil, cli.Hint(fmt.Errorf("asking for the password: %w", err),
			"set COSIGN_PASSWORD; an empty one means a key without a password")
	}
	if err != nil || !fresh {
		return first, err
	}
	second, err := cli.Password(ctx, a.env, "the same again")
	if err != nil {
		return nil, err
	}
	if string(first) != string(second) {
		return nil, errors.New("asking for a new password: the two differ")
	}
	return first, nil
}

// signer opens the key that --key names: a file, env://VARIABLE holding PEM, or a key-management
// service (awskms://…, through sigstore's plugins).
func (a *app) signer(ctx context.Context, key string) (*signing.Signer, error) {
	if scheme, rest, ok := strings.Cut(key, "://"); ok {
		if scheme != "env" {
			return signing.LoadKMS(ctx, key)
		}
		pem, set := a.env.Lookup(rest)
		if !set {
			return nil, cli.Exit(cli.ExitUsage, fmt.Errorf("reading the key from $%s: not set", rest))
		}
		return a.parseKey(ctx, key, []byte(pem))
	}
	if err := outsideHistory(ctx, key); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Exit(cli.ExitUsage, cli.Hint(fmt.Errorf("reading the key: no file %s", key), "make one: propose keygen"))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	return a.parseKey(ctx, key, pem)
}

func (a *app) parseKey(ctx context.Context, name string, pem []byte) (*signing.Signer, error) {
	s, err := signing.LoadSigner(pem, func() ([]byte, error) {
		return a.password(ctx, "password for "+name, false)
	})
	switch {
	case errors.Is(err, signing.ErrPassword):
		return nil, cli.Hint(fmt.Errorf("key %s: %w", name, err), "is COSIGN_PASSWORD the password of this key?")
	case errors.Is(err, signing.ErrKey):
		return nil, cli.Exit(cli.ExitUsage, cli.Hint(fmt.Errorf("key %s: %w", name, err),
			"--key takes the private half, such as cosign.key; make one: propose keygen"))
	case err != nil:
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return s, nil
}

// outsideHistory refuses a private key that git tracks or would track at the next "git add": whoever
// can read the repository could sign. The file need not exist yet.
func outsideHistory(ctx context.Context, key string) error {
	path, err := filepath.Abs(key)
	if err != nil {
		return fmt.Errorf("finding the key %s: %w", key, err)
	}
	// Where the bytes really lie counts, not the name they are reached by.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	} else if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	root := workTreeOf(filepath.Dir(path))
	if root == "" || strings.HasPrefix(path, filepath.Join(root, ".git")+string(filepath.Separator)) {
		return nil
	}
	if gitSays(ctx, root, "ls-files", "--error-unmatch", "--", path) {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("using the key %s: git tracks this file, so everyone who can read the repository has it", key),
			"take its public half out of trust.json, make a new key outside the repository (propose keygen), and sign with that"))
	}
	if gitSays(ctx, root, "check-ignore", "-q", "--", path) {
		return nil
	}
	return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("using the key %s: it lies inside the repository %s, where the next commit may take it along", key, root),
		"keep private keys elsewhere, such as %s, or have .gitignore name the file", defaultKeyDir()))
}

// workTreeOf is the nearest folder at or above dir that is a git work tree, or "".
func workTreeOf(dir string) string {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// gitSays is whether a stock git command answers yes. Without git the answer is no, which errs on
// the careful side here.
func gitSays(ctx context.Context, root string, args ...string) bool {
	return exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Run() == nil
}

// defaultKeyDir is where new keys go when nobody says where.
func defaultKeyDir() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		dir = filepath.Join(string(filepath.Separator), "etc")
	}
	return filepath.Join(dir, "rampart")
}

// newKey makes a key pair and writes prefix.key, for its owner's eyes only, and prefix.pub. It
// overwrites nothing and leaves either both files or none.
func (a *app) newKey(ctx context.Context, prefix string, kind signing.Kind) (public signing.PublicKey, err error) {
	private := prefix + ".key"
	for _, path := range []string{private, prefix + ".pub"} {
		if _, err := os.Lstat(path); err == nil {
			return public, cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("making a key: %s exists, and is not overwritten", path),
				"give another name, or use the key that is there: --key %s", private))
		}
	}
	if err := os.MkdirAll(filepath.Dir(prefix), 0o700); err != nil {
		return public, fmt.Errorf("making a key: %w", err)
	}
	if err := outsideHistory(ctx, private); err != nil {
		return public, err
	}
	password, err := a.password(ctx, "password for the new key "+private+" (empty for none)", true)
	if err != nil {
		return public, err
	}
	privPEM, pubPEM, err := signing.GenerateKey(kind, password)
	if err != nil {
		return public, fmt.Errorf("making a key: %w", err)
	}
	if err := writeNew(private, privPEM, 0o600); err != nil {
		return public, fmt.Errorf("writing the key: %w", err)
	}
	if err := writeNew(prefix+".pub", pubPEM, 0o644); err != nil {
		return public, errors.Join(fmt.Errorf("writing the public key: %w", err), os.Remove(private))
	}
	return signing.ParsePublicKey(pubPEM)
}

// writeNew creates path with content, and fails if it is there already.
func writeNew(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
	}
	return err
}
