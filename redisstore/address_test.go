package redisstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddressForms(t *testing.T) {
	for in, want := range map[string]string{
		"redis://localhost":                          "redis://localhost:6379/0",
		"redis://h:7000/3":                           "redis://h:7000/3",
		"redis://h/":                                 "redis://h:6379/0",
		"h:7000":                                     "redis://h:7000/0",
		"localhost":                                  "redis://localhost:6379/0",
		"redis://[::1]:7000":                         "redis://[::1]:7000/0",
		"redis://[::1]":                              "redis://[::1]:6379/0",
		"redis://u:s3cret@h?db=2":                    "redis://h:6379/2",
		"redis://:s3cret@h":                          "redis://h:6379/0",
		"rediss://h":                                 "rediss://h:6379/0",
		"unix:///run/redis.sock":                     "unix:///run/redis.sock",
		"unix://u:s3cret@/run/redis.sock?db=1":       "unix:///run/redis.sock",
		"redis://a:1,redis://b:2, c:3":               "redis://a:1,b:2,c:3",
		"redis://a:1?cluster=true":                   "redis://a:1",
		"rediss://u:s3cret@a:1,b:2?skip_verify=true": "rediss://a:1,b:2",
		"sentinel://main@a,b:2/1":                    "sentinel://main@a:26379,b:2/1",
		"sentinel://u:s3cret@main@a?tls=true&sentinel_password=s3cret": "sentinel://main@a:26379/0",
	} {
		a, err := parseAddress(in)
		if err != nil || a.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, a.String(), err, want)
		}
		if strings.Contains(in, "s3cret") && a.pass != "s3cret" {
			t.Errorf("%q: password %q", in, a.pass)
		}
	}
}

func TestAddressEscapesInCredentials(t *testing.T) {
	a, err := parseAddress("redis://al%40ice:p%2Fs%23s%25%3A@h")
	if err != nil || a.user != "al@ice" || a.pass != "p/s#s%:" {
		t.Errorf("user %q, password %q, %v", a.user, a.pass, err)
	}
	a, err = parseAddress("redis://:pw@h?username=bob")
	if err != nil || a.user != "bob" || a.pass != "pw" {
		t.Errorf("user %q, password %q, %v", a.user, a.pass, err)
	}
}

// Where people forget to escape, parts of a password end up in places that errors
// like to quote.
func TestAddressErrorsNeverRepeatTheAddress(t *testing.T) {
	for _, in := range []string{
		"http://u:s3cret@h", "s3cret://h", "redis://u:s3cret#x@h", "redis://u:a/s3cret@h", "redis://u:s3cret%zz@h",
		"redis://u:s3cret@h:port", "redis://u:a@s3cret@h", "redis://h/s3cret", "redis://h?s3cret=1", "redis://h?db=s3cret",
		"redis://h?x=%zzs3cret", "redis://s3cret:s3cret:s3cret", "redis://h:99999999s3cret", "unix://s3cret", "unix://u:s3cret%zz@/x",
		"sentinel://u:s3cret@h", "sentinel://@h?sentinel_password=s3cret", "redis://u:s3cret@a,redis://v:s3cret@b",
		"redis://u:s3cret@a,rediss://b", "unix:///a,unix:///s3cret", "redis://a/1,b?password_file=s3cret", " , ", "",
	} {
		a, err := parseAddress(in)
		if err == nil {
			t.Errorf("%q is accepted as %s", in, a)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: the error repeats part of it: %v", in, err)
		}
	}
}

func TestAddressPasswordFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(file, []byte("one\r\nrest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := parseAddress("redis://bob@h?password_file=" + file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.password(); got != "one" || err != nil {
		t.Errorf("password %q, %v", got, err)
	}
	os.Remove(file)
	if _, err := Open(t.Context(), Options{URL: "redis://bob@h?password_file=" + file}); err == nil || !strings.Contains(err.Error(), "reading the Redis password") {
		t.Errorf("with the file gone: %v", err)
	}
}

func TestAddressTLSFiles(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"rediss://h?ca_cert=" + junk:                             "holds no PEM certificate",
		"rediss://h?ca_cert=/nowhere":                            "reading the CA of Redis",
		"rediss://h?client_cert=" + junk:                         "client_cert and client_key together",
		"rediss://h?client_cert=" + junk + "&client_key=" + junk: "reading the client certificate",
	} {
		if _, err := Open(t.Context(), Options{URL: in}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", in, err, want)
		}
	}
}
