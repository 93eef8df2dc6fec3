package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

func measureCommand(stdout io.Writer) *cobra.Command {
	out, entries, clients := "bench/costs.json", 100_000, 200
	cmd := &cobra.Command{
		Use: "measure", Short: "Measure the unit costs, and check the model by one larger load",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := &meter{talk: os.Stderr}
			c, err := m.costs(cmd.Context())
			if err != nil {
				return err
			}
			v, err := validate(cmd.Context(), entries, clients)
			if err != nil {
				return err
			}
			src, err := json.MarshalIndent(costsFile{c, v}, "", "  ")
			if err != nil {
				return fmt.Errorf("encoding: %w", err)
			}
			if err := os.WriteFile(out, append(src, '\n'), 0o644); err != nil {
				return fmt.Errorf("writing the unit costs: %w", err)
			}
			_, err = fmt.Fprintln(stdout, out)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", out, "write to this `FILE`")
	cmd.Flags().IntVar(&entries, "entries", entries, "entries of the load that the model is checked by")
	cmd.Flags().IntVar(&clients, "clients", clients, "clients of the load that the model is checked by")
	return cmd
}

// The sizes that unit costs are taken at: far from those of the check.
const (
	unitEntries = 20_000
	unitConns   = 500
)

type meter struct{ talk io.Writer }

func (m *meter) costs(ctx context.Context) (Costs, error) {
	c := Costs{Format: costsFormat, Date: time.Now().UTC().Format(time.DateOnly), Command: "go run ./bench measure", Machine: machine()}
	r, err := startRedis(ctx)
	if err != nil {
		return c, err
	}
	defer r.stop()
	c.Software = "Redis " + version(ctx, r) + ", " + runtime.Version()
	s, err := r.open(ctx)
	if err != nil {
		return c, err
	}
	defer s.Close()
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"entries in Redis", func() error { return m.entries(ctx, r, s, &c) }},
		{"changes", func() error { return m.changes(ctx, r, s, &c) }},
		{"reads", func() error { return m.reads(ctx, r, s, &c) }},
		{"connections", func() error { return m.connections(ctx, r, s, &c) }},
		{"followers", func() error { return m.followers(ctx, &c) }},
		{"clients", func() error { return m.clients(&c) }},
		{"receipts", func() error { return m.receipts(ctx, &c) }},
		{"passes", func() error { return m.passes(ctx, &c) }},
	} {
		fmt.Fprintln(m.talk, "measuring", step.what)
		if err := step.do(); err != nil {
			return c, fmt.Errorf("measuring %s: %w", step.what, err)
		}
	}
	return c, nil
}

func machine() string {
	name := runtime.GOARCH
	if src, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(src), "model name\t: "); ok {
			name, _, _ = strings.Cut(rest, "\n")
		}
	}
	return fmt.Sprintf("%d shared cores of %s", runtime.NumCPU(), name)
}

func version(ctx context.Context, r *server) string {
	text, _ := r.admin.Info(ctx, "server").Result()
	_, rest, _ := strings.Cut(text, "redis_version:")
	v, _, _ := strings.Cut(rest, "\r")
	return v
}

func (m *meter) entries(ctx context.Context, r *server, s *redisstore.Store, c *Costs) error {
	src := bigSpec(unitEntries, 1)
	spec, err := flags.Decode("flags.json", src)
	if err != nil {
		return err
	}
	n := float64(spec.Len())
	var took time.Duration
	spent, _, err := r.spent(ctx, func() error {
		began := time.Now()
		err := land(ctx, s, spec, 1)
		took = time.Since(began)
		time.Sleep(buffersShrink)
		return err
	})
	c.SpecBytes = float64(len(src)) / n
	c.EntryBytes = (spent.memory - float64(len(src))) / n
	c.ColdPerSecond = n / took.Seconds()
	return err
}

// buffersShrink is how long Redis takes to give back what a connection needed for a large
// request, and to look idle.
const buffersShrink = 5 * time.Second

func (m *meter) changes(ctx context.Context, r *server, s *redisstore.Store, c *Costs) error {
	const rounds = 50
	var took []time.Duration
	for n := range rounds {
		spec, err := flags.Decode("flags.json", bigSpec(unitEntries, n+2))
		if err != nil {
			return err
		}
		began := time.Now()
		if err := land(ctx, s, spec, n+2); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	c.ChangeSeconds = median(took).Seconds()
	all, err := r.admin.XRevRangeN(ctx, redisstore.DefaultNamespace+"changes", "+", "-", 1).Result()
	if err != nil || len(all) == 0 {
		return fmt.Errorf("reading the last message: %w", err)
	}
	body, _ := all[0].Values["message"].(string)
	c.MessageBytes = float64(len(body))
	return nil
}

// reads measures what a client asks for after a message: the entries that it names.
func (m *meter) reads(ctx context.Context, r *server, s *redisstore.Store, c *Costs) error {
	const rounds = 5000
	var keys []flags.Key
	for i := range 10 {
		keys = append(keys, flags.Key{Feature: fmt.Sprintf("feature-%d", i), Tenant: "tenant-000001"})
	}
	spent, _, err := r.spent(ctx, func() error {
		for range rounds {
			if _, err := s.Read(ctx, keys); err != nil {
				return err
			}
		}
		return nil
	})
	c.ReadSeconds, c.ReadBytes = spent.cpu/rounds/10, spent.out/rounds/10
	return err
}

// connections measures what subscribers hold and what a message to each costs.
func (m *meter) connections(ctx context.Context, r *server, s *redisstore.Store, c *Costs) error {
	var subs []*redis.PubSub
	var conns []*redis.Client
	defer func() {
		for i := range subs {
			subs[i].Close()
			conns[i].Close()
		}
	}()
	idle, took, err := r.spent(ctx, func() error { time.Sleep(4 * buffersShrink); return nil })
	if err != nil {
		return err
	}
	c.IdleCores = idle.cpu / took.Seconds()
	before, err := r.usage(ctx)
	if err != nil {
		return err
	}
	spent, _, err := r.spent(ctx, func() error {
		for range unitConns {
			conn := redis.NewClient(&redis.Options{Addr: r.addr, PoolSize: 1})
			sub := conn.Subscribe(ctx, redisstore.DefaultNamespace+"changes")
			conns, subs = append(conns, conn), append(subs, sub)
			if _, err := sub.Receive(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.SubscribeSeconds = spent.cpu / unitConns
	time.Sleep(buffersShrink)
	after, err := r.usage(ctx)
	if err != nil {
		return err
	}
	c.ConnectionBytes = (after.memory - before.memory) / unitConns
	if idle, took, err = r.spent(ctx, func() error { time.Sleep(4 * buffersShrink); return nil }); err != nil {
		return err
	}
	c.ConnectionCores = max(0, idle.cpu/took.Seconds()-c.IdleCores) / unitConns
	const rounds = 40
	body := strings.Repeat("m", int(c.MessageBytes))
	spent, _, err = r.spent(ctx, func() error {
		for range rounds {
			if err := r.admin.Publish(ctx, redisstore.DefaultNamespace+"changes", body).Err(); err != nil {
				return err
			}
		}
		for _, sub := range subs {
			for range rounds {
				if _, err := sub.ReceiveMessage(ctx); err != nil {
					return err
				}
			}
		}
		return nil
	})
	c.PublishSeconds = spent.cpu / rounds / unitConns
	return err
}

// followers feeds a few real clients, and a few more: what a change costs Redis for each
// of them is the difference. Then they look at meta again and again, each on its own
// connection: a look in a tight loop on one is much cheaper than a real one.
func (m *meter) followers(ctx context.Context, c *Costs) error {
	const few, more, often = 25, 125, 250 * time.Millisecond
	one, err := m.fedTo(ctx, few, time.Minute)
	if err != nil {
		return err
	}
	many, err := m.fedTo(ctx, more, time.Minute)
	if err != nil {
		return err
	}
	c.FollowerBytes = (many.out - one.out) / (more - few)
	c.FollowerSeconds = max(many.cpu-one.cpu, 0) / (more - few)
	c.ChangeCPU = max(one.cpu-few*c.FollowerSeconds, 0)
	w, err := gather(ctx, unitEntries, few, often)
	if err != nil {
		return err
	}
	defer w.close()
	time.Sleep(buffersShrink)
	spent, took, err := w.r.spent(ctx, func() error { time.Sleep(4 * buffersShrink); return nil })
	if err != nil {
		return err
	}
	a := defaultAssumptions()
	a.Poll = often
	looks := few * a.metaPolls() * took.Seconds()
	c.MetaBytes, c.MetaSeconds = spent.out/looks, max(spent.cpu-c.IdleCores*took.Seconds(), 0)/looks
	return nil
}

// fedTo is what Redis spends on one change with so many clients: the median of some.
func (m *meter) fedTo(ctx context.Context, clients int, poll time.Duration) (usage, error) {
	const rounds = 9
	w, err := gather(ctx, unitEntries, clients, poll)
	if err != nil {
		return usage{}, err
	}
	defer w.close()
	var cpu, out []float64
	for range rounds {
		f, err := w.feed(ctx, unitEntries)
		if err != nil {
			return usage{}, err
		}
		cpu, out = append(cpu, f.spent.cpu), append(out, f.spent.out)
	}
	slices.Sort(cpu)
	slices.Sort(out)
	return usage{cpu: cpu[rounds/2], out: out[rounds/2]}, nil
}

func (m *meter) clients(c *Costs) error {
	src := bigSpec(unitEntries, 1)
	before := heap()
	spec, err := flags.Decode("flags.json", src)
	if err != nil {
		return err
	}
	c.ReconcilerBytes = 2 * (float64(heap()-before) + float64(len(src))) / float64(spec.Len()) // the last accepted one, and the next
	var took []time.Duration
	for range 5 {
		began := time.Now()
		fresh, err := flags.Decode("flags.json", src)
		if err != nil {
			return err
		}
		snap, err := flags.Compile(fresh)
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
		c.ClientBytes = float64(snap.Size()) / float64(snap.Len())
	}
	c.DecodeSeconds = median(took).Seconds() / float64(spec.Len())
	runtime.KeepAlive(spec)
	return nil
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
