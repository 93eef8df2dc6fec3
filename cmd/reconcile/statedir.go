package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
)

// stateFolder is where this environment's state is kept.
func (s *settings) stateFolder(env cli.Env) (string, error) {
	if s.stateDir != "" {
		return s.stateDir, nil
	}
	if dir := env.Getenv("STATE_DIRECTORY"); dir != "" { // systemd's StateDirectory=
		return strings.Split(dir, ":")[0], nil
	}
	base := env.Getenv("XDG_STATE_HOME")
	if base == "" {
		home := env.Getenv("HOME")
		if home == "" {
			return "", cli.Exit(cli.ExitUsage, cli.Hint(errors.New("no place for the state folder"), "set --state-dir DIR"))
		}
		base = filepath.Join(home, ".local", "state")
	}
	repo := localPath(s.repo)
	dir := filepath.Join(base, "rampart", s.folderName(repo))
	if repo == s.repo || exists(dir) {
		return dir, nil
	}
	// The folder was named after the address as it was typed once.
	if older := filepath.Join(base, "rampart", s.folderName(s.repo)); s.ownsOlder(older, repo) {
		return older, nil
	}
	return dir, nil
}

// folderName tells environments of one machine apart.
func (s *settings) folderName(repo string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{repo, s.branch, s.path, s.namespace}, "\x00")))
	return hex.EncodeToString(sum[:6])
}

// ownsOlder says whether a folder named after the address as typed is this repository's. Repositories shared the one of a
// relative path: it is whose history it holds, and no other's.
func (s *settings) ownsOlder(dir, repo string) bool {
	if strings.HasPrefix(s.repo, "file://") || filepath.IsAbs(s.repo) {
		return exists(dir)
	}
	last, err := reconciler.LastStatus(dir)
	return err == nil && localPath(last.Repo) == repo && last.Condition(reconciler.CondHistoryRewritten).Status != reconciler.True
}

// localPath is one name for a repository on this machine, however its path is written; another address is its own.
func localPath(address string) string {
	path := address
	if u, err := url.Parse(address); err == nil && u.Scheme == "file" && u.Host == "" && u.Path != "" {
		path = u.Path
	} else if address == "" || strings.Contains(address, ":") { // as gitrepo tells them apart
		return address
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return address
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// unreadable: whoever may not look into a folder learns nothing about it, and nothing is wrong with it.
func unreadable(dir string) error {
	return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("the state folder %s cannot be read (%w)", dir, fs.ErrPermission), "run it as its owner"))
}

// denied says whether an error is that this user may not use what lies in the folder.
func denied(err error, dir string) bool {
	var at *fs.PathError
	return dir != "" && errors.Is(err, fs.ErrPermission) && errors.As(err, &at) && (at.Path == dir || strings.HasPrefix(at.Path, filepath.Clean(dir)+string(filepath.Separator)))
}

// otherFolder is the next step where a command looked into a folder that no reconciler has.
const otherFolder = "set --state-dir, or the same --repo, --branch, --path and --namespace that the reconciler has"

// used is an error where no reconciler ever kept state in the folder: what is left there for the next one would be heard by nobody.
func used(dir string) error {
	_, err := reconciler.Generations(dir)
	if errors.Is(err, reconciler.ErrNoState) {
		_, err = reconciler.LastStatus(dir)
	}
	if errors.Is(err, fs.ErrPermission) {
		return unreadable(dir)
	}
	if errors.Is(err, reconciler.ErrNoState) {
		return cli.Exit(cli.ExitRefused, cli.Hint(err, "%s", otherFolder))
	}
	return nil // a damaged one is somebody's all the same
}
