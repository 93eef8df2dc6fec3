package cli

import (
	"errors"
	"fmt"
	"strings"
)

// Check is one line of a doctor (format "doctor/v1"): what was looked at, how it stands, and what to do.
type Check struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warn, fail
	Text  string `json:"text"`
	Todo  string `json:"todo,omitempty"`
	// Again says of a failure that trying again may help: nobody need act yet.
	Again bool `json:"again,omitempty"`
}

// The states of a check.
const (
	CheckOK   = "ok"
	CheckWarn = "warn"
	CheckFail = "fail"
)

// OK, Warn and Fail fill in how it stands; todo is what to do about it, "" for nothing.
func (c Check) OK(format string, args ...any) Check { return c.as(CheckOK, "", format, args) }

// Warn is for a person to judge.
func (c Check) Warn(todo, format string, args ...any) Check {
	return c.as(CheckWarn, todo, format, args)
}

// Fail must be mended.
func (c Check) Fail(todo, format string, args ...any) Check {
	return c.as(CheckFail, todo, format, args)
}

func (c Check) as(state, todo, format string, args []any) Check {
	c.State, c.Todo, c.Text = state, todo, fmt.Sprintf(format, args...)
	return c
}

// Checklist prints checks as they are made, and counts them. The zero Checklist prints nothing useful:
// set Env first.
type Checklist struct {
	Env  Env
	JSON bool

	failed, again int
}

// Tell prints one check: "✓", "!" or "✗", its name, what was found, and below it what to do.
func (l *Checklist) Tell(c Check) error {
	if c.State == CheckFail {
		l.failed++
		if c.Again {
			l.again++
		}
	}
	if l.JSON {
		return JSONLine(l.Env.Stdout, "doctor/v1", c)
	}
	paint := l.Env.OutPalette()
	mark := map[string]string{CheckOK: paint.Green("✓"), CheckFail: paint.Red("✗")}[c.State]
	if mark == "" {
		mark = paint.Bold("!")
	}
	out := fmt.Sprintf("%s %-11s  %s\n", mark, c.Check, Printable(strings.ReplaceAll(c.Text, "\n", "; ")))
	if c.Todo != "" {
		out += "               do: " + Printable(strings.ReplaceAll(c.Todo, "\n", "; ")) + "\n"
	}
	_, err := fmt.Fprint(l.Env.Stdout, out)
	return err
}

// Verdict is nil when nothing failed. Otherwise it exits 4, or 1 where trying again may mend all that failed.
func (l *Checklist) Verdict(command string) error {
	if l.failed == 0 {
		return nil
	}
	code := ExitRefused
	if l.again == l.failed {
		code = ExitError
	}
	err := errors.New("1 check failed")
	if l.failed > 1 {
		err = fmt.Errorf("%d checks failed", l.failed)
	}
	return Exit(code, Hint(err, "mend the first one, then look again: %s", command))
}
