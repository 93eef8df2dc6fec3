package trust_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/trust"
)

// A policy that parses has sane roles: every signer is known, every threshold can be
// reached, and nobody holds a key that somebody else holds.
func FuzzParse(f *testing.F) {
	f.Add(document(f, whole))
	f.Add(document(f, `{"version":1,"signers":{"alice":{"key":«alice»}},"roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}`))
	f.Add([]byte(`{"version":1,"signers":{"a":{"issuer":"i","subject_pattern":"a)|(b"}},"roles":{"r":{"signers":["a"],"may":["*"]}}}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := trust.Parse("trust.json", src)
		if err != nil {
			if p != nil {
				t.Fatal("a policy came with an error")
			}
			return
		}
		known, owner := map[string]bool{}, map[string]string{}
		for _, s := range p.Signers {
			known[s.Name] = true
			if len(s.Keys) == 0 && s.Keyless == nil {
				t.Fatalf("%s can sign nothing", s.Name)
			}
			for _, k := range s.Keys {
				if other, ok := owner[k.ID()]; ok {
					t.Fatalf("one key is %s's and %s's", other, s.Name)
				}
				owner[k.ID()] = s.Name
			}
			if s.Keyless != nil && s.Keyless.Pattern != nil && s.Keyless.Pattern.MatchString("") {
				t.Fatalf("%s's pattern matches nobody's name", s.Name)
			}
		}
		for _, r := range p.Roles {
			seen := map[string]bool{}
			for _, s := range r.Signers {
				if !known[s] || seen[s] {
					t.Fatalf("role %s has signer %q", r.Name, s)
				}
				seen[s] = true
			}
			if r.Threshold < 1 || r.Threshold > len(r.Signers) {
				t.Fatalf("role %s needs %d of %d", r.Name, r.Threshold, len(r.Signers))
			}
		}
		if p.HasFull(nil, now) || p.HasFull([]string{""}, now) {
			t.Fatal("nobody may do everything")
		}
	})
}

// A statement that parses is written back as one that says the same.
func FuzzParseOverride(f *testing.F) {
	for _, o := range []*trust.Override{
		override(trust.OverrideItem{Feature: "x"}),
		override(trust.OverrideItem{Feature: "x", Tenant: "acme", Pct: pct(500)}, trust.OverrideItem{Feature: "y", Tenant: "__default__"}),
	} {
		src, err := o.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		o, err := trust.ParseOverride("o.json", src)
		if err != nil {
			return
		}
		if !o.Issued.Before(o.Expires) || len(o.Set) == 0 || o.ID == "" || strings.TrimSpace(o.ID) != o.ID {
			t.Fatalf("%+v", o)
		}
		// Times are written in whole seconds.
		if o.Issued.Nanosecond()+o.Expires.Nanosecond() != 0 {
			return
		}
		out, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := trust.ParseOverride("o.json", out)
		if err != nil || again.String() != o.String() || again.ID != o.ID || again.Environment != o.Environment || !again.Issued.Equal(o.Issued) {
			t.Fatalf("%s\nbecame %s: %v", src, out, err)
		}
	})
}

// What parses is kept byte for byte.
func FuzzParseSealed(f *testing.F) {
	f.Add([]byte(`{"format":"sealed/v1","statement":"{\"a\":1}\n","bundles":[{"x":1}]}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		s, err := trust.ParseSealed("s.json", src)
		if err != nil {
			return
		}
		out, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := trust.ParseSealed("s.json", out)
		if err != nil || !bytes.Equal(again.Statement, s.Statement) || len(again.Bundles) != len(s.Bundles) {
			t.Fatalf("%s\nbecame %s: %v", src, out, err)
		}
	})
}
