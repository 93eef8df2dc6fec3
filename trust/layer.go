package trust

import "github.com/rampart-flags/rampart/flags"

// Layer is what several statements in force together make of s: every entry that they
// change, as it must stand. They add up in any order: an entry that one of them makes
// for a tenant is lowered by all others that reach it.
func Layer(s *flags.Spec, in []*Override) map[flags.Key]flags.Entry {
	out := map[flags.Key]flags.Entry{}
	for _, o := range in {
		for key := range o.Entries(s) {
			if _, ok := out[key]; ok {
				continue
			}
			e, _ := s.Entry(key.Feature, key.Tenant)
			own := key.Tenant == flags.DefaultTenant || s.Feature(key.Feature).Tenant(key.Tenant) != nil
			for _, other := range in {
				if e = other.Entry(key, e); !own { // it stands in for the feature's own entry
					e = other.Entry(flags.Key{Feature: key.Feature, Tenant: flags.DefaultTenant}, e)
				}
			}
			out[key] = e
		}
	}
	return out
}
