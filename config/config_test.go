package config_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/config"
)

const two = `{
  "version": 1,
  "listen": "127.0.0.1:0",
  "repo": "git/flags",
  "redis_env": "FLAGS_REDIS_URL",
  "state_dir": "state",
  "trust": "trust.json", "trust_path": "none",
  "interval": "30s",
  "environments": {
    "staging": { "path": "specs/staging.json", "namespace": "flags:staging", "redis": "redis://localhost", "ledger": "off" },
    "prod": { "trust": "/etc/rampart/trust.json", "interval": "5s", "state_dir": "prod-state" }
  }
}`

func TestInheritance(t *testing.T) {
	f, err := config.Parse("conf/rampart.json", []byte(two))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.Names(), " "); got != "prod staging" {
		t.Errorf("names %q", got)
	}
	prod, _ := f.Find("prod")
	staging, _ := f.Find("staging")
	for _, row := range []struct{ what, got, want string }{
		{"repo of prod", prod.Repo, filepath.Join("conf", "git/flags")},
		{"path of prod", prod.Path, config.DefaultPath},
		{"branch of prod", prod.Branch, "main"},
		{"redis of prod", prod.Redis + prod.RedisEnv, "FLAGS_REDIS_URL"},
		{"namespace of prod", prod.Namespace, "flags:v1:"},
		{"trust of prod", prod.Trust, "/etc/rampart/trust.json"},
		{"state of prod", prod.StateDir, filepath.Join("conf", "prod-state")},
		{"interval of prod", prod.Every.String(), "5s"},
		{"redis of staging", staging.Redis + staging.RedisEnv, "redis://localhost"},
		{"namespace of staging", staging.Namespace, "flags:staging:"},
		{"state of staging", staging.StateDir, filepath.Join("conf", "state", "staging")},
		{"ledger of staging", staging.Ledger, "off"},
		{"trust path of staging, which is no file here", staging.TrustPath, "none"},
		{"trust of staging", staging.Trust, filepath.Join("conf", "trust.json")},
		{"interval of staging", staging.Every.String(), (30 * time.Second).String()},
		{"shared clones", f.StateDir, filepath.Join("conf", "state")},
	} {
		if row.got != row.want {
			t.Errorf("%s: %q, want %q", row.what, row.got, row.want)
		}
	}
}

// Each case is a whole environment "a" (and perhaps more), and what must be said of it, place first.
func TestRefused(t *testing.T) {
	const base = `"repo":"/r","redis":"redis://h","trust":"t","state_dir":"/s"`
	for name, c := range map[string]struct{ src, want string }{
		"unknown field":      {`{"version":1,"repos":"x","environments":{"a":{` + base + `}}}`, `f:1:14: /repos: unknown field "repos" (did you mean "repo"?)`},
		"unknown inside":     {`{"version":1,"environments":{"a":{` + base + `,"intervall":"1s"}}}`, `did you mean "interval"?`},
		"no version":         {`{"environments":{"a":{` + base + `}}}`, `version`},
		"no environment":     {`{"version":1,"environments":{}}`, `environments`},
		"name":               {`{"version":1,"environments":{"a/b":{` + base + `}}}`, `f:1:30`},
		"no repo":            {`{"version":1,"environments":{"a":{"redis":"redis://h","trust":"t","state_dir":"/s"}}}`, `f:1:30: /environments/a: no repository is given`},
		"no redis":           {`{"version":1,"environments":{"a":{"repo":"/r","trust":"t","state_dir":"/s"}}}`, `nothing says where the Redis of environment a is`},
		"two redis":          {`{"version":1,"environments":{"a":{` + base + `,"redis_env":"X"}}}`, `exclude each other`},
		"no trust":           {`{"version":1,"environments":{"a":{"repo":"/r","redis":"redis://h","state_dir":"/s"}}}`, `no trust policy is given`},
		"both trusts":        {`{"version":1,"environments":{"a":{` + base + `,"insecure_accept_unsigned":true}}}`, `exclude each other`},
		"no state":           {`{"version":1,"environments":{"a":{"repo":"/r","redis":"redis://h","trust":"t"}}}`, `no state folder is given`},
		"password":           {`{"version":1,"environments":{"a":{"repo":"/r","redis":"redis://u:geheim@h","trust":"t","state_dir":"/s"}}}`, `f:1:55: /environments/a/redis: the address of Redis holds a password`},
		"sentinel password":  {`{"version":1,"environments":{"a":{"repo":"/r","redis":"sentinel://u:geheim@master@h","trust":"t","state_dir":"/s"}}}`, `holds a password`},
		"node's password":    {`{"version":1,"environments":{"a":{"repo":"/r","redis":"redis://n1:7000,u:geheim@n2:7000","trust":"t","state_dir":"/s"}}}`, `holds a password`},
		"node's, by space":   {`{"version":1,"environments":{"a":{"repo":"/r","redis":"redis://n1:7000 :geheim@n2:7000","trust":"t","state_dir":"/s"}}}`, `holds a password`},
		"inherited password": {`{"version":1,"redis":"redis://:geheim@h","environments":{"a":{"repo":"/r","trust":"t","state_dir":"/s"}}}`, `f:1:22: /redis: the address of Redis`},
		"repo token":         {`{"version":1,"environments":{"a":{"repo":"https://x:geheim@h/r","redis":"redis://h","trust":"t","state_dir":"/s"}}}`, `f:1:42: /environments/a/repo`},
		"token as user":      {`{"version":1,"environments":{"a":{"repo":"https://geheim@h/r","redis":"redis://h","trust":"t","state_dir":"/s"}}}`, `f:1:42: /environments/a/repo: the repository's address holds a user name, or a token in place of one, which does not belong in this file (git_token_env`},
		"token as user, up":  {`{"version":1,"repo":"HTTP://geheim@h","environments":{"a":{"redis":"redis://h","trust":"t","state_dir":"/s"}}}`, `f:1:21: /repo: the repository's address holds a user name`},
		"user, no password":  {`{"version":1,"environments":{"a":{"repo":"https://geheim:@h/r","redis":"redis://h","trust":"t","state_dir":"/s"}}}`, `holds a user name`},
		"token in the query": {`{"version":1,"environments":{"a":{"repo":"https://h/r?private_token=geheim","redis":"redis://h","trust":"t","state_dir":"/s"}}}`, `f:1:42: /environments/a/repo: the repository's address holds a query`},
		"ssh password":       {`{"version":1,"environments":{"a":{"repo":"ssh://git:geheim@h/r","redis":"redis://h","trust":"t","state_dir":"/s"}}}`, `holds a password or token`},
		"interval":           {`{"version":1,"environments":{"a":{` + base + `,"interval":"1ms"}}}`, `at least 100ms`},
		"namespace":          {`{"version":1,"environments":{"a":{` + base + `,"namespace":"flags v1:"}}}`, `/environments/a/namespace: the namespace "flags v1:" has a space or control character`},
		"no namespace":       {`{"version":1,"environments":{"a":{` + base + `,"namespace":":"}}}`, `/environments/a/namespace: the namespace ":" has no name before the colon`},
		"one namespace": {`{"version":1,"environments":{"a":{` + base + `},"b":{"repo":"/r","redis":"redis://H:6379/0","namespace":"flags:v1","trust":"t","state_dir":"/z"}}}`,
			`f:1:30: /environments/a: environments a and b share the namespace flags:v1: of one Redis (give each a namespace of its own)`},
		"one namespace, there": {`{"version":1,"environments":{"a":{` + base + `},"b":{"repo":"/r","redis":"redis://H:6379/0","namespace":"flags:v1","trust":"t","state_dir":"/z"}}}`,
			`f:1:153: /environments/b/namespace: environments b and a share the namespace`},
		"one folder": {`{"version":1,"environments":{"a":{` + base + `},"b":{"repo":"/r","redis":"redis://i","trust":"t","state_dir":"/s"}}}`,
			`/environments/b/state_dir: environments b and a share the state folder /s`},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := config.Parse("f", []byte(c.src))
			if err == nil || f != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// What stands before an @ is no secret where it is ssh's user, or part of a path.
func TestRepositoryAddresses(t *testing.T) {
	for _, repo := range []string{"git@h:acme/flags.git", "ssh://git@h:22/acme/flags", "https://h/~acme/flags@v1", "file:///srv/flags@home", "../flags?"} {
		src := fmt.Sprintf(`{"version":1,"environments":{"a":{"repo":%q,"redis":"redis://h","trust":"t","state_dir":"/s"}}}`, repo)
		if _, err := config.Parse("f", []byte(src)); err != nil {
			t.Errorf("%s is refused: %v", repo, err)
		}
	}
}

// A thousand environments cost a reader nothing that a person would notice, and none is lost.
func TestMany(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"version":1,"redis":"redis://h","trust":"t","state_dir":"/s","environments":{`)
	for i := range 1000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"e%d":{"repo":"/r%d","namespace":"n%d:"}`, i, i%10, i)
	}
	b.WriteString("}}")
	f, err := config.Parse("f", []byte(b.String()))
	if err != nil || len(f.Environments) != 1000 {
		t.Fatal(err)
	}
}

func TestStoreID(t *testing.T) {
	for _, same := range [][2]string{
		{"redis://localhost", "redis://127.0.0.1:6379/0"}, {"redis://h", "redis://user:pw@H:6379"}, {"redis://h/2", "redis://h?db=2"},
	} {
		if a, b := config.StoreID(same[0]), config.StoreID(same[1]); a != b {
			t.Errorf("%s is %s, %s is %s", same[0], a, same[1], b)
		}
	}
	if config.StoreID("redis://h/1") == config.StoreID("redis://h/2") {
		t.Error("two databases are one")
	}
}
