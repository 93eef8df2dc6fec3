package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"reconcile": main})
}

// TestScript runs testdata/script/*.txtar: the real command, the real git and a real
// redis-server of each script's own. UPDATE_GOLDEN=1 rewrites the golden sections. A
// script knows flagtest.Words, and these:
//
//	exits CODE PROGRAM ARGS…  run a program that ends with this code
//	redis ARGS…               redis-cli; what it prints is for stdout
//	redis-kill, redis-start   as kill -9 does, and again on the same port
//	live FEATURE[:TENANT] PCT what Redis has, waited for; "-" for no such entry
//	meta FIELD VALUE          what meta says, waited for
//	says METHOD PATH CODE     ask the reconciler that runs on $STATE, waited for; the body is for stdout.
//	                          Further HEADER=VALUE are sent; TOKEN stands for the admin token
//	waits-for FILE REGEXP     wait until a file (a background command's output) has it
//	hangup                    SIGHUP to the reconciler that runs on $STATE
//	gone FILE                 wait until a file is not there
func TestScript(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_GOLDEN") != "",
		Setup:               setupScript,
		Cmds:                scriptWords(),
	})
}

const everything = `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}`

func setupScript(env *testscript.Env) error {
	t, ok := env.T().(testing.TB)
	if !ok {
		return fmt.Errorf("the script runs outside a test")
	}
	stage := flagtest.NewStage(t, flagtest.Redis(t), everything)
	env.Values["stage"] = stage
	home := filepath.Join(env.WorkDir, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	for name, key := range stage.Keys {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name+".key"), []byte(key.PrivatePEM()), 0o600); err != nil {
			return err
		}
	}
	for name, value := range map[string]string{
		"HOME": home, "NO_COLOR": "1", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.DevNull, "GIT_TERMINAL_PROMPT": "0",
		"RAMPART_REPO": stage.Repo.URL(), "RAMPART_TRUST": stage.Trust, "RAMPART_REDIS": stage.Redis.URL(),
		"RAMPART_STATE_DIR": filepath.Join(env.WorkDir, "state"), "STATE": filepath.Join(env.WorkDir, "state"),
		"REPO": stage.Repo.URL(), "ORIGIN": stage.Repo.Origin, "TRUST": stage.Trust, "REDIS": stage.Redis.URL(), "REDISHOST": stage.Redis.Addr(),
	} {
		env.Setenv(name, value)
	}
	return nil
}

func stageOf(ts *testscript.TestScript) *flagtest.Stage { return ts.Value("stage").(*flagtest.Stage) }

func scriptWords() map[string]flagtest.Word {
	all := flagtest.Words(stageOf)
	all["exits"] = func(ts *testscript.TestScript, _ bool, args []string) {
		err := ts.Exec(args[1], args[2:]...)
		var exit *exec.ExitError
		if code := 0; errors.As(err, &exit) || err == nil {
			if exit != nil {
				code = exit.ExitCode()
			}
			if fmt.Sprint(code) == args[0] {
				return
			}
			ts.Fatalf("it ended with %d, want %s", code, args[0])
		}
		ts.Check(err)
	}
	all["redis"] = func(ts *testscript.TestScript, neg bool, args []string) {
		out, err := stageOf(ts).Redis.TryCLI(args...)
		if (err != nil) != neg {
			ts.Fatalf("redis-cli %v: %v\n%s", args, err, out)
		}
		fmt.Fprintln(ts.Stdout(), out)
	}
	all["redis-kill"] = func(ts *testscript.TestScript, _ bool, _ []string) { stageOf(ts).Redis.Kill() }
	all["redis-start"] = func(ts *testscript.TestScript, _ bool, _ []string) { stageOf(ts).Redis.Start() }
	all["live"] = func(ts *testscript.TestScript, _ bool, args []string) {
		until(ts, func() error { return wantLive(stageOf(ts), args[0], args[1]) })
	}
	all["meta"] = func(ts *testscript.TestScript, _ bool, args []string) {
		until(ts, func() error {
			out, err := stageOf(ts).Redis.TryCLI("HGET", stageOf(ts).NS+"meta", args[0])
			if err == nil && out != args[1] {
				err = fmt.Errorf("meta's %s is %q, want %q", args[0], out, args[1])
			}
			return err
		})
	}
	all["says"] = says
	all["hangup"] = func(ts *testscript.TestScript, _ bool, _ []string) {
		var r running
		about, err := os.ReadFile(filepath.Join(ts.Getenv("STATE"), runningName))
		ts.Check(err)
		ts.Check(json.Unmarshal(about, &r))
		ts.Check(syscall.Kill(r.PID, syscall.SIGHUP))
	}
	all["waits-for"] = func(ts *testscript.TestScript, _ bool, args []string) {
		until(ts, func() error {
			b, err := os.ReadFile(ts.MkAbs(args[0]))
			if err == nil && !bytes.Contains(b, []byte(args[1])) {
				err = fmt.Errorf("%s does not say %q:\n%s", args[0], args[1], b)
			}
			return err
		})
	}
	all["gone"] = func(ts *testscript.TestScript, _ bool, args []string) {
		until(ts, func() error {
			if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
				return fmt.Errorf("%s is still there", args[0])
			}
			return nil
		})
	}
	return all
}

// until tries for a minute.
func until(ts *testscript.TestScript, try func() error) {
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	ts.Fatalf("waited a minute in vain: %v", err)
}

func wantLive(s *flagtest.Stage, name, pct string) error {
	if !strings.Contains(name, ":") {
		name += ":" + flags.DefaultTenant
	}
	value, err := s.Redis.TryCLI("GET", s.NS+name)
	if err != nil {
		return err
	}
	got := "-"
	if value != "" {
		e, err := flags.ParseEntry([]byte(value))
		if err != nil {
			return err
		}
		got = e.Pct.String()
	}
	if got != pct {
		return fmt.Errorf("%s is live at %s, want %s", name, got, pct)
	}
	return nil
}

// says asks the reconciler whose address stands in the state folder.
func says(ts *testscript.TestScript, _ bool, args []string) {
	method, path, code := args[0], args[1], args[2]
	until(ts, func() error {
		about, err := os.ReadFile(filepath.Join(ts.Getenv("STATE"), runningName))
		if err != nil {
			return err
		}
		var r running
		if err := json.Unmarshal(about, &r); err != nil {
			return err
		}
		req, err := http.NewRequest(method, "http://"+r.Address+path, nil)
		if err != nil {
			return err
		}
		for _, h := range args[3:] {
			name, value, _ := strings.Cut(h, "=")
			if strings.Contains(value, "TOKEN") {
				token, err := os.ReadFile(filepath.Join(ts.Getenv("STATE"), tokenName))
				if err != nil {
					return err
				}
				value = strings.ReplaceAll(value, "TOKEN", strings.TrimSpace(string(token)))
			}
			if req.Header.Set(name, value); name == "Host" {
				req.Host = value
			}
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		if fmt.Sprint(res.StatusCode) != code {
			return fmt.Errorf("%s %s: %s, want %s\n%s", method, path, res.Status, code, body)
		}
		fmt.Fprintf(ts.Stdout(), "%s\n", body)
		return nil
	})
}
