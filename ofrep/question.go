package ofrep

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// question is a request as it was understood, and the memory it took.
type question struct {
	access Access
	view   View
	key    string
	tenant string
	user   string
	nobody bool // the request names neither user nor tenant

	body    bytes.Buffer
	decoder *jsontext.Decoder
	scratch []byte
	out     []byte
}

var questions = sync.Pool{New: func() any { return &question{decoder: jsontext.NewDecoder(strings.NewReader(""))} }}

// mostKept is the size above which a buffer is not kept for the next request.
const mostKept = 1 << 20

func (q *question) release() {
	if q.body.Cap() > mostKept || cap(q.out) > mostKept {
		return
	}
	*q = question{body: q.body, decoder: q.decoder, scratch: q.scratch, out: q.out}
	q.body.Reset()
	questions.Put(q)
}

// read takes the user and the tenant from the body:
//
//	{"context":{"targetingKey":"user-123","tenant":"acme", …}}
func (q *question) read(r *http.Request, most int64) *problem {
	if r.ContentLength > most {
		return tooLarge(most)
	}
	n, err := q.body.ReadFrom(io.LimitReader(r.Body, most+1))
	switch {
	case n > most || errors.As(err, new(*http.MaxBytesError)):
		return tooLarge(most)
	case err != nil:
		return &problem{status: http.StatusBadRequest, code: codeParse, details: "reading the body: " + err.Error()}
	}
	q.decoder.Reset(&q.body)
	if err := q.parse(); err != nil {
		var p *problem
		if errors.As(err, &p) {
			return p
		}
		return &problem{status: http.StatusBadRequest, code: codeParse, details: "the body is not one JSON object: " + err.Error()}
	}
	return nil
}

func tooLarge(most int64) *problem {
	return &problem{status: http.StatusRequestEntityTooLarge, code: codeGeneral, details: fmt.Sprintf("the body is larger than %d bytes", most)}
}

var (
	errNoContext = &problem{status: http.StatusBadRequest, code: codeContext, details: "context is not an object"}
	errNotObject = errors.New("it is something else")
)

// parse goes through the body once. Whatever it holds besides is checked to be
// JSON and passed over.
func (q *question) parse() error {
	if kind := q.decoder.PeekKind(); kind != '{' && kind > 0 {
		return errNotObject
	}
	err := q.members(func(name []byte) error {
		if string(name) != "context" {
			return q.decoder.SkipValue()
		}
		switch q.decoder.PeekKind() {
		case '{':
			return q.members(q.attribute)
		case 'n':
			return q.decoder.SkipValue()
		}
		if err := q.decoder.SkipValue(); err != nil {
			return err
		}
		return errNoContext
	})
	if err != nil {
		return err
	}
	if _, err := q.decoder.ReadToken(); err != io.EOF {
		return errors.New("something follows it")
	}
	return nil
}

// members calls f with the name of each member of the object that comes next; f
// reads its value.
func (q *question) members(f func(name []byte) error) error {
	if _, err := q.decoder.ReadToken(); err != nil {
		return err
	}
	for q.decoder.PeekKind() != '}' {
		name, err := q.decoder.ReadValue()
		if err != nil {
			return err
		}
		if name, err = q.unquote(name); err != nil {
			return err
		}
		if err := f(name); err != nil {
			return err
		}
	}
	_, err := q.decoder.ReadToken()
	return err
}

// unquote gives the text of a JSON string, valid until the next reading.
func (q *question) unquote(raw jsontext.Value) ([]byte, error) {
	if !bytes.ContainsRune(raw, '\\') {
		return raw[1 : len(raw)-1], nil
	}
	var err error
	q.scratch, err = jsontext.AppendUnquote(q.scratch[:0], raw)
	return q.scratch, err
}

func (q *question) attribute(name []byte) error {
	var to *string
	switch string(name) {
	case "targetingKey":
		to = &q.user
	case "tenant":
		to = &q.tenant
	default:
		return q.decoder.SkipValue()
	}
	raw, err := q.decoder.ReadValue()
	if err != nil {
		return err
	}
	switch raw.Kind() {
	case 'n':
		return nil
	case '"':
		text, err := q.unquote(raw)
		*to = string(text)
		return err
	}
	if to == &q.user {
		return &problem{status: http.StatusBadRequest, code: codeContext, details: "targetingKey is not a string"}
	}
	return &problem{status: http.StatusBadRequest, code: codeContext, details: "tenant is not a string"}
}

// settleTenant decides which tenant is asked about, and whether the caller may.
func (q *question) settleTenant(r *http.Request, fallback string) *problem {
	if q.tenant == "" {
		q.tenant = r.Header.Get("X-Tenant-Id")
	}
	allowed := q.access.Tenants
	if q.tenant == "" && len(allowed) == 1 {
		q.tenant = allowed[0]
	}
	if q.tenant == "" {
		q.nobody = q.user == ""
		q.tenant = fallback
	}
	if allowed != nil && !slices.Contains(allowed, q.tenant) {
		return &problem{status: http.StatusForbidden, code: codeGeneral, details: "this API key is not for tenant " + q.tenant}
	}
	return nil
}
