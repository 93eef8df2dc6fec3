package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

// maxUsers bounds a list of users, in bytes; maxCount the made-up ones.
const (
	maxUsers = 256 << 20
	maxCount = 10_000_000
)

func assessCommand(a *app) *cobra.Command {
	var tenant, users string
	var count int
	cmd := &cobra.Command{
		Use:   "assess FEATURE [flags]",
		Short: "Count for whom a feature is on",
		Long: `assess decides a feature for many users, as every client does, and counts: how many are on, and by which
rule. The users are those of a file, one a line ("-" is stdin), or made up: user-0, user-1 and so on.

A percentage deals users by their names. Over a short list the share may be some way off; over your own
users this says what it really is.`,
		Example: `  propose assess receipts
  propose assess receipts --tenant acme --users users.txt
  psql -Atc 'select id from users' | propose assess receipts --users - --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if users != "" && cmd.Flags().Changed("count") {
				return usage(errors.New("--users and --count are two ways to say who: choose one"))
			}
			if count < 1 || count > maxCount {
				return usage(fmt.Errorf("--count %d: 1 to %d", count, maxCount))
			}
			return a.assess(args[0], cmp.Or(tenant, a.env.Getenv("DEFAULT_TENANT"), publicTenant), users, count)
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "the `TENANT` (default $DEFAULT_TENANT, else public)")
	cmd.Flags().StringVar(&users, "users", "", "the users: a `FILE`, one a line")
	cmd.Flags().IntVar(&count, "count", 10_000, "make up `N` users")
	cli.NoEnv(cmd, "tenant", "users", "count")
	return cmd
}

type assessLine struct {
	Feature string         `json:"feature"`
	Tenant  string         `json:"tenant"`
	Users   int            `json:"users"`
	On      int            `json:"on"`
	Share   float64        `json:"share"` // in percent
	Pct     flags.Pct      `json:"pct"`   // what the entry asks for
	Reasons []reasonedLine `json:"reasons"`
}

type reasonedLine struct {
	Reason flags.Reason `json:"reason"`
	On     int          `json:"on"`
	Off    int          `json:"off"`
}

func (a *app) assess(feature, tenant, file string, count int) error {
	spec, err := a.readSpec(a.specPath())
	if err != nil {
		return err
	}
	f := spec.Feature(feature)
	if f == nil {
		return noFeature(spec, feature)
	}
	who := madeUpUsers(count)
	if file != "" {
		if who, err = a.listedUsers(file); err != nil {
			return err
		}
	}
	entry := f.Entry(tenant)
	line := tally(&entry, tenant, who)
	line.Feature, line.Tenant, line.Pct = feature, tenant, entry.Pct
	if line.Users == 0 {
		return usage(fmt.Errorf("%s lists no users", displayName(file)))
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "assess/v1", line)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s is on for %d of %s of tenant %s: %.2f %%\n", feature, line.On, counted(line.Users, "user", "users"), tenant, line.Share)
	for _, r := range line.Reasons {
		fmt.Fprintf(&b, "  %-9s %7d on  %7d off", r.Reason, r.On, r.Off)
		if r.Reason == flags.ReasonHash {
			fmt.Fprintf(&b, "  (%.2f %%; the entry asks for %s %%)", 100*float64(r.On)/float64(r.On+r.Off), entry.Pct)
		}
		b.WriteByte('\n')
	}
	_, err = fmt.Fprint(a.env.Stdout, cli.Printable(b.String()))
	return err
}

// tally decides for each user.
func tally(entry *flags.Entry, tenant string, who iter.Seq[string]) (line assessLine) {
	at := map[flags.Reason]int{}
	for user := range who {
		d := flags.Decide(entry, tenant, user)
		i, seen := at[d.Reason]
		if !seen {
			i = len(line.Reasons)
			at[d.Reason] = i
			line.Reasons = append(line.Reasons, reasonedLine{Reason: d.Reason})
		}
		line.Users++
		if d.On {
			line.On++
			line.Reasons[i].On++
		} else {
			line.Reasons[i].Off++
		}
	}
	if line.Users > 0 {
		line.Share = 100 * float64(line.On) / float64(line.Users)
	}
	return line
}

func madeUpUsers(n int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range n {
			if !yield("user-" + strconv.Itoa(i)) {
				return
			}
		}
	}
}

// listedUsers are the lines of a file that say something.
func (a *app) listedUsers(file string) (iter.Seq[string], error) {
	src, err := a.readFile(file, maxUsers+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage(fmt.Errorf("reading the users: no file %s", file))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the users: %w", err)
	}
	if len(src) > maxUsers {
		return nil, usage(fmt.Errorf("reading the users: %s has more than %d MiB", displayName(file), maxUsers>>20))
	}
	return func(yield func(string) bool) {
		lines := bufio.NewScanner(bytes.NewReader(src))
		lines.Buffer(nil, len(src)+1)
		for lines.Scan() {
			if user := strings.TrimSpace(lines.Text()); user != "" && !yield(user) {
				return
			}
		}
	}, nil
}
