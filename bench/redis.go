package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

// server is a redis-server of our own on loopback that keeps nothing.
type server struct {
	addr  string
	cmd   *exec.Cmd
	admin *redis.Client
}

func startRedis(ctx context.Context) (*server, error) {
	for range 20 {
		port := 12000 + rand.IntN(18000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		l.Close()
		s := &server{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		s.cmd = exec.Command("redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxclients", "50000", "--dir", os.TempDir())
		s.cmd.Stdout, s.cmd.Stderr = io.Discard, io.Discard
		if err := s.cmd.Start(); err != nil {
			return nil, fmt.Errorf("starting redis-server: %w", err)
		}
		s.admin = redis.NewClient(&redis.Options{Addr: s.addr, ReadTimeout: time.Minute})
		for range 100 {
			if s.admin.Ping(ctx).Err() == nil {
				return s, nil
			}
			time.Sleep(50 * time.Millisecond)
		}
		s.stop()
	}
	return nil, fmt.Errorf("redis-server did not start on any of twenty ports")
}

func (s *server) stop() {
	s.admin.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// usage is what Redis says of itself.
type usage struct{ memory, cpu, out float64 }

// usage of Redis so far: bytes of memory, seconds of CPU, bytes sent.
func (s *server) usage(ctx context.Context) (usage, error) {
	text, err := s.admin.Info(ctx, "memory", "cpu", "stats").Result()
	if err != nil {
		return usage{}, fmt.Errorf("asking Redis about itself: %w", err)
	}
	field := func(name string) float64 {
		_, rest, _ := strings.Cut(text, "\n"+name+":")
		value, _, _ := strings.Cut(rest, "\r")
		f, _ := strconv.ParseFloat(value, 64)
		return f
	}
	return usage{field("used_memory"), field("used_cpu_sys") + field("used_cpu_user"), field("total_net_output_bytes")}, nil
}

// spent is what happened in Redis while f ran.
func (s *server) spent(ctx context.Context, f func() error) (usage, time.Duration, error) {
	before, err := s.usage(ctx)
	if err != nil {
		return usage{}, 0, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return usage{}, 0, err
	}
	took := time.Since(began)
	after, err := s.usage(ctx)
	return usage{after.memory - before.memory, after.cpu - before.cpu, after.out - before.out}, took, err
}

func (s *server) open(ctx context.Context) (*redisstore.Store, error) {
	return redisstore.Open(ctx, redisstore.Options{URL: "redis://" + s.addr, Timeout: time.Minute, Log: slog.New(slog.DiscardHandler)})
}

// bigSpec is a spec with so many entries: ten features, each with tenants of three
// cohort members, as the benchmarks of the packages have it.
func bigSpec(entries, version int) []byte {
	const features = 10
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"version\": \"flags-v1+ramp.%d\",\n  \"environment\": \"prod\",\n  \"features\": {", version)
	for f := range features {
		if f > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n    \"feature-%d\": {\"pct\": %d, \"tenants\": {", f, version%50)
		for i := range max(entries/features-1, 1) {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "\n      \"tenant-%06d\": {\"pct\": 50, \"version\": \"v1+ramp.7\", \"cohorts\": [\"user-%07d\", \"user-%07d\", \"user-%07d\"]}", i, 3*i, 3*i+1, 3*i+2)
		}
		b.WriteString("\n    }}")
	}
	b.WriteString("\n  }\n}\n")
	return b.Bytes()
}

// changed is the n-th generation of a spec, as writes: ten entries differ from one to
// the next.
func changed(spec *flags.Spec, from int) []redisstore.KV {
	var set []redisstore.KV
	for k, e := range spec.Entries() {
		if from == 0 || k.Tenant == flags.DefaultTenant {
			set = append(set, redisstore.KV{Key: k, Value: e.AppendJSON(nil)})
		}
	}
	return set
}

// land makes generation n of a spec live: all of it, or only what differs from the one
// before.
func land(ctx context.Context, s *redisstore.Store, spec *flags.Spec, n int) error {
	c := redisstore.Change{
		Set: changed(spec, n-1), Spec: spec.Bytes(), Bundle: []byte("{}"),
		Meta: redisstore.Meta{
			Generation: uint64(n), Epoch: 1, Commit: fmt.Sprintf("%040d", n), Version: spec.Version, Digest: spec.Digest(), Environment: spec.Environment,
			AppliedAt: time.Now().UTC().Format(time.RFC3339Nano), Reconciler: "bench", Attestation: strings.Repeat("x", 500), // as long as a real one
		},
	}
	fence := redisstore.Fence{}
	if n > 1 {
		fence = redisstore.Fence{Generation: uint64(n - 1), Epoch: 1}
	}
	_, err := s.Apply(ctx, fence, c)
	return err
}
