package ofrep

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"

	"github.com/rampart-flags/rampart/flags"
)

// bulk answers about every feature. One that cannot be answered is a failure in
// its place and spoils none of the others.
func (h *Handler) bulk(w http.ResponseWriter, r *http.Request, q *question) int {
	tag := q.etag()
	w.Header()["Etag"] = []string{tag}
	if match := r.Header["If-None-Match"]; match != nil && matches(match, tag) {
		w.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified
	}
	live := h.render(q.view)
	who := q.view.Snapshot.For(q.tenant, q.user)
	out := append(q.out[:0], `{"flags":[`...)
	i := -1
	for name, d := range who.All() {
		i++
		if d.Reason == flags.ReasonNoConfig {
			continue // other tenants have it; for this one it does not exist
		}
		if out[len(out)-1] != '[' {
			out = append(out, ',')
		}
		if q.nobody && who.NeedsKey(name) {
			out = (&problem{key: name, code: codeKeyMissing, details: detailsKeyMissing}).append(out)
			continue
		}
		out = live.appendAt(out, i, name, &d)
	}
	out = append(out, `],"metadata":{"version":`...)
	out = appendString(out, q.view.Version)
	out = append(out, live.tail[:len(live.tail)-1]...)
	if h.streams.most > 0 {
		out = append(out, `,"eventStreams":[{"type":"sse","endpoint":{"requestUri":`...)
		out = appendString(out, h.o.Base+streamURI(q.access.Token))
		out = append(out, `},"inactivityDelaySec":120}]`...)
	}
	q.out = append(out, '}')
	return write(w, http.StatusOK, q.out)
}

// etag is strong: it stands for the bytes of the answer, which depend on what is
// live, on who is asked about, and on whose token the event stream carries.
func (q *question) etag() string {
	b := q.scratch[:0]
	for _, part := range [...]string{q.view.revision(), q.tenant, q.user, q.access.Token} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	b = appendUint(b, q.view.Generation)
	if q.nobody {
		b = append(b, '?')
	}
	q.scratch = b
	sum := sha256.Sum256(b)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
}

// matches reports whether If-None-Match holds the tag: a list of tags, weak ones
// among them, or "*" (RFC 9110, 13.1.2).
func matches(headers []string, tag string) bool {
	for _, list := range headers {
		for {
			list = strings.TrimLeft(list, " \t,")
			if list == "" {
				break
			}
			if list[0] == '*' {
				return true
			}
			one := strings.TrimPrefix(list, "W/")
			if one == "" || one[0] != '"' {
				break // not a tag: what follows cannot be told apart
			}
			end := strings.IndexByte(one[1:], '"')
			if end < 0 {
				break
			}
			if one[:end+2] == tag {
				return true
			}
			list = one[end+2:]
		}
	}
	return false
}
