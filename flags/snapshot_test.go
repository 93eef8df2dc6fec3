package flags

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// world makes random entries: few features and tenants, so that they meet.
func world(r *rand.Rand, features, tenants int) map[Key]Entry {
	m := map[Key]Entry{}
	for f := range features {
		name := fmt.Sprintf("feature-%d", f)
		if r.IntN(10) > 0 {
			m[Key{name, DefaultTenant}] = randomEntry(r)
		}
		for t := range tenants {
			if r.IntN(3) == 0 {
				m[Key{name, fmt.Sprintf("tenant-%d", t)}] = randomEntry(r)
			}
		}
	}
	return m
}

func randomEntry(r *rand.Rand) Entry {
	e := Entry{Version: fmt.Sprintf("v1+ramp.%d", r.IntN(5)), Enabled: r.IntN(5) > 0, Pct: Pct(r.IntN(101)) * 1000}
	if r.IntN(2) == 0 {
		e.Salt = strings.Repeat("s", 1+r.IntN(200))
		e.Pct = Pct(r.IntN(100_001))
	}
	for range []int{0, 0, 1, 3, 30, 300}[r.IntN(6)] {
		u := fmt.Sprintf("user-%d", r.IntN(400))
		if r.IntN(4) == 0 {
			sum := sha256.Sum256([]byte(u))
			u = hashedPrefix + hex.EncodeToString(sum[:])
		}
		e.Cohorts = append(e.Cohorts, u)
	}
	return e
}

// want is the decision by the plain rule over a plain map.
func want(m map[Key]Entry, feature, tenant, user string) Decision {
	for _, t := range []string{tenant, DefaultTenant} {
		if e, ok := m[Key{feature, t}]; ok {
			d := Decide(&e, tenant, user)
			d.Tenant = t
			return d
		}
	}
	return Decide(nil, tenant, user)
}

func randomUser(r *rand.Rand) string {
	switch r.IntN(10) {
	case 0:
		return ""
	case 1:
		sum := sha256.Sum256(fmt.Appendf(nil, "user-%d", r.IntN(400)))
		return hashedPrefix + hex.EncodeToString(sum[:])
	case 2:
		return strings.Repeat("long", 100) + fmt.Sprint(r.IntN(9))
	}
	return fmt.Sprintf("user-%d", r.IntN(800))
}

func checkSnapshot(t *testing.T, r *rand.Rand, s *Snapshot, m map[Key]Entry, features, tenants int) {
	t.Helper()
	if s.Len() != len(m) {
		t.Fatalf("Len = %d, want %d", s.Len(), len(m))
	}
	for range 500 {
		f, tn, u := fmt.Sprintf("feature-%d", r.IntN(features+1)), fmt.Sprintf("tenant-%d", r.IntN(tenants+1)), randomUser(r)
		w := want(m, f, tn, u)
		if got := s.Decide(f, tn, u); got != w {
			t.Fatalf("Decide(%s, %s, %s) = %+v, want %+v; entry %+v", f, tn, u, got, w, m[Key{f, w.Tenant}])
		}
		sub := s.For(tn, u)
		if got := sub.Decide(f); got != w {
			t.Fatalf("For(%s, %s).Decide(%s) = %+v, want %+v", tn, u, f, got, w)
		}
		if s.Enabled(f, tn, u) != w.On || sub.Enabled(f) != w.On {
			t.Fatalf("Enabled(%s, %s, %s) is not what Decide says: %+v", f, tn, u, w)
		}
	}
	last, n := "", 0
	for f, got := range s.All("tenant-1", "user-7") {
		if f <= last {
			t.Fatalf("All yields %q after %q", f, last)
		}
		if w := want(m, f, "tenant-1", "user-7"); got != w {
			t.Fatalf("All: %s = %+v, want %+v", f, got, w)
		}
		last = f
		n++
	}
	names := map[string]bool{}
	for k := range m {
		names[k.Feature] = true
	}
	if n != len(names) {
		t.Fatalf("All yields %d features, want %d", n, len(names))
	}
	seen := map[Key]bool{}
	for k, e := range s.Entries() {
		w, ok := m[k]
		if !ok || seen[k] {
			t.Fatalf("Entries yields %v, known %v, seen %v", k, ok, seen[k])
		}
		seen[k] = true
		if e.Version != w.Version || e.Enabled != w.Enabled || e.Pct != w.Pct || e.Salt != w.Salt || !sameSet(e.Cohorts, w.Cohorts) {
			t.Fatalf("Entries: %v = %+v, want %+v", k, e, w)
		}
	}
	if len(seen) != len(m) {
		t.Fatalf("Entries yields %d, want %d", len(seen), len(m))
	}
}

func sameSet(a, b []string) bool {
	count := map[string]int{}
	for _, m := range a {
		count[m]++
	}
	for _, m := range b {
		count[m]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestSnapshotDecidesLikeThePlainRule(t *testing.T) {
	for i := range uint64(20) {
		r := rand.New(rand.NewPCG(4, i))
		m := world(r, 1+r.IntN(20), r.IntN(30))
		s, err := CompileEntries(maps.All(m))
		if err != nil {
			t.Fatal(err)
		}
		checkSnapshot(t, r, s, m, 20, 30)
	}
}

func TestUpdateEqualsCompilingAnew(t *testing.T) {
	for i := range uint64(10) {
		r := rand.New(rand.NewPCG(5, i))
		m := world(r, 10, 20)
		s, err := CompileEntries(maps.All(m))
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			before, old := maps.Clone(m), s
			changes := map[Key]*Entry{}
			for range 1 + r.IntN(12) {
				k := Key{fmt.Sprintf("feature-%d", r.IntN(12)), fmt.Sprintf("tenant-%d", r.IntN(25))}
				if r.IntN(4) == 0 {
					k.Tenant = DefaultTenant
				}
				if r.IntN(3) == 0 {
					changes[k] = nil
					delete(m, k)
				} else {
					e := randomEntry(r)
					changes[k] = &e
					m[k] = e
				}
			}
			if s, err = s.Update(maps.All(changes)); err != nil {
				t.Fatal(err)
			}
			checkSnapshot(t, r, s, m, 12, 25)
			checkSnapshot(t, r, old, before, 12, 25)
		}
	}
}

func TestUpdateOfNothing(t *testing.T) {
	s, err := CompileEntries(maps.All(map[Key]Entry{}))
	if err != nil {
		t.Fatal(err)
	}
	if d := s.Decide("a", "b", "c"); d.Reason != ReasonNoConfig || d.On {
		t.Errorf("empty snapshot decides %+v", d)
	}
	s, err = s.Update(maps.All(map[Key]*Entry{{"a", "b"}: nil, {"a", DefaultTenant}: {Enabled: true, Pct: Full, Version: "v1"}}))
	if err != nil {
		t.Fatal(err)
	}
	if d := s.Decide("a", "b", "c"); !d.On || d.Tenant != DefaultTenant {
		t.Errorf("after one entry: %+v", d)
	}
}

func TestDecisionsDoNotAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	m := world(r, 20, 20)
	s, err := CompileEntries(maps.All(m))
	if err != nil {
		t.Fatal(err)
	}
	users := []string{"", "user-3", strings.Repeat("u", 64), strings.Repeat("u", 2000)}
	features := make([]string, 20)
	for i := range features {
		features[i] = fmt.Sprintf("feature-%d", i)
	}
	n := 0
	for name, decide := range map[string]func(f, u string) bool{
		"Snapshot.Decide": func(f, u string) bool { return s.Decide(f, "tenant-3", u).On },
		"Subject.Decide":  func(f, u string) bool { sub := s.For("tenant-3", u); return sub.Decide(f).On },
		"Decide": func(f, u string) bool {
			e := m[Key{f, DefaultTenant}]
			return Decide(&e, "tenant-3", u).On
		},
	} {
		allocs := testing.AllocsPerRun(10, func() {
			for _, f := range features {
				for _, u := range users {
					if decide(f, u) {
						n++
					}
				}
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations in %d decisions", name, allocs, len(features)*len(users))
		}
	}
	if n == 0 {
		t.Error("nothing was on: the test tests little")
	}
}

// cohortEntries yields n tenants with three members of their own each.
func cohortEntries(n int) func(yield func(Key, Entry) bool) {
	return func(yield func(Key, Entry) bool) {
		if !yield(Key{"receipts", DefaultTenant}, Entry{Version: "v1", Enabled: true, Pct: 20_000}) {
			return
		}
		for i := range n - 1 {
			e := Entry{Version: "v1+ramp.7", Enabled: true, Pct: 20_000, Cohorts: []string{
				fmt.Sprintf("user-%07d", 3*i), fmt.Sprintf("user-%07d", 3*i+1), fmt.Sprintf("user-%07d", 3*i+2),
			}}
			if !yield(Key{"receipts", fmt.Sprintf("tenant-%06d", i)}, e) {
				return
			}
		}
	}
}

func TestBytesAnEntry(t *testing.T) {
	const n = 100_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s, err := CompileEntries(cohortEntries(n))
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("%d bytes an entry on the heap, %d by Size", held, s.Size()/n)
	if s.Len() != n || held > 120 {
		t.Errorf("%d entries hold %d bytes each, want at most 120", s.Len(), held)
	}
	if d := s.Decide("receipts", "tenant-000777", "user-0002332"); d.Reason != ReasonCohort {
		t.Errorf("member decided %+v", d)
	}
}

func TestNeedsKey(t *testing.T) {
	s, err := CompileEntries(maps.All(map[Key]Entry{
		{"half", DefaultTenant}:    {Enabled: true, Pct: 50_000},
		{"none", DefaultTenant}:    {Enabled: true},
		{"listed", DefaultTenant}:  {Enabled: true, Cohorts: []string{"A"}},
		{"all", DefaultTenant}:     {Enabled: true, Pct: Full, Cohorts: []string{"A"}},
		{"off", DefaultTenant}:     {Pct: 50_000, Cohorts: []string{"A"}},
		{"tenants", DefaultTenant}: {Enabled: true, Pct: Full},
		{"tenants", "acme"}:        {Enabled: true, Pct: 1},
	}))
	if err != nil {
		t.Fatal(err)
	}
	sub := s.For("acme", "")
	for feature, want := range map[string]bool{"half": true, "none": false, "listed": true, "all": false, "off": false, "tenants": true, "unknown": false} {
		if sub.NeedsKey(feature) != want {
			t.Errorf("NeedsKey(%s) = %v", feature, !want)
		}
	}
}
