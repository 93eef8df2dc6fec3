package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/rampart-flags/rampart/schema"
)

// problems are what is wrong with an environment by itself. It decodes Every.
func (e *Environment) problems() []schema.Problem {
	var out []schema.Problem
	say := func(field, hint, format string, args ...any) {
		pointer, onName := e.place(field)
		out = append(out, schema.Problem{Pointer: pointer, OnName: onName, Problem: fmt.Sprintf(format, args...), Hint: hint})
	}
	if e.Repo == "" {
		say("", `give it, or all of them, a "repo"`, "no repository is given for environment %s", e.Environment)
	}
	if user, query := overHTTP(e.Repo); user || query || hasPassword(e.Repo) {
		what := "a password or token"
		switch {
		case user && !hasPassword(e.Repo): // some forges take a token in its place
			what = "a user name, or a token in place of one"
		case query:
			what = "a query"
		}
		say("repo", "git_token_env or git_token_file say where the token is, git_user whose it is", "the repository's address holds %s, which does not belong in this file", what)
	}
	switch ways := count(e.Redis, e.RedisEnv, e.RedisFile); {
	case ways == 0:
		say("", `"redis_env": "FLAGS_REDIS_URL", say`, "nothing says where the Redis of environment %s is", e.Environment)
	case ways > 1:
		say("", "leave one", "redis, redis_env and redis_file exclude each other")
	}
	if hasPassword(e.Redis) {
		say("redis", "use redis_env, redis_file, or ?password_file= in the address", "the address of Redis holds a password, which does not belong in this file")
	}
	if scheme := strangeScheme(e.Redis); scheme != "" {
		say("redis", "redis://, rediss://, unix:// and sentinel:// are known", "the address of Redis has the scheme %s://", scheme)
	}
	switch { // what package redisstore would refuse
	case e.Namespace == ":":
		say("namespace", "flags:v1:, say", "the namespace %q has no name before the colon", e.Namespace)
	case strings.ContainsFunc(e.Namespace, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		say("namespace", "flags:v1:, say", "the namespace %q has a space or control character", e.Namespace)
	}
	if count(e.GitTokenEnv, e.GitTokenFile) > 1 {
		say("", "leave one", "git_token_env and git_token_file exclude each other")
	}
	switch {
	case e.Trust == "" && !e.InsecureAcceptUnsigned:
		say("", `"trust": "trust.json"; propose init writes one`, "no trust policy is given for environment %s", e.Environment)
	case e.Trust != "" && e.InsecureAcceptUnsigned:
		say("", "leave one", "trust and insecure_accept_unsigned exclude each other")
	}
	if d, err := time.ParseDuration(cmp.Or(e.Interval, DefaultInterval.String())); err != nil || d < minInterval {
		say("interval", "10s, say; at least "+minInterval.String(), "%s is no time between two looks", e.Interval)
	} else {
		e.Every = d
	}
	if e.StateDir == "" {
		say("", `give it, or all of them, a "state_dir"`, "no state folder is given for environment %s", e.Environment)
	}
	return out
}

func count(values ...string) int {
	n := 0
	for _, v := range values {
		if v != "" {
			n++
		}
	}
	return n
}

// hasPassword says whether an address, or one of several, holds a password. The second of several needs no scheme.
func hasPassword(address string) bool {
	if !strings.Contains(address, "://") {
		return false
	}
	for part := range strings.FieldsFuncSeq(address, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		_, rest, found := strings.Cut(part, "://")
		if !found {
			rest = part
		}
		host, query, _ := strings.Cut(rest, "?")
		if login, _, found := cutLast(host, "@"); found {
			if user, _, both := cutLast(login, "@"); both { // sentinel://user:password@master@host
				login = user
			}
			if _, password, found := strings.Cut(login, ":"); found && password != "" {
				return true
			}
		}
		if q, err := url.ParseQuery(query); err == nil && q.Get("sentinel_password") != "" {
			return true
		}
	}
	return false
}

// overHTTP says whether an http or https address of a repository holds user information or a query: either may be a secret.
// With ssh, the user is part of the address.
func overHTTP(address string) (user, query bool) {
	scheme, rest, found := strings.Cut(address, "://")
	if scheme = strings.ToLower(scheme); !found || scheme != "http" && scheme != "https" {
		return false, false
	}
	host := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host = rest[:i]
	}
	return strings.Contains(host, "@"), strings.ContainsAny(rest, "?#")
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// storeID names where an environment's Redis is, as far as the document says.
func (e *Environment) storeID() string {
	switch {
	case e.RedisEnv != "":
		return "$" + e.RedisEnv
	case e.RedisFile != "":
		return "file " + e.RedisFile
	case e.Redis != "":
		return StoreID(e.Redis)
	}
	return ""
}

// shared are what two environments may not have in common, each said at both places.
func (f *File) shared() []schema.Problem {
	var out []schema.Problem
	first := map[string]*Environment{}
	claim := func(e *Environment, field, what, say, hint string) {
		other := first[what]
		if other == nil {
			first[what] = e
			return
		}
		for _, pair := range [][2]*Environment{{other, e}, {e, other}} {
			pointer, onName := pair[0].at(field), false
			if !given(pair[0].own, field) {
				pointer, onName = pair[0].at(""), true
			}
			out = append(out, schema.Problem{Pointer: pointer, OnName: onName,
				Problem: fmt.Sprintf("environments %s and %s share %s", pair[0].Environment, pair[1].Environment, say), Hint: hint})
		}
	}
	for i := range f.Environments {
		e := &f.Environments[i]
		if id := e.storeID(); id != "" {
			claim(e, "namespace", "namespace "+id+" "+e.Namespace, fmt.Sprintf("the namespace %s of one Redis", e.Namespace), "give each a namespace of its own")
		}
		if e.StateDir != "" {
			claim(e, "state_dir", "folder "+e.StateDir, "the state folder "+e.StateDir, "give each a state_dir of its own")
		}
		if e.Ledger != "" && e.Ledger != "off" {
			claim(e, "ledger", "folder "+e.Ledger, "the ledger "+e.Ledger, "give each a ledger of its own, or leave it out")
		}
	}
	return out
}

// place points to a field: the environment's own, else the one it inherits, else the environment.
func (e *Environment) place(field string) (pointer string, onName bool) {
	switch {
	case given(e.own, field):
		return e.at(field), false
	case given(e.above, field):
		return "/" + field, false
	}
	return e.at(""), true
}

// given says whether settings hold a field, of those that something can be wrong with.
func given(s Settings, field string) bool {
	return map[string]string{"repo": s.Repo, "redis": s.Redis, "namespace": s.Namespace, "state_dir": s.StateDir, "ledger": s.Ledger,
		"interval": s.Interval, "trust": s.Trust}[field] != ""
}

// strangeScheme is the first scheme in an address of Redis that package redisstore would refuse.
func strangeScheme(address string) string {
	for part := range strings.FieldsFuncSeq(address, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		scheme, _, ok := strings.Cut(part, "://")
		if ok && !slices.Contains([]string{"redis", "rediss", "unix", "sentinel"}, scheme) {
			return scheme
		}
	}
	return ""
}

// listens says what is wrong with the address to serve on. A port may have a name.
func (f *File) listens() []schema.Problem {
	if f.Listen == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(f.Listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err == nil {
		return nil
	}
	return []schema.Problem{{Pointer: "/listen", Problem: fmt.Sprintf("%q is no address to serve on", f.Listen), Hint: "127.0.0.1:8080, say; :8080 for every address of the host"}}
}
