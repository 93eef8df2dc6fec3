package flags

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"testing"
)

// TestVectors holds the decision to testdata/decide.jsonl, which clients in
// other languages are held to as well: one object a line with entry, tenant,
// user, and the expected on and reason.
func TestVectors(t *testing.T) {
	f, err := os.Open("testdata/decide.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var v struct {
			Entry struct {
				Version string
				Enabled bool
				Pct     Pct
				Cohorts []string
				Salt    string
			}
			Tenant, User string
			On           bool
			Reason       Reason
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		e := Entry(v.Entry)
		check := func(how string, d Decision) {
			if d.On != v.On || d.Reason != v.Reason || d.Version != e.Version {
				t.Errorf("line %d: %s = %+v, want %v %s", n+1, how, d, v.On, v.Reason)
			}
		}
		check("Decide", Decide(&e, v.Tenant, v.User))
		for _, of := range []string{v.Tenant, DefaultTenant} {
			s, err := CompileEntries(maps.All(map[Key]Entry{{"f", of}: e}))
			if err != nil {
				t.Fatal(err)
			}
			check("Snapshot.Decide", s.Decide("f", v.Tenant, v.User))
			sub := s.For(v.Tenant, v.User)
			check("Subject.Decide", sub.Decide("f"))
		}
	}
	if n < 400 {
		t.Errorf("%d vectors, want at least 400", n)
	}
}

func TestNoEntry(t *testing.T) {
	if d := Decide(nil, "acme", "u"); d != (Decision{Reason: ReasonNoConfig}) {
		t.Errorf("Decide(nil) = %+v", d)
	}
}

// TestRaisingNeverTurnsOff walks the percentage up for many subjects: once on,
// a subject stays on, and at each step the share is near the percentage.
func TestRaisingNeverTurnsOff(t *testing.T) {
	const subjects = 4000
	for _, salt := range []string{"", "checkout"} {
		on := map[int]bool{}
		for pct := Pct(0); pct <= Full; pct += 5000 {
			e := Entry{Enabled: true, Pct: pct, Salt: salt}
			n := 0
			for i := range subjects {
				d := Decide(&e, "acme", "user-"+string(rune('a'+i%26))+"-"+Pct(i).String())
				if on[i] && !d.On {
					t.Fatalf("salt %q: subject %d was on and is off at %s", salt, i, pct)
				}
				if on[i] = d.On; d.On {
					n++
				}
			}
			share := float64(n) / subjects * 100
			if diff := share - float64(pct)/1000; diff > 4 || diff < -4 {
				t.Errorf("salt %q: %.1f %% on at %s", salt, share, pct)
			}
		}
	}
}

func TestMembersMatchExactly(t *testing.T) {
	const digest = "sha256:7c4a8d09ca3762af61e59520943dc26494f8941bb4f0c3f1ba0d0c5d0d8b7c1a"
	e := Entry{Enabled: true, Cohorts: []string{"User-1", "SHA256:00", digest, " padded"}}
	for user, in := range map[string]bool{
		"User-1": true, "user-1": false, "User-1 ": false, " padded": true, "padded": false, digest: true,
	} {
		if d := Decide(&e, "acme", user); d.On != in {
			t.Errorf("Decide(%q) = %+v, want on=%v", user, d, in)
		}
		s, err := CompileEntries(maps.All(map[Key]Entry{{"f", DefaultTenant}: e}))
		if err != nil {
			t.Fatal(err)
		}
		if d := s.Decide("f", "acme", user); d.On != in {
			t.Errorf("Snapshot.Decide(%q) = %+v, want on=%v", user, d, in)
		}
	}
}
