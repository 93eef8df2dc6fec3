// Command chaos runs Rampart's real programs, a git server and a Redis under faults
// that follow from a seed, and checks all the time what must always hold.
// docs/chaos.md explains it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if setting := os.Getenv(gitServerVariable); setting != "" {
		fmt.Fprintln(os.Stderr, serveGit(setting))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errBroken):
		os.Exit(4)
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos: error:", err)
		os.Exit(1)
	}
}

var (
	errBroken = errors.New("an invariant is broken")
	errUsage  = errors.New("wrong command line")
)

// settings of one run.
type settings struct {
	seed    uint64
	length  time.Duration // of storms, in sum
	storm   time.Duration // one of them
	out     string        // where trace, logs and state go
	root    string        // the main module
	clock   bool          // build the commands with a clock that can be moved
	keep    bool          // keep the folder of a run that went well
	bin     string        // built already
	movable bool
	alone   bool
	print   bool
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	s := settings{}
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.SetOutput(os.Stderr)
	fs.Uint64Var(&s.seed, "seed", 0, "the `SEED` of the schedule (0: one from the clock, which is printed)")
	fs.DurationVar(&s.length, "for", 3*time.Minute, "the `TIME` of storms; calm comes on top")
	fs.DurationVar(&s.storm, "storm", 25*time.Second, "the `TIME` of one storm")
	fs.StringVar(&s.out, "out", "", "the `DIR` for trace, logs and state (default: a temporary one)")
	fs.StringVar(&s.root, "root", "..", "the main module's `DIR`")
	fs.BoolVar(&s.clock, "clock", true, "move the commands' clocks (they are built apart for that)")
	fs.BoolVar(&s.keep, "keep", false, "keep state and logs of a run that went well too")
	fs.StringVar(&s.bin, "bin", "", "use the commands in this `DIR`; with -clock they were built by an earlier run with -keep")
	fs.BoolVar(&s.alone, "alone", false, "run one reconciler, not two")
	fs.BoolVar(&s.print, "print", false, "print the schedule as JSON and do nothing")
	if err := fs.Parse(args); err != nil {
		return errors.Join(errUsage, err)
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano() % 1_000_000)
	}
	if s.print {
		return json.NewEncoder(stdout).Encode(schedule(s.seed, s.length, s.storm))
	}
	return s.run(ctx, stdout)
}

// result is the last line that a run prints and traces.
type result struct {
	Seed       uint64            `json:"seed"`
	Seconds    float64           `json:"seconds"`
	Rounds     int               `json:"rounds"`
	Actions    int               `json:"actions"`
	Faults     int               `json:"faults"`
	Commits    int               `json:"commits"`
	Contents   int               `json:"authorized_contents"`
	Newest     uint64            `json:"newest_generation"`
	Live       int               `json:"generations_seen_live"`
	Looks      int               `json:"looks"`
	Lagged     int               `json:"refills_by_one_that_lagged"`
	Renumbered int               `json:"generations_under_a_number_written_by_hand"`
	Receipts   map[string]uint64 `json:"receipts"`
	SlowestS   float64           `json:"slowest_convergence_seconds"`
	Usage      map[string]any    `json:"most_held"`
	Errors     int               `json:"harness_errors"`
	Broken     []string          `json:"broken"`
	Skipped    []string          `json:"skipped,omitempty"`
	Artefacts  string            `json:"artefacts,omitempty"`
}

func (s settings) run(ctx context.Context, stdout io.Writer) (err error) {
	if s.out == "" {
		if s.out, err = os.MkdirTemp("", "rampart-chaos"); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
	}
	if s.out, err = filepath.Abs(s.out); err != nil {
		return fmt.Errorf("naming the folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(s.out, "trace.jsonl")); err == nil { // a run before this one
		if err := tidy(s.out); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(s.out, "logs")); err != nil {
			return fmt.Errorf("tidying up: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Join(s.out, "bin"), 0o755); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	if s.root, err = filepath.Abs(s.root); err != nil {
		return fmt.Errorf("naming the main module: %w", err)
	}
	t, err := newTrace(filepath.Join(s.out, "trace.jsonl"), stdout)
	if err != nil {
		return err
	}
	defer t.close()
	t.say("seed %d; replay with: make chaos SEED=%d MINUTES=%d", s.seed, s.seed, max(1, int(s.length.Minutes())))
	if s.bin != "" {
		s.movable = s.movable || s.clock
	} else {
		s.bin = filepath.Join(s.out, "bin")
		if s.movable, err = build(s.root, s.bin, s.clock, "reconcile", "propose", "evaluate", "notary"); err != nil {
			return err
		}
		t.say("built the commands")
	}
	w, err := newWorld(s, t)
	if err != nil {
		return err
	}
	res, err := s.through(ctx, w)
	w.close()
	if err != nil {
		return err
	}
	return s.conclude(w, res, stdout)
}

// through takes a world through its rounds and checks it at the end.
func (s settings) through(ctx context.Context, w *world) (result, error) {
	res := result{Seed: s.seed}
	began := time.Now()
	if err := w.start(); err != nil {
		return res, err
	}
	c, err := newChecker(w)
	if err != nil {
		return res, err
	}
	if err := c.plant(ctx, false); err != nil {
		return res, err
	}
	r, err := newReaders(c)
	if err != nil {
		return res, err
	}
	defer r.close()
	u := newUsages(w)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	for _, watch := range []func(context.Context){c.watch, r.watch, u.watch} {
		go watch(watching)
	}
	st := &storm{w: w, check: c, open: map[string]func() error{}}
	took, ok := c.calm(ctx, r)
	if !ok {
		return res, errors.New("the world did not come up: see the logs in " + s.out)
	}
	w.trace.say("the world is up: generation 1 is live everywhere after %.1f s", took.Seconds())
	for i, round := range schedule(s.seed, s.length, s.storm) {
		if ctx.Err() != nil {
			break
		}
		st.run(ctx, round)
		took, ok := c.calm(ctx, r)
		res.Rounds, res.Actions, res.SlowestS = i+1, res.Actions+len(round.Actions), max(res.SlowestS, took.Seconds())
		at, _, _ := c.newestSeen()
		w.trace.say("round %d: %d actions, then calm after %.1f s at generation %d", i+1, len(round.Actions), took.Seconds(), at)
		if !ok {
			break // what comes after would only blur it
		}
	}
	if err := ctx.Err(); err != nil {
		return res, fmt.Errorf("told to end: %w", err)
	}
	s.last(ctx, w, c, r)
	res.Receipts, res.Usage = c.receipts(), u.figures()
	stop()
	res.Renumbered = c.renumbered
	res.Faults, res.Errors = st.faults, st.errs
	res.Commits, res.Contents = w.oracle.size()
	res.Newest, res.Looks, res.Lagged = c.newestSeen()
	res.Live, res.Skipped, res.Seconds = len(c.seen()), w.skipped, time.Since(began).Seconds()
	return res, nil
}

// last lands one more change, now that nothing is wrong, and waits for it everywhere.
func (s settings) last(ctx context.Context, w *world, c *checker, r *readers) {
	if err := w.people.good(1); err != nil {
		w.trace.breaks(invConverges, "the last commit: %v", err)
	}
	took, _ := c.calm(ctx, r)
	w.trace.say("the last commit is live everywhere after %.1f s", took.Seconds())
	for _, p := range w.procs {
		for _, e := range p.exits {
			w.trace.breaks(invAlive, "%s", e)
		}
	}
}

func (s settings) conclude(w *world, res result, stdout io.Writer) error {
	for _, b := range w.trace.broken {
		res.Broken = append(res.Broken, fmt.Sprintf("%s: %v", b.What, b.Detail.(map[string]any)["why"]))
	}
	res.Artefacts = s.out
	w.trace.add("figures", "the end", res)
	src, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}
	fmt.Fprintf(stdout, "%s\n", src)
	if len(res.Broken) > 0 {
		fmt.Fprintf(stdout, "BROKEN: %d; replay with: make chaos SEED=%d MINUTES=%d; trace and logs: %s\n", len(res.Broken), s.seed, max(1, int(s.length.Minutes())), s.out)
		return errBroken
	}
	if !s.keep { // the trace stays
		return tidy(s.out)
	}
	return nil
}

// tidy removes what a run leaves beside its trace and logs.
func tidy(out string) error {
	for _, d := range []string{"bin", "git", "redis", "home", "clocks", "state-a", "state-b", "state-a-kept", "state-b-kept", "keys", "notary.jsonl"} {
		if err := os.RemoveAll(filepath.Join(out, d)); err != nil {
			return fmt.Errorf("tidying up: %w", err)
		}
	}
	return nil
}
