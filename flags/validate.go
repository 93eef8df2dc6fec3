package flags

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/schema"
)

// parts are the parts of the schema, compiled once.
var parts = sync.OnceValue(func() (p struct {
	whole, feature, tenant, members      *schema.Part
	featureName, tenantName, segmentName *schema.Part
}) {
	at := func(pointer string) *schema.Part { return schema.Lookup("flags", pointer) }
	p.whole, p.feature, p.tenant, p.members = at(""), at("/$defs/feature"), at("/$defs/tenant"), at("/$defs/members")
	p.featureName, p.tenantName, p.segmentName = at("/$defs/featureName"), at("/$defs/tenantName"), at("/$defs/segmentName")
	return p
})

// validate holds everything that is new to the schema, and makes of it what
// can be made without knowing the rest of the document.
func (r *reader) validate() {
	for i, bad := 0, 0; i < len(r.segments) && bad < enough; i++ {
		s := &r.segments[i]
		if s.list, s.problems = r.members(s.start, s.end); len(s.problems) > 0 {
			bad++
		}
	}
	var fresh []*featureDraft
	for i := range r.drafts {
		if r.drafts[i].kept == nil {
			fresh = append(fresh, r.drafts[i])
		}
	}
	inParallel(len(fresh)+len(r.pieces), func(i int) bool {
		if i < len(fresh) {
			fresh[i].made, fresh[i].problems = r.feature(fresh[i])
			return len(fresh[i].problems) == 0
		}
		p := &r.pieces[i-len(fresh)]
		p.over, p.problems = r.override(p.raw)
		return len(p.problems) == 0
	})
}

// enough is how many bad parts of a document are looked at: more than an
// author reads.
const enough = 100

// inParallel calls do for 0 to n-1, about in order, on all processors, until
// enough calls came back false.
func inParallel(n int, do func(int) bool) {
	const worthIt = 64
	var next, bad atomic.Int64
	work := func() {
		for bad.Load() < enough {
			i := int(next.Add(1) - 1)
			if i >= n {
				return
			}
			if !do(i) {
				bad.Add(1)
			}
		}
	}
	if n < worthIt {
		work()
		return
	}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(work)
	}
	wg.Wait()
}

// members reads a segment's list.
func (r *reader) members(start, end int) ([]string, []schema.Problem) {
	raw := r.src[start:end]
	v, err := schema.Value(raw, maxValues)
	if err != nil {
		return nil, []schema.Problem{{Problem: err.Error()}}
	}
	if found := parts().members.Validate(v); found != nil {
		return nil, found
	}
	list, found := memberList(v, raw)
	for i, m := range list {
		if strings.HasPrefix(m, "@") && len(found) < maxFound {
			found = append(found, schema.Problem{Pointer: fmt.Sprintf("/%d", i), Problem: "a segment cannot hold another one", Hint: "list the members themselves"})
		}
	}
	return list, found
}

// feature makes a feature of a draft, its tenants still missing.
func (r *reader) feature(d *featureDraft) (*Feature, []schema.Problem) {
	if r.src[d.start] != '{' {
		v, _ := schema.Value(r.src[d.start:d.end], maxValues)
		return nil, parts().feature.Validate(v)
	}
	fields := r.spans[d.from:d.to]
	m := make(map[string]any, len(fields)+1)
	var found []schema.Problem
	var cohorts, ramp []byte
	for _, f := range fields {
		raw := r.src[f.start:f.end]
		if _, twice := m[f.name]; twice || r.old != nil && schema.Check("", raw, schema.Limits{Depth: depthFeature}) != nil {
			return nil, []schema.Problem{{Problem: "not well formed"}} // only with old: the whole is read anew
		}
		v, err := schema.Value(raw, maxValues)
		if err != nil {
			found = append(found, schema.Problem{Pointer: "/" + escape(f.name), Problem: err.Error()})
		}
		m[f.name] = v
		switch f.name {
		case "cohorts":
			cohorts = raw
		case "ramp":
			ramp = raw
		}
	}
	if d.tenants {
		if _, twice := m["tenants"]; twice {
			return nil, []schema.Problem{{Problem: "not well formed"}}
		}
		m["tenants"] = map[string]any{}
	}
	if found = append(found, parts().feature.Validate(m)...); len(found) > 0 {
		return nil, found
	}
	own, found := makeOverride(m, cohorts)
	f := &Feature{Name: d.name, Own: own}
	f.Description, _ = m["description"].(string)
	f.Owner, _ = m["owner"].(string)
	f.Expires, _ = m["expires"].(string)
	if own.Pct != nil && !own.Pct.Whole() && own.Salt == "" {
		found = append(found, fraction(*own.Pct, "/pct", "add a salt to the feature, or write a whole number"))
	}
	if guard, ok := m["ramp"].(map[string]any); ok {
		f.Ramp = jsontext.Value(append([]byte(nil), ramp...))
		found = append(found, checkGuard(guard, own.Salt != "")...)
	}
	return f, found
}

func fraction(p Pct, pointer, hint string) schema.Problem {
	return schema.Problem{Pointer: pointer, Problem: fmt.Sprintf("%v is a fraction, and without a salt a percentage must be whole", p), Hint: hint}
}

// override makes an override of a tenant's text.
func (r *reader) override(raw []byte) (*Override, []schema.Problem) {
	if r.old != nil && schema.Check("", raw, schema.Limits{Depth: depthTenant}) != nil {
		return nil, []schema.Problem{{Problem: "not well formed"}}
	}
	v, err := schema.Value(raw, maxValues)
	if err != nil {
		return nil, []schema.Problem{{Problem: err.Error()}}
	}
	if found := parts().tenant.Validate(v); found != nil {
		return nil, found
	}
	m := v.(map[string]any) // the schema says so
	var cohorts []byte
	if list, ok := m["cohorts"].([]any); ok && len(list) > schema.MaxArray {
		c := &cursor{src: raw}
		c.object(func() bool {
			name, ok := c.name()
			start := c.i
			c.skip()
			if string(name) == "cohorts" {
				cohorts = raw[start:c.i]
			}
			return ok
		})
	}
	return makeOverride(m, cohorts)
}

// makeOverride makes the typed form of fields that hold the schema. cohorts is
// the text of the list, for lists that a schema does not see to the end.
func makeOverride(m map[string]any, cohorts []byte) (*Override, []schema.Problem) {
	o := &Override{}
	var found []schema.Problem
	if v, ok := m["enabled"].(bool); ok {
		o.Enabled = &booleans[0]
		if v {
			o.Enabled = &booleans[1]
		}
	}
	if v, ok := m["pct"].(json.Number); ok {
		p, err := ParsePct(v.String())
		if err != nil {
			found = append(found, schema.Problem{Pointer: "/pct", Problem: err.Error()})
		}
		o.Pct = &p
	}
	if v, ok := m["cohorts"]; ok {
		list, bad := memberList(v, cohorts)
		for i := range bad {
			bad[i].Pointer = "/cohorts" + bad[i].Pointer
		}
		found = append(found, bad...)
		o.Cohorts, o.members = list, list
		for _, member := range list {
			if name, ok := strings.CutPrefix(member, "@"); ok {
				o.refs = append(o.refs, name)
				o.members = nil
			}
		}
	}
	if v, ok := m["version"].(string); ok {
		o.Version = v
		if _, err := ParseVersion(v); err != nil {
			found = append(found, schema.Problem{Pointer: "/version", Problem: err.Error()})
		}
	}
	o.Salt, _ = m["salt"].(string)
	if v, ok := m["ramped"].(map[string]any); ok {
		ramped, bad := makeRamped(v)
		o.Ramped = ramped
		found = append(found, bad...)
	}
	return o, found
}

// booleans are what Override.Enabled points to.
var booleans = [2]bool{false, true}

func makeRamped(m map[string]any) (*Ramped, []schema.Problem) {
	r := &Ramped{}
	var found []schema.Problem
	at, _ := m["at"].(string)
	var err error
	if r.At, err = time.Parse(time.RFC3339, at); err != nil {
		found = append(found, schema.Problem{Pointer: "/ramped/at", Problem: fmt.Sprintf("%q is not a time", at), Hint: `write it as in "2026-11-22T04:07:00Z"`})
	}
	for name, p := range map[string]*Pct{"from": &r.From, "to": &r.To} {
		n, _ := m[name].(json.Number)
		if *p, err = ParsePct(n.String()); err != nil {
			found = append(found, schema.Problem{Pointer: "/ramped/" + name, Problem: err.Error()})
		}
	}
	r.Verdict, _ = m["verdict"].(string)
	r.Reason, _ = m["reason"].(string)
	r.Evidence, _ = m["evidence"].(string)
	return r, found
}

const maxFound = 100

// memberList is a list of cohort members that holds the schema as far as the
// schema saw it. Empty lists are not nil: they say "nobody".
func memberList(v any, raw []byte) ([]string, []schema.Problem) {
	seen, _ := v.([]any)
	list := make([]string, 0, len(seen))
	var found []schema.Problem
	add := func(i int, m string) {
		list = append(list, m)
		if problem, hint := checkMember(m); problem != "" && len(found) < maxFound {
			found = append(found, schema.Problem{Pointer: fmt.Sprintf("/%d", i), Problem: problem, Hint: hint})
		}
	}
	if len(seen) <= schema.MaxArray {
		for i, item := range seen {
			m, _ := item.(string)
			add(i, m)
		}
		return list, found
	}
	d := jsontext.NewDecoder(newBuffer(raw))
	if _, err := d.ReadToken(); err != nil {
		return nil, []schema.Problem{{Problem: err.Error()}}
	}
	for i := 0; d.PeekKind() != ']' && len(found) < maxFound; i++ {
		if i == MaxCohort {
			return nil, append(found, schema.Problem{Problem: fmt.Sprintf("more than %d members", MaxCohort), Hint: "use a percentage, or tenants"})
		}
		if kind := d.PeekKind(); kind != '"' {
			found = append(found, schema.Problem{Pointer: fmt.Sprintf("/%d", i), Problem: "want a string"})
			if err := d.SkipValue(); err != nil {
				return nil, append(found, schema.Problem{Problem: err.Error()})
			}
			continue
		}
		tok, err := d.ReadToken()
		if err != nil {
			return nil, append(found, schema.Problem{Problem: err.Error()})
		}
		add(i, tok.String())
	}
	return list, found
}

// checkMember holds one cohort member to what a schema cannot say.
func checkMember(m string) (problem, hint string) {
	switch {
	case m == "":
		return "must not be empty", ""
	case len(m) > maxMemberLen:
		return fmt.Sprintf("%d bytes, more than %d", len(m), maxMemberLen), "write it as sha256:<hex of sha256(key)>"
	case m == "@":
		return `"@" names no segment`, ""
	}
	if digits, ok := strings.CutPrefix(m, "sha256:"); ok && !isDigest(digits) {
		return fmt.Sprintf("%q is not the hash of anybody", m), "after sha256: come 64 hexadecimal digits in lower case"
	}
	return "", ""
}

func isDigest(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 64
}
