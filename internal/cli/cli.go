// Package cli is what all of Rampart's commands do alike.
//
// A command's main is one line, and its run is given the world:
//
//	func main() { cli.Main("propose", run) }
//
//	func run(ctx context.Context, env cli.Env) error {
//		return cli.Run(ctx, root(env), env, nil)
//	}
//
// The manners, the same everywhere:
//
//   - stdout carries the answer and nothing else; with --json, one object a line, "format" first.
//   - stderr carries the talk: progress, warnings, errors, hints.
//   - colour and progress appear on a terminal only, and never when NO_COLOR is set.
//   - an error is one line or more beginning "NAME: error: ", and says what was being done; a next
//     step follows on lines beginning "NAME: hint: ".
//   - the exit code is one of the Exit constants; an error carries its own, see [Exit].
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/term"
)

// Exit codes, the same for every command.
const (
	ExitOK      = 0 // done, or nothing to do
	ExitError   = 1 // something broke; trying again may help
	ExitUsage   = 2 // wrong command line
	ExitChanges = 3 // plan or diff found changes
	ExitRefused = 4 // refused: a person must act
)

// Env is the world a command runs in. Tests make their own; [Main] makes the real one.
type Env struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string

	// LookupEnv tells a variable that is set and empty from one that is not set. Nil: none are
	// set and empty.
	LookupEnv func(string) (string, bool)

	// Ended is closed when the process is told to end. Nil: never.
	Ended <-chan struct{}

	// StdoutTTY and StderrTTY say whether a person is likely to be reading.
	StdoutTTY, StderrTTY bool
}

// Main runs a command and exits the process; nothing else may exit it. SIGINT and SIGTERM cancel
// the context; a second one kills the process at once.
func Main(name string, run func(ctx context.Context, env Env) error) {
	os.Exit(realMain(name, run))
}

func realMain(name string, run func(ctx context.Context, env Env) error) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // so that the second signal has its default effect

	// The runtime would exit 2, which means a wrong command line here.
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "%s: error: internal error: %v\n\n%s", name, r, debug.Stack())
			code = ExitError
		}
	}()

	env := Env{
		Args:      os.Args[1:],
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		Getenv:    os.Getenv,
		LookupEnv: os.LookupEnv,
		Ended:     ctx.Done(),
		StdoutTTY: term.IsTerminal(int(os.Stdout.Fd())),
		StderrTTY: term.IsTerminal(int(os.Stderr.Fd())),
	}
	err := run(ctx, env)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = Exit(ExitError, errors.New("interrupted"))
	}
	return Report(env.Stderr, name, err)
}
