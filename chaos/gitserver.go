package main

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// gitServerVariable makes this program a git server in place of all else: a process of
// its own, so that it can be killed and stopped. Its value is "address root".
const gitServerVariable = "RAMPART_CHAOS_GIT_SERVER"

// serveGit serves every bare repository below a folder over smart HTTP with git's own
// http-backend, until the process ends.
func serveGit(setting string) error {
	addr, root, ok := strings.Cut(setting, " ")
	if !ok {
		return fmt.Errorf("%s=%q: want an address and a folder", gitServerVariable, setting)
	}
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return fmt.Errorf("looking for git's programs: %w", err)
	}
	srv := &http.Server{
		Addr: addr, ReadHeaderTimeout: 10 * time.Second,
		Handler: &cgi.Handler{
			Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Root: "/",
			Env:        []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
			InheritEnv: []string{"PATH", "HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"},
			Stderr:     os.Stderr,
		},
	}
	return fmt.Errorf("serving git: %w", srv.ListenAndServe())
}
