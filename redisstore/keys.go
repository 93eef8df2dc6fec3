package redisstore

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rampart-flags/rampart/flags"
)

// DefaultNamespace is the prefix of every key where none is given.
const DefaultNamespace = "flags:v1:"

// maxNamespace bounds a namespace, in bytes: it is repeated in every key.
const maxNamespace = 256

// The names of the system keys. None has a colon, an entry's has exactly one.
const (
	nameSpec      = "spec"
	nameBundle    = "bundle"
	nameMeta      = "meta"
	nameChanges   = "changes"
	nameLease     = "lease"
	nameOverrides = "overrides"
)

var systemNames = []string{nameSpec, nameBundle, nameMeta, nameChanges, nameLease, nameOverrides}

// namespace is the prefix of one environment's keys. It ends in a colon.
type namespace string

// parseNamespace adds the last colon where it is missing, which older settings
// allow, and refuses what would make keys hard to read or tell apart.
func parseNamespace(s string) (namespace, error) {
	if s == "" {
		return DefaultNamespace, nil
	}
	if !strings.HasSuffix(s, ":") {
		s += ":"
	}
	switch {
	case s == ":":
		return "", errors.New("namespace \":\" has no name before the colon")
	case len(s) > maxNamespace:
		return "", fmt.Errorf("namespace of %d bytes: %d are allowed", len(s), maxNamespace)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("namespace %q is not UTF-8", s)
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return "", fmt.Errorf("namespace %q has a space or control character", s)
	}
	return namespace(s), nil
}

func (ns namespace) entry(k flags.Key) string {
	return string(ns) + k.Feature + ":" + k.Tenant
}

func (ns namespace) system(name string) string { return string(ns) + name }

// parse tells whether key is an entry of this namespace, by its form alone: after
// the prefix exactly one colon, with something on both sides. A key with none is
// a system key; one with more may be another namespace's that lies inside this.
func (ns namespace) parse(key string) (flags.Key, bool) {
	rest, ok := strings.CutPrefix(key, string(ns))
	if !ok {
		return flags.Key{}, false
	}
	feature, tenant, ok := strings.Cut(rest, ":")
	if !ok || feature == "" || tenant == "" || strings.Contains(tenant, ":") {
		return flags.Key{}, false
	}
	return flags.Key{Feature: feature, Tenant: tenant}, true
}

// checkKey refuses a key that would not parse back to itself.
func (ns namespace) checkKey(k flags.Key) error {
	if back, ok := ns.parse(ns.entry(k)); !ok || back != k {
		return fmt.Errorf("%q is no entry's name: a feature and a tenant, neither empty nor with a colon", k.String())
	}
	return nil
}

// pattern matches every key of the namespace and no other, in SCAN and PSUBSCRIBE.
func (ns namespace) pattern() string { return globEscape(string(ns)) + "*" }

var globEscape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace

// tagged tells whether every key of the namespace falls into one slot of a
// cluster: the namespace holds a hash tag, as flags:{v1}: does.
func (ns namespace) tagged() bool {
	_, after, ok := strings.Cut(string(ns), "{")
	return ok && strings.Index(after, "}") > 0
}
