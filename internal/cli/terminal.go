package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"
)

// ErrNoTerminal says that nobody is there to be asked.
var ErrNoTerminal = errors.New("no terminal to ask at")

// Password asks at the terminal, without echo. It talks to /dev/tty where there is one, so that
// stdin and stdout may be pipes. Without a terminal it returns ErrNoTerminal. When ctx ends first,
// the terminal is put back as it was and ctx's error is returned.
func Password(ctx context.Context, env Env, prompt string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		in, ok := env.Stdin.(*os.File)
		if !ok || !env.StderrTTY {
			return nil, ErrNoTerminal
		}
		tty = in
	} else {
		defer tty.Close()
	}
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, ErrNoTerminal
	}
	fmt.Fprintf(env.Stderr, "%s: ", prompt)
	defer fmt.Fprintln(env.Stderr)

	type answer struct {
		text []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		got <- answer{text, err}
	}()
	select {
	case a := <-got:
		if a.err != nil {
			return nil, fmt.Errorf("reading a password: %w", a.err)
		}
		return a.text, nil
	case <-ctx.Done():
		if err := term.Restore(fd, before); err != nil {
			return nil, fmt.Errorf("restoring the terminal: %w", err)
		}
		return nil, ctx.Err()
	}
}
