package ofrep

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzQuestion reads bodies in two ways. What is understood must be what
// encoding/json finds in them; what that refuses must not be understood.
func FuzzQuestion(f *testing.F) {
	for _, body := range []string{
		question1, `{}`, `{"context":null}`, `{"context":{"targetingKey":"\u0061\n","tenant":null}}`, `[]`, ``, `{"context":{"a":{"b":[1,2,{}]}}}`,
		`{"context":{"targetingKey":1}}`, `{"context":{}} x`, `{"Context":{"targetingKey":"u"}}`, `{"context":{"targetingKey":"😀"}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q := questions.Get().(*question)
		defer q.release()
		q.body.Write(body)
		q.decoder.Reset(&q.body)
		err := q.parse()
		var plain map[string]any
		plainErr := json.Unmarshal(body, &plain)
		if err != nil {
			return // we are the stricter one: names twice, invalid UTF-8, odd types
		}
		if plainErr != nil || plain == nil {
			t.Fatalf("%q is understood, and is no JSON object: %v", body, plainErr)
		}
		context, _ := plain["context"].(map[string]any)
		user, _ := context["targetingKey"].(string)
		tenant, _ := context["tenant"].(string)
		if q.user != user || q.tenant != tenant {
			t.Fatalf("%q: user %q, tenant %q, want %q and %q", body, q.user, q.tenant, user, tenant)
		}
		out := appendString(nil, q.user)
		var back string
		if err := json.Unmarshal(out, &back); err != nil || back != q.user {
			t.Fatalf("%q is written as %s: %v", q.user, out, err)
		}
		if !bytes.HasPrefix((&problem{key: q.user, code: codeGeneral}).append(nil), []byte("{")) {
			t.Fatal("no object")
		}
	})
}
