package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/rampart-flags/rampart/flags"
)

// effect is what a difference of two specs does to the people behind one entry. A tenant that has
// no entry of its own follows the feature's, whose tenant here is flags.DefaultTenant.
type effect struct {
	Feature string `json:"feature"`
	Tenant  string `json:"tenant"`
	// On and Off are the shares of users, 0 to 1, that are turned on and off: exact where both
	// sides use the same buckets, expected where people are dealt into new ones.
	On  float64 `json:"on"`
	Off float64 `json:"off"`
	// Rebuckets: a salt changed, so that who is in the percentage is drawn anew.
	Rebuckets bool `json:"rebuckets"`
	// MembersOn and MembersOff are cohort members, as written, that are turned on and off.
	MembersOn  []string `json:"members_on,omitempty"`
	MembersOff []string `json:"members_off,omitempty"`
}

// effects has one effect for each entry that changes concern, sorted by feature and tenant.
func effects(changes []flags.Change) []effect {
	type pair struct{ before, after *flags.Entry }
	seen := map[flags.Key]pair{}
	for _, c := range changes {
		if c.Before != nil || c.After != nil {
			seen[c.Key()] = pair{c.Before, c.After}
		}
	}
	out := make([]effect, 0, len(seen))
	for key, p := range seen {
		out = append(out, newEffect(key, p.before, p.after))
	}
	slices.SortFunc(out, func(a, b effect) int {
		return cmp.Or(cmp.Compare(a.Feature, b.Feature), cmp.Compare(tenantOrder(a.Tenant), tenantOrder(b.Tenant)))
	})
	return out
}

// tenantOrder sorts a feature's own entry before its tenants'.
func tenantOrder(tenant string) string {
	if tenant == flags.DefaultTenant {
		return ""
	}
	return tenant
}

func newEffect(key flags.Key, before, after *flags.Entry) effect {
	e := effect{Feature: key.Feature, Tenant: key.Tenant}
	from, to := share(before), share(after)
	// At 0 and at 100 % nobody is drawn, whatever the salt.
	drawn := from > 0 && from < 1 && to > 0 && to < 1
	if drawn && saltOf(before) != saltOf(after) {
		e.Rebuckets = true
		e.On, e.Off = round(to*(1-from)), round(from*(1-to))
	} else {
		e.On, e.Off = round(max(0, to-from)), round(max(0, from-to))
	}
	for _, m := range membersOf(before, after) {
		was, is := m.listed[0] || bucketOn(before, key.Tenant, m.name), m.listed[1] || bucketOn(after, key.Tenant, m.name)
		switch {
		case is && !was:
			e.MembersOn = append(e.MembersOn, m.name)
		case was && !is:
			e.MembersOff = append(e.MembersOff, m.name)
		}
	}
	return e
}

// share is the part of users, 0 to 1, that the percentage alone turns on.
func share(e *flags.Entry) float64 {
	if e == nil || !e.Enabled {
		return 0
	}
	return min(1, float64(e.Pct)/float64(flags.Full))
}

// round drops what floating point adds beyond the thousandth of a percent that an entry can say.
func round(f float64) float64 { return math.Round(f*1e7) / 1e7 }

func saltOf(e *flags.Entry) string {
	if e == nil {
		return ""
	}
	return e.Salt
}

// member is somebody who is listed in the cohorts of one side and not of the other.
type member struct {
	name   string
	listed [2]bool // before, after, by an entry that is enabled
}

// hashedMember is the form in which a list names somebody by hash.
var hashedMember = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// membersOf lists who is listed on one side only, sorted by name. Whether a list names somebody
// plainly or by hash makes no difference.
func membersOf(before, after *flags.Entry) []member {
	all := map[string]*member{}
	for side, e := range [2]*flags.Entry{before, after} {
		if e == nil || !e.Enabled {
			continue
		}
		for _, name := range e.Cohorts {
			id := name
			if !hashedMember.MatchString(name) {
				sum := sha256.Sum256([]byte(name))
				id = "sha256:" + hex.EncodeToString(sum[:])
			}
			m := all[id]
			if m == nil {
				m = &member{name: name}
				all[id] = m
			}
			m.listed[side] = true
			if id != name {
				m.name = name
			}
		}
	}
	var out []member
	for _, m := range all {
		if m.listed[0] != m.listed[1] {
			out = append(out, *m)
		}
	}
	slices.SortFunc(out, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	return out
}

// bucketOn is whether the percentage alone turns name on. Of somebody known by hash only that cannot
// be told, short of everyone.
func bucketOn(e *flags.Entry, tenant, name string) bool {
	if e == nil {
		return false
	}
	bare := *e
	bare.Cohorts = nil
	if hashedMember.MatchString(name) {
		return bare.Enabled && bare.Pct >= flags.Full
	}
	return flags.Decide(&bare, tenant, name).On
}

// none says that nobody is turned on or off and nobody is drawn anew.
func (e effect) none() bool {
	return e.On == 0 && e.Off == 0 && !e.Rebuckets && len(e.MembersOn) == 0 && len(e.MembersOff) == 0
}

// String is the effect as a sentence: "10% of users turned on; user-123 turned off".
func (e effect) String() string {
	var parts []string
	about := ""
	if e.Rebuckets {
		parts, about = append(parts, "everyone is drawn anew"), "about "
	}
	if e.On > 0 {
		parts = append(parts, about+people(e.On)+" turned on")
	}
	if e.Off > 0 {
		parts = append(parts, about+people(e.Off)+" turned off")
	}
	if len(e.MembersOn) > 0 {
		parts = append(parts, some(e.MembersOn, 5)+" turned on")
	}
	if len(e.MembersOff) > 0 {
		parts = append(parts, some(e.MembersOff, 5)+" turned off")
	}
	if len(parts) == 0 {
		return "nobody"
	}
	return strings.Join(parts, "; ")
}

func people(share float64) string {
	if share >= 1 {
		return "everyone"
	}
	return percent(share) + " of users"
}

func percent(share float64) string {
	return flags.Pct(math.Round(share*float64(flags.Full))).String() + " %"
}

// some lists the first n of names and counts the rest.
func some(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

// blast sums effects up: how far a change reaches.
type blast struct {
	Features  int `json:"features"`  // that are touched
	Entries   int `json:"entries"`   // that are touched
	Rises     int `json:"rises"`     // entries in which somebody is turned on
	Falls     int `json:"falls"`     // entries in which somebody is turned off
	Rebuckets int `json:"rebuckets"` // entries whose users are drawn anew
}

func sumUp(all []effect) blast {
	b := blast{Entries: len(all)}
	last := ""
	for _, e := range all { // sorted by feature
		if e.Feature != last {
			b.Features++
			last = e.Feature
		}
		if e.On > 0 || len(e.MembersOn) > 0 {
			b.Rises++
		}
		if e.Off > 0 || len(e.MembersOff) > 0 {
			b.Falls++
		}
		if e.Rebuckets {
			b.Rebuckets++
		}
	}
	return b
}

// String is the sum on one line.
func (b blast) String() string {
	if b.Entries == 0 {
		return "nobody is affected"
	}
	line := fmt.Sprintf("%s in %s; somebody turned on in %d, turned off in %d",
		counted(b.Entries, "entry", "entries"), counted(b.Features, "feature", "features"), b.Rises, b.Falls)
	if b.Rebuckets > 0 {
		line += fmt.Sprintf(", drawn anew in %d", b.Rebuckets)
	}
	return line
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
