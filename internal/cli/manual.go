package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Manual is a Markdown page with the help of every command of a tree, word for word. tree makes the
// tree anew, since running it for its help uses it up.
func Manual(tree func(Env) *cobra.Command, aliases map[string][]string) (string, error) {
	env := Env{Stdin: strings.NewReader(""), Stderr: new(bytes.Buffer), Getenv: func(string) string { return "" }}
	name := tree(env).Name()
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Made from the command itself by its test: change the help, then run \"make golden\". -->\n\n", name)
	fmt.Fprintf(&b, "What all commands have in common (exit codes, environment, JSON lines) is in [cli.md](cli.md).\n")
	var add func(c *cobra.Command, path []string) error
	add = func(c *cobra.Command, path []string) error {
		var help bytes.Buffer
		env := env
		env.Args, env.Stdout = append(path, "--help"), &help
		if err := Run(context.Background(), tree(env), env, aliases); err != nil {
			return fmt.Errorf("asking %s for its help: %w", strings.Join(path, " "), err)
		}
		title := strings.Join(append([]string{name}, path...), " ")
		fmt.Fprintf(&b, "\n## %s\n\n```text\n%s\n```\n", title, strings.TrimSpace(help.String()))
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "completion" && sub.Name() != "help" {
				if err := add(sub, append(append([]string{}, path...), sub.Name())); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := add(tree(env), nil); err != nil {
		return "", err
	}
	return b.String(), nil
}
