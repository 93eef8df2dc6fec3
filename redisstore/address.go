package redisstore

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

type kind int

const (
	kindSingle kind = iota
	kindSocket
	kindCluster
	kindSentinel
)

// address is a parsed URL. Its String leaves credentials out, and so does every
// error made here: parts of a malformed address may be parts of a password, so
// none is repeated.
type address struct {
	kind   kind
	tls    bool
	user   string
	pass   string
	master string   // of a Sentinel
	hosts  []string // host:port; a path for a socket
	db     int
	query  url.Values
}

const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

// settings are the query parameters an address may have.
var settings = []string{
	"ca_cert", "client_cert", "client_key", "cluster", "db", "password_file",
	"sentinel_password", "sentinel_username", "server_name", "skip_verify", "tls", "username",
}

// parseAddress reads redis://, rediss:// and unix:// addresses, several of them
// for a Cluster, and sentinel://master@host,host/db.
func parseAddress(s string) (address, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "sentinel://") {
		return parseOne(s)
	}
	var all address
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
	if len(parts) == 0 {
		return all, errors.New("the Redis address is blank")
	}
	scheme := "redis://"
	for i, part := range parts {
		if at := strings.Index(part, "://"); at >= 0 {
			scheme = part[:at+3]
		} else {
			part = scheme + part
		}
		a, err := parseOne(part)
		if err != nil {
			if len(parts) > 1 {
				err = fmt.Errorf("address %d of %d: %w", i+1, len(parts), err)
			}
			return all, err
		}
		if i == 0 {
			all = a
			continue
		}
		if err := all.add(a); err != nil {
			return all, fmt.Errorf("address %d of %d: %w", i+1, len(parts), err)
		}
	}
	if len(parts) > 1 || all.query.Get("cluster") == "true" {
		if all.kind != kindSingle || all.db != 0 {
			return all, errors.New("several addresses stand for a Cluster, which has no sockets and no database but 0")
		}
		all.kind = kindCluster
	}
	return all, nil
}

// add joins a further node of a Cluster; what the first left out, it may give.
func (a *address) add(b address) error {
	if a.kind != b.kind || a.tls != b.tls {
		return errors.New("the nodes of a Cluster share one scheme, redis:// or rediss://")
	}
	if b.user != "" || b.pass != "" {
		if a.user == "" && a.pass == "" {
			a.user, a.pass = b.user, b.pass
		} else if a.user != b.user || a.pass != b.pass {
			return errors.New("the nodes of a Cluster share one user and password")
		}
	}
	a.hosts = append(a.hosts, b.hosts...)
	a.db = max(a.db, b.db)
	for name, values := range b.query {
		a.query[name] = values
	}
	return nil
}

func parseOne(s string) (address, error) {
	a := address{query: url.Values{}}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return a, errors.New("the Redis address has no scheme: redis://, rediss://, unix:// or sentinel://")
	}
	if strings.ContainsRune(rest, '#') {
		return a, errors.New("the Redis address has a #, which must be written %23, in a password as well")
	}
	rest, rawQuery, _ := strings.Cut(rest, "?")
	if err := a.parseQuery(rawQuery); err != nil {
		return a, err
	}
	if scheme == "unix" {
		a.kind = kindSocket
		userinfo, path, ok := cutLast(rest, "@")
		if !ok {
			path = userinfo
		} else if err := a.parseUser(userinfo); err != nil {
			return a, err
		}
		if !strings.HasPrefix(path, "/") {
			return a, errors.New("a unix:// address needs an absolute path, as in unix:///run/redis.sock")
		}
		a.hosts = []string{path}
		return a, nil
	}
	switch scheme {
	case "redis":
	case "rediss":
		a.tls = true
	case "sentinel":
		a.kind = kindSentinel
	default:
		return a, errors.New("the Redis address has an unknown scheme: redis://, rediss://, unix:// and sentinel:// are known")
	}
	return a, a.parseAuthority(rest)
}

// parseAuthority reads user:password@host:port/db, or for a Sentinel
// user:password@master@host,host/db.
func (a *address) parseAuthority(rest string) error {
	rest, path, _ := strings.Cut(rest, "/")
	if strings.ContainsRune(path, '@') {
		return errors.New("the Redis address has an @ after a /: in a password, / is written %2F and @ %40")
	}
	if path = strings.TrimSuffix(path, "/"); path != "" {
		if err := a.parseDB(path); err != nil {
			return err
		}
	}
	userinfo, hosts, ok := cutLast(rest, "@")
	if !ok {
		userinfo, hosts = "", rest
	}
	port := redisPort
	if a.kind == kindSentinel {
		port = sentinelPort
		login, master, both := cutLast(userinfo, "@")
		if !both {
			login, master = "", userinfo
		}
		if master == "" || strings.ContainsRune(master, ':') { // a login alone, perhaps
			return errors.New("a sentinel:// address names its master: sentinel://mymaster@host1:26379,host2:26379/0")
		}
		a.master, userinfo = master, login
	}
	if err := a.parseUser(userinfo); err != nil {
		return err
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := hostPort(host, port)
		if err != nil {
			return err
		}
		a.hosts = append(a.hosts, addr)
	}
	return nil
}

func (a *address) parseUser(userinfo string) error {
	if userinfo == "" {
		return nil
	}
	if strings.ContainsRune(userinfo, '@') {
		return errors.New("the Redis address has more than one @: in a password it is written %40")
	}
	user, pass, _ := strings.Cut(userinfo, ":")
	var err1, err2 error
	user, err1 = url.PathUnescape(user)
	a.pass, err2 = url.PathUnescape(pass)
	a.user = cmp.Or(user, a.user)
	if err1 != nil || err2 != nil {
		return errors.New("the Redis address has a wrong % escape in its user or password; a plain % is written %25")
	}
	return nil
}

func (a *address) parseDB(s string) error {
	db, err := strconv.Atoi(s)
	if err != nil || db < 0 {
		return errors.New("the Redis address ends in a database that is not a number, as in redis://host:6379/0")
	}
	a.db = db
	return nil
}

func (a *address) parseQuery(raw string) error {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("the Redis address has a malformed query after its ?")
	}
	for name := range q {
		if !slices.Contains(settings, name) {
			return fmt.Errorf("the Redis address has an unknown setting after its ?; known are %s", strings.Join(settings, ", "))
		}
	}
	a.query = q
	if a.user == "" {
		a.user = q.Get("username")
	}
	if db := q.Get("db"); db != "" {
		return a.parseDB(db)
	}
	return nil
}

func hostPort(s, defaultPort string) (string, error) {
	bad := errors.New("the Redis address has a malformed host or port; special characters in a password are %-escaped")
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), defaultPort
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", bad
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strings.ContainsAny(host, "/ %") {
		return "", bad
	}
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// String is the address without credentials.
func (a address) String() string {
	switch a.kind {
	case kindSocket:
		return "unix://" + a.hosts[0]
	case kindSentinel:
		return fmt.Sprintf("sentinel://%s@%s/%d", a.master, strings.Join(a.hosts, ","), a.db)
	case kindCluster:
		return a.scheme() + strings.Join(a.hosts, ",")
	}
	return fmt.Sprintf("%s%s/%d", a.scheme(), a.hosts[0], a.db)
}

func (a address) scheme() string {
	if a.tls {
		return "rediss://"
	}
	return "redis://"
}

func (a address) network() string {
	if a.kind == kindSocket {
		return "unix"
	}
	return "tcp"
}

// password is the one in the address, or the first line of the file it names, read
// anew for each connection so that it can be changed under a running process.
func (a address) password() (string, error) {
	file := a.query.Get("password_file")
	if file == "" {
		return a.pass, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the Redis password: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// tlsConfig is nil where the address asks for none.
func (a address) tlsConfig() (*tls.Config, error) {
	if !a.tls && a.query.Get("tls") != "true" {
		return nil, nil
	}
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: a.query.Get("server_name"),
		InsecureSkipVerify: a.query.Get("skip_verify") == "true",
	}
	if file := a.query.Get("ca_cert"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the CA of Redis: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the CA of Redis: %s holds no PEM certificate", file)
		}
	}
	cert, key := a.query.Get("client_cert"), a.query.Get("client_key")
	if (cert == "") != (key == "") {
		return nil, errors.New("the Redis address needs client_cert and client_key together, or neither")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate for Redis: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
