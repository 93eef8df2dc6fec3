package trust_test

import (
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/trust"
)

func TestRenumber(t *testing.T) {
	before, after := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	const rest = `"signers":{"alice":{"key":«alice»}}, "roles" : {"m":{"signers":["alice"],"may":["*"]}} }` + "\n"
	for _, tc := range []struct{ name, src, want string }{
		{"the first of all", `{ "version": 1, ` + rest, `{ "version": 8, "previous": "` + after + `", ` + rest},
		{"previous behind", `{"version":7 ,"previous": "` + before + `",` + rest, `{"version":8 ,"previous": "` + after + `",` + rest},
		{"previous before", `{"previous":"` + before + `","version":7,` + rest, `{"previous":"` + after + `","version":8,` + rest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := trust.Renumber("trust.json", document(t, tc.src), 8, after)
			if err != nil {
				t.Fatal(err)
			}
			if want := string(document(t, tc.want)); string(got) != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	if _, err := trust.Renumber("trust.json", []byte(`{"version":1}`), 2, after); err == nil {
		t.Error("something that is no policy was numbered")
	}
}
