package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// crowdOf is many real clients in this process, all following one Redis.
type crowdOf struct {
	r       *server
	s       *redisstore.Store
	clients []*client.Client
	n       int // the generation that is live

	mu   sync.Mutex
	seen map[uint64][]time.Duration // generation -> when each client had it
	at   map[uint64]time.Time       // when its apply began
}

// gather opens clients on a Redis that holds so many entries.
func gather(ctx context.Context, entries, clients int, poll time.Duration) (*crowdOf, error) {
	r, err := startRedis(ctx)
	if err != nil {
		return nil, err
	}
	w := &crowdOf{r: r, seen: map[uint64][]time.Duration{}, at: map[uint64]time.Time{}}
	if w.s, err = r.open(ctx); err != nil {
		r.stop()
		return nil, err
	}
	if err := w.change(ctx, entries); err != nil {
		w.close()
		return nil, err
	}
	gate := make(chan struct{}, 2*runtime.NumCPU()) // not all at once: that is another measurement
	var under sync.WaitGroup
	var first error
	w.clients = make([]*client.Client, clients)
	for i := range w.clients {
		gate <- struct{}{}
		under.Go(func() {
			defer func() { <-gate }()
			c, err := client.Open(ctx, client.Options{
				Sources: []client.Source{client.Redis(redisstore.Options{URL: "redis://" + r.addr, Timeout: time.Minute})},
				Poll:    poll, Wait: 5 * time.Minute, Environ: []string{}, Log: slog.New(slog.DiscardHandler),
			})
			w.mu.Lock()
			defer w.mu.Unlock()
			if err != nil {
				first = err
				return
			}
			w.clients[i] = c
		})
	}
	under.Wait()
	if first != nil {
		w.close()
		return nil, first
	}
	for _, c := range w.clients {
		c.OnChange(func(e client.Event) {
			now := time.Now()
			w.mu.Lock()
			defer w.mu.Unlock()
			if g := e.Snapshot.Generation; !w.at[g].IsZero() {
				w.seen[g] = append(w.seen[g], now.Sub(w.at[g]))
			}
		})
	}
	return w, nil
}

func (w *crowdOf) close() {
	var under sync.WaitGroup
	for _, c := range w.clients {
		if c != nil {
			under.Go(func() { _ = c.Close() })
		}
	}
	under.Wait()
	w.s.Close()
	w.r.stop()
}

// change makes the next generation live.
func (w *crowdOf) change(ctx context.Context, entries int) error {
	spec, err := flags.Decode("flags.json", bigSpec(entries, w.n+1))
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.n++
	w.at[uint64(w.n)] = time.Now()
	w.mu.Unlock()
	return land(ctx, w.s, spec, w.n)
}

// fed is what one change to many clients did.
type fed struct {
	median, p99, last time.Duration
	spent             usage
}

// feed makes one change and waits until every client decides by it.
func (w *crowdOf) feed(ctx context.Context, entries int) (fed, error) {
	var f fed
	spent, _, err := w.r.spent(ctx, func() error {
		if err := w.change(ctx, entries); err != nil {
			return err
		}
		deadline := time.Now().Add(2 * time.Minute)
		for {
			w.mu.Lock()
			n := len(w.seen[uint64(w.n)])
			w.mu.Unlock()
			if n >= len(w.clients) {
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("after two minutes %d of %d clients have generation %d", n, len(w.clients), w.n)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	if err != nil {
		return f, err
	}
	w.mu.Lock()
	took := slices.Sorted(slices.Values(w.seen[uint64(w.n)]))
	w.mu.Unlock()
	return fed{took[len(took)/2], took[len(took)*99/100], took[len(took)-1], spent}, nil
}

// Validation is the model beside one real load.
type Validation struct {
	Entries int     `json:"entries"`
	Clients int     `json:"clients"`
	Checks  []Check `json:"checks"`
	Fed     []Fed   `json:"fed,omitempty"`
}

// Check is one number that the model says and that was measured.
type Check struct {
	What      string  `json:"what"`
	Predicted float64 `json:"-"` // by the unit costs beside it
	Measured  float64 `json:"measured"`
}

// Fed is one run of "bench feed".
type Fed struct {
	Clients int     `json:"clients"`
	Entries int     `json:"entries"`
	Median  float64 `json:"median_seconds"`
	P99     float64 `json:"p99_seconds"`
	Last    float64 `json:"last_seconds"`
	CPU     float64 `json:"redis_cpu_seconds"`
	Bytes   float64 `json:"bytes_out_of_redis"`
	Memory  float64 `json:"bytes_of_this_process_per_client"`
}

// validate runs a load that the unit costs were not taken at.
func validate(ctx context.Context, entries, clients int) (Validation, error) {
	v := Validation{Entries: entries, Clients: clients}
	a := defaultAssumptions()
	w, err := gather(ctx, entries, clients, a.Poll)
	if err != nil {
		return v, err
	}
	defer w.close()
	const quiet = 30 * time.Second
	time.Sleep(buffersShrink)
	now, err := w.r.usage(ctx)
	if err != nil {
		return v, err
	}
	steady, took, err := w.r.spent(ctx, func() error { time.Sleep(quiet); return nil })
	if err != nil {
		return v, err
	}
	var cpu, out []float64
	for range 5 {
		f, err := w.feed(ctx, entries)
		if err != nil {
			return v, err
		}
		cpu, out = append(cpu, f.spent.cpu), append(out, f.spent.out)
	}
	slices.Sort(cpu)
	slices.Sort(out)
	snap := w.clients[0].Snapshot().Flags()
	v.Checks = []Check{
		{What: "Redis' memory, bytes", Measured: now.memory},
		{What: "one client's snapshot, bytes", Measured: float64(snap.Size())},
		{What: "bytes a second out of Redis, nothing new", Measured: steady.out / took.Seconds()},
		{What: "Redis' CPU, nothing new (cores)", Measured: steady.cpu / took.Seconds()},
		{What: "bytes out of Redis for one change", Measured: out[len(out)/2]},
		{What: "Redis' CPU for one change, seconds", Measured: cpu[len(cpu)/2]},
	}
	return v, nil
}

// predict fills in what the model says of the load that was measured.
func (v *Validation) predict(c Costs) {
	a := defaultAssumptions()
	p := predict(c, a, Load{Entries: float64(v.Entries), Environments: 1, Evaluators: float64(v.Clients)})
	looks := float64(v.Clients) * a.metaPolls()
	says := map[string]float64{
		"Redis' memory, bytes":                     p.RedisBytes,
		"one client's snapshot, bytes":             p.ClientBytes,
		"bytes a second out of Redis, nothing new": looks * c.MetaBytes,
		"Redis' CPU, nothing new (cores)":          looks*c.MetaSeconds + c.IdleCores + float64(v.Clients)*a.PerEvaluator*c.ConnectionCores,
		"bytes out of Redis for one change":        p.ChangeBytes,
		"Redis' CPU for one change, seconds":       p.BusySeconds,
	}
	for i := range v.Checks {
		v.Checks[i].Predicted = says[v.Checks[i].What]
	}
}

func feedCommand(stdout io.Writer) *cobra.Command {
	entries, clients, rounds, asJSON := 1000, 1000, 5, false
	cmd := &cobra.Command{
		Use: "feed", Short: "Feed many real clients of this process and look at the latency",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			before := heap()
			w, err := gather(cmd.Context(), entries, clients, time.Minute)
			if err != nil {
				return err
			}
			defer w.close()
			each := float64(heap()-before) / float64(clients)
			for range rounds {
				f, err := w.feed(cmd.Context(), entries)
				if err != nil {
					return err
				}
				r := Fed{clients, entries, f.median.Seconds(), f.p99.Seconds(), f.last.Seconds(), f.spent.cpu, f.spent.out, each}
				if asJSON {
					err = json.NewEncoder(stdout).Encode(r)
				} else {
					_, err = fmt.Fprintf(stdout, "%d clients, %d entries: median %.3f s, p99 %.3f s, last %.3f s; Redis %.3f s of CPU, %.0f bytes; %.0f bytes of memory a client\n",
						r.Clients, r.Entries, r.Median, r.P99, r.Last, r.CPU, r.Bytes, r.Memory)
				}
				if err != nil {
					return fmt.Errorf("printing: %w", err)
				}
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&clients, "clients", clients, "clients, each with two connections")
	cmd.Flags().IntVar(&entries, "entries", entries, "entries of the spec")
	cmd.Flags().IntVar(&rounds, "rounds", rounds, "changes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	return cmd
}
