package flags

import (
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/schema"
)

// Names are checked in Go, because there are many; what they may be stands in
// the schema. Both agree.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a", "receipts", "Receipts", "-a", "_", "a_b", "a.b-c", "a:b", "a@b", "@a", "ü", "a b", "a\n", "0", DefaultTenant,
		strings.Repeat("a", 128), strings.Repeat("a", 129)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range []struct {
			part  *schema.Part
			valid bool
		}{
			{parts().featureName, validName(s, "._-", true)},
			{parts().tenantName, validName(s, "._@-", false)},
			{parts().segmentName, validName(s, "._-", false)},
		} {
			if problems := c.part.Validate(s); (problems == nil) != c.valid {
				t.Errorf("%q: %v, the schema says %v", s, c.valid, problems)
			}
		}
	})
}
