package redisstore

import (
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
)

func TestNamespaceForms(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "flags:v1:",
		"flags:v1:":                  "flags:v1:",
		"flags:v1":                   "flags:v1:",
		"flags:{v1}":                 "flags:{v1}:",
		"a":                          "a:",
		"prod/eu [*]":                "",
		":":                          "",
		"a\nb:":                      "",
		"a\xff:":                     "",
		strings.Repeat("n", 256):     "",
		strings.Repeat("n", 255):     strings.Repeat("n", 255) + ":",
		"prod*[eu]?\\:":              "prod*[eu]?\\:",
		"flags:" + "\u00fcber" + ":": "flags:über:",
	} {
		got, err := parseNamespace(in)
		if (err != nil) != (want == "") || err == nil && string(got) != want {
			t.Errorf("parseNamespace(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestNamespaceTellsKeysApartByForm(t *testing.T) {
	ns := namespace("flags:v1:")
	for key, want := range map[string]flags.Key{
		"flags:v1:receipts:acme":        {Feature: "receipts", Tenant: "acme"},
		"flags:v1:receipts:__default__": {Feature: "receipts", Tenant: "__default__"},
		"flags:v1:meta:spec":            {Feature: "meta", Tenant: "spec"},
		"flags:v1:meta":                 {},
		"flags:v1:":                     {},
		"flags:v1:receipts:":            {},
		"flags:v1::acme":                {},
		"flags:v1:a:b:c":                {},
		"flags:v2:receipts:acme":        {},
		"Flags:v1:receipts:acme":        {},
		"xflags:v1:receipts:acme":       {},
	} {
		got, ok := ns.parse(key)
		if ok != (want != flags.Key{}) || got != want {
			t.Errorf("parse(%q) = %v, %v; want %v", key, got, ok, want)
		}
	}
}

func TestNamespaceHashTag(t *testing.T) {
	for ns, want := range map[namespace]bool{
		"flags:{v1}:": true, "{flags}:": true, "flags:v1:": false, "flags:{}:": false, "flags:{v1:": false,
		"}{:": false, "{}{a}:": false,
	} {
		if got := ns.tagged(); got != want {
			t.Errorf("tagged(%q) = %v, want %v", ns, got, want)
		}
	}
}

func FuzzKeyComesBackFromItsName(f *testing.F) {
	f.Add("flags:v1:", "receipts", "acme")
	f.Add("flags:", "v1", "meta")
	f.Add("a:", "b:", "c")
	f.Add("{x}:", "", "\xff")
	f.Fuzz(func(t *testing.T, in, feature, tenant string) {
		ns, err := parseNamespace(in)
		if err != nil {
			t.Skip()
		}
		k := flags.Key{Feature: feature, Tenant: tenant}
		plain := feature != "" && tenant != "" && !strings.Contains(feature+tenant, ":")
		if err := ns.checkKey(k); (err == nil) != plain {
			t.Fatalf("checkKey(%q) = %v", k, err)
		}
		if back, ok := ns.parse(ns.entry(k)); ok && (back != k || !plain) {
			t.Fatalf("%q came back as %q", k, back)
		}
		for _, name := range systemNames {
			if _, ok := ns.parse(ns.system(name)); ok {
				t.Fatalf("the system key %s counts as an entry of %s", name, ns)
			}
		}
	})
}
