package ofrep

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

// The protocol's error codes.
const (
	codeParse      = "PARSE_ERROR"
	codeKeyMissing = "TARGETING_KEY_MISSING"
	codeContext    = "INVALID_CONTEXT"
	codeGeneral    = "GENERAL"
	codeNotFound   = "FLAG_NOT_FOUND"
)

const detailsKeyMissing = "the answer depends on who asks: give a targetingKey or a tenant"

// problem is an answer other than flags. Clients take its code only when the
// body has both key and errorCode; without them they report GENERAL.
type problem struct {
	status  int
	key     string
	code    string
	details string
}

func (p *problem) Error() string { return p.details }

func (p *problem) append(dst []byte) []byte {
	dst = append(dst, '{')
	if p.key != "" {
		dst = append(dst, `"key":`...)
		dst = appendString(dst, p.key)
		dst = append(dst, ',')
	}
	dst = append(dst, `"errorCode":"`...)
	dst = append(dst, p.code...)
	dst = append(dst, `","errorDetails":`...)
	dst = appendString(dst, p.details)
	return append(dst, '}')
}

func fail(w http.ResponseWriter, p problem) int { return write(w, p.status, p.append(nil)) }

var jsonType = []string{"application/json; charset=utf-8"}

func write(w http.ResponseWriter, status int, body []byte) int {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{string(appendUint(nil, uint64(len(body))))}
	if status != http.StatusOK {
		w.WriteHeader(status)
	}
	_, _ = w.Write(body) // whoever asked is gone, and nobody is left to tell
	return status
}

// appendString appends a JSON string. Invalid UTF-8, which a path may hold,
// becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			out, _ := jsontext.AppendQuote(dst, s)
			return out
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
