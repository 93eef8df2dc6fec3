package flags

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"
)

// onePerFeature is n features at 20 percent, with no tenants.
func onePerFeature(n int) (map[Key]Entry, []string) {
	m := make(map[Key]Entry, n)
	names := make([]string, n)
	for i := range n {
		names[i] = fmt.Sprintf("feature-%05d", i)
		m[Key{names[i], DefaultTenant}] = Entry{Version: "v1", Enabled: true, Pct: 20_000}
	}
	return m, names
}

func mustCompile(tb testing.TB, entries func(func(Key, Entry) bool)) *Snapshot {
	s, err := CompileEntries(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

var sinkOn int

// BenchmarkDecide compares a decision with its floor: a look-up in a map by the
// same key and the sha256 of the same user. The project promises at most 1.5
// times the floor, whatever the number of features.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		m, names := onePerFeature(n)
		byName := make(map[string]Pct, n)
		for k, e := range m {
			byName[k.Feature] = e.Pct
		}
		s := mustCompile(b, maps.All(m))
		b.Run(fmt.Sprintf("floor/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				pct := byName[names[i]]
				sum := sha256.Sum256([]byte("user-123456"))
				if Pct(binary.BigEndian.Uint32(sum[:4])%100)*1000 < pct {
					sinkOn++
				}
				if i++; i == n {
					i = 0
				}
			}
		})
		b.Run(fmt.Sprintf("snapshot/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if s.Decide(names[i], "acme", "user-123456").On {
					sinkOn++
				}
				if i++; i == n {
					i = 0
				}
			}
		})
		b.Run(fmt.Sprintf("subject/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			sub := s.For("acme", "user-123456")
			i := 0
			for b.Loop() {
				if sub.Decide(names[i]).On {
					sinkOn++
				}
				if i++; i == n {
					i = 0
				}
			}
		})
	}
}

// BenchmarkDecideTenants decides for random tenants that have entries of their
// own: mostly cache misses, in the floor as well.
func BenchmarkDecideTenants(b *testing.B) {
	const n = 100_000
	m := maps.Collect(cohortEntries(n))
	tenants := make([]string, 0, n)
	for k := range m {
		tenants = append(tenants, k.Tenant)
	}
	s := mustCompile(b, maps.All(m))
	b.Run("floor", func(b *testing.B) {
		i := 0
		for b.Loop() {
			e := m[Key{"receipts", tenants[i]}]
			sum := sha256.Sum256([]byte("user-123456"))
			if Pct(binary.BigEndian.Uint32(sum[:4])%100)*1000 < e.Pct {
				sinkOn++
			}
			if i++; i == n {
				i = 0
			}
		}
	})
	b.Run("snapshot", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if s.Decide("receipts", tenants[i], "user-123456").On {
				sinkOn++
			}
			if i++; i == n {
				i = 0
			}
		}
	})
}

func BenchmarkDecideParallel(b *testing.B) {
	m, names := onePerFeature(1000)
	s := mustCompile(b, maps.All(m))
	b.RunParallel(func(pb *testing.PB) {
		i, on := 0, 0
		for pb.Next() {
			if s.Decide(names[i], "acme", "user-123456").On {
				on++
			}
			if i++; i == len(names) {
				i = 0
			}
		}
	})
}

func BenchmarkAll(b *testing.B) {
	for _, tenants := range []int{0, 10} {
		m, names := onePerFeature(1000)
		for _, name := range names {
			for t := range tenants {
				m[Key{name, fmt.Sprintf("tenant-%d", t)}] = Entry{Version: "v2", Enabled: true, Pct: 50_000}
			}
		}
		s := mustCompile(b, maps.All(m))
		for _, who := range []string{"tenant-3", "acme"} {
			b.Run(fmt.Sprintf("1000x%d/%s", tenants, who), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					for _, d := range s.All(who, "user-123456") {
						if d.On {
							sinkOn++
						}
					}
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	m := maps.Collect(cohortEntries(100_000))
	for b.Loop() {
		mustCompile(b, maps.All(m))
	}
}

func BenchmarkUpdateOne(b *testing.B) {
	s := mustCompile(b, cohortEntries(100_000))
	i := 0
	for b.Loop() {
		e := Entry{Version: fmt.Sprintf("v1+ramp.%d", i), Enabled: true, Pct: 30_000}
		i++
		var err error
		s, err = s.Update(func(yield func(Key, *Entry) bool) {
			yield(Key{"receipts", fmt.Sprintf("tenant-%06d", i%1000)}, &e)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCollect runs a garbage collection with a million entries alive.
func BenchmarkCollect(b *testing.B) {
	s := mustCompile(b, cohortEntries(1_000_000))
	runtime.GC()
	b.ReportMetric(float64(s.Size())/float64(s.Len()), "B/entry")
	var worst time.Duration
	for b.Loop() {
		start := time.Now()
		runtime.GC()
		worst = max(worst, time.Since(start))
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
	runtime.KeepAlive(s)
}
