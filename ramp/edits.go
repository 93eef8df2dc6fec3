package ramp

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// Edits are the changes to the document that the outcomes ask for: each percentage that moves, the
// record of the step beside it, and ramp number n on every entry that it touches. evidence is the
// digest of the record that the run leaves, or "". The document's own version is not among them.
func Edits(spec *flags.Spec, all []Outcome, n int, now time.Time, evidence string) []flags.EditOp {
	var ops []flags.EditOp
	moved := map[flags.Key]bool{}
	for i := range all {
		moved[all[i].Key()] = all[i].Action != Hold
	}
	for i := range all {
		o := &all[i]
		if !o.Moves() {
			continue
		}
		f := spec.Feature(o.Feature)
		pointer := "/features/" + o.Feature
		if o.Tenant != flags.DefaultTenant {
			pointer += "/tenants/" + o.Tenant
		}
		if o.Action != Hold {
			ops = append(ops,
				flags.EditOp{Pointer: pointer + "/pct", Value: jsontext.Value(o.To.String())},
				flags.EditOp{Pointer: pointer + "/version", Value: stampOf(f.Entry(o.Tenant).Version, n)})
			if o.Tenant == flags.DefaultTenant {
				ops = append(ops, followers(f, n, moved)...)
			}
		}
		ops = append(ops, flags.EditOp{Pointer: pointer + "/ramped", Value: o.record(now, evidence)})
	}
	return ops
}

// followers stamps the tenants that follow the feature's percentage under a version of their own.
func followers(f *flags.Feature, n int, moved map[flags.Key]bool) (ops []flags.EditOp) {
	for tenant, own := range f.Tenants() {
		if own.Pct == nil && own.Version != "" && !moved[flags.Key{Feature: f.Name, Tenant: tenant}] {
			ops = append(ops, flags.EditOp{Pointer: "/features/" + f.Name + "/tenants/" + tenant + "/version", Value: stampOf(own.Version, n)})
		}
	}
	return ops
}

func stampOf(version string, n int) jsontext.Value {
	v, err := flags.ParseVersion(version)
	if err != nil { // a decoded spec has no such version
		v = flags.Version{Base: "v1"}
	}
	return quoted(nil, v.With(n).String())
}

// record is the `ramped` object of a step, members in the order of the documentation.
func (o *Outcome) record(now time.Time, evidence string) jsontext.Value {
	v := append(quoted([]byte(`{ "at": `), stamp(now)), `, "from": `...)
	v = append(append(v, o.From.String()...), `, "to": `...)
	v = append(append(v, o.To.String()...), `, "verdict": `...)
	v = append(quoted(v, o.Verdict.String()), `, "reason": `...)
	v = quoted(v, o.Reason)
	if evidence != "" {
		v = quoted(append(v, `, "evidence": `...), evidence)
	}
	return append(v, " }"...)
}

func quoted(dst []byte, s string) jsontext.Value {
	out, _ := jsontext.AppendQuote(dst, s) // invalid UTF-8 becomes U+FFFD
	return out
}
