// Package config reads rampart.json, which says what environments one reconcile process looks after. It decodes and checks
// the document; it opens nothing that the document names. docs/environments.md describes the format.
package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/schema"
)

// Settings are what an environment is made of. At the top level of the document they hold for every environment that does
// not say otherwise. A field that is empty was not given.
type Settings struct {
	Repo              string   `json:"repo"`
	Branch            string   `json:"branch"`
	Path              string   `json:"path"`
	GitUser           string   `json:"git_user"`
	GitTokenEnv       string   `json:"git_token_env"`
	GitTokenFile      string   `json:"git_token_file"`
	SSHKey            string   `json:"ssh_key"`
	SSHKeyPasswordEnv string   `json:"ssh_key_password_env"`
	KnownHosts        []string `json:"known_hosts"`

	// One of the three says where Redis is.
	Redis     string `json:"redis"`
	RedisEnv  string `json:"redis_env"`
	RedisFile string `json:"redis_file"`
	Namespace string `json:"namespace"`

	Trust                  string `json:"trust"`
	TrustPath              string `json:"trust_path"` // in the repository
	TrustedRoot            string `json:"trusted_root"`
	InsecureAcceptUnsigned bool   `json:"insecure_accept_unsigned"`
	Key                    string `json:"key"`
	KeyPasswordEnv         string `json:"key_password_env"`

	StateDir string `json:"state_dir"`
	Ledger   string `json:"ledger"`
	Notaries string `json:"notaries"`
	Notify   string `json:"notify"`

	Interval        string `json:"interval"`
	Name            string `json:"name"`
	AcceptColdStart string `json:"accept_cold_start"`
}

// Environment is one environment with all it inherits. Its files' names are relative to nothing but the folder that the
// document's own name is relative to.
type Environment struct {
	Settings
	// Environment is its name in the document, and in its trust policy.
	Environment string
	// Every is Interval, decoded.
	Every time.Duration

	own, above Settings // as they stand in the document
}

// File is a whole document.
type File struct {
	Listen     string
	AllowHosts []string
	ConsoleURL string
	// StateDir is where clones lie that environments share.
	StateDir string
	// Environments are sorted by name.
	Environments []Environment

	name string
	src  []byte
}

// document is what stands in the file.
type document struct {
	Schema     string `json:"$schema"`
	Version    int    `json:"version"`
	Listen     string `json:"listen"`
	ConsoleURL string `json:"console_url"`
	Settings
	AllowHosts   []string            `json:"allow_hosts"`
	Environments map[string]Settings `json:"environments"`
}

// The defaults of what may be left out.
const (
	DefaultBranch    = "main"
	DefaultPath      = "specs/flags.json"
	DefaultNamespace = "flags:v1:"
	DefaultInterval  = 10 * time.Second
)

// MaxBytes is how large the document may be.
const MaxBytes = 4 << 20

// Read is [Parse] of a file.
func Read(name string) (*File, error) {
	info, err := os.Stat(name)
	if err == nil && info.Size() > MaxBytes {
		err = fmt.Errorf("it has %d bytes, more than the %d that are allowed", info.Size(), MaxBytes)
	}
	var src []byte
	if err == nil {
		src, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the environments of %s: %w", name, err)
	}
	return Parse(name, src)
}

// Parse decodes a document. Relative file names in it are taken from the folder of name. The error is [schema.Errors], with
// line and column; then there is no File.
func Parse(name string, src []byte) (*File, error) {
	var doc document
	if err := schema.Decode("rampart", name, src, &doc); err != nil {
		return nil, err
	}
	dir := filepath.Dir(name)
	f := &File{Listen: doc.Listen, AllowHosts: doc.AllowHosts, ConsoleURL: doc.ConsoleURL, StateDir: from(dir, doc.StateDir), name: name, src: src}
	var found []schema.Problem
	for _, env := range slices.Sorted(maps.Keys(doc.Environments)) {
		e := Environment{Settings: inherit(doc.Environments[env], doc.Settings), Environment: env, own: doc.Environments[env], above: doc.Settings}
		if own := doc.Environments[env].StateDir; own == "" && e.StateDir != "" {
			e.StateDir = filepath.Join(e.StateDir, env)
		}
		e.resolve(dir)
		found = append(found, e.problems()...)
		f.Environments = append(f.Environments, e)
	}
	found = append(found, f.shared()...)
	found = append(found, f.listens()...)
	if err := f.Report(found); err != nil {
		return nil, err
	}
	return f, nil
}

const minInterval = 100 * time.Millisecond

// Report makes an error of problems, nil where there are none, with the lines and columns of their places in the document.
func (f *File) Report(found []schema.Problem) error {
	r := schema.NewReport(f.name, f.src)
	r.AddProblems(0, "", found)
	return r.Err()
}

// Find is the environment of that name.
func (f *File) Find(name string) (Environment, bool) {
	i := slices.IndexFunc(f.Environments, func(e Environment) bool { return e.Environment == name })
	if i < 0 {
		return Environment{}, false
	}
	return f.Environments[i], true
}

// Names are the environments' names, sorted.
func (f *File) Names() []string {
	out := make([]string, len(f.Environments))
	for i, e := range f.Environments {
		out[i] = e.Environment
	}
	return out
}

// Problem is a defect of a field of the environment, for [File.Report], at the place where the document gives the field.
func (e *Environment) Problem(field, problem, hint string) schema.Problem {
	pointer, onName := e.place(field)
	return schema.Problem{Pointer: pointer, OnName: onName, Problem: problem, Hint: hint}
}

func (e *Environment) at(field string) string {
	p := "/environments/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(e.Environment)
	if field != "" {
		p += "/" + field
	}
	return p
}

// inherit takes what own leaves out from above. What stands for one thing, such as the ways to say where Redis is, is
// inherited together.
func inherit(own, above Settings) Settings {
	out := own
	for _, f := range []struct{ to, from *string }{
		{&out.Repo, &above.Repo}, {&out.Branch, &above.Branch}, {&out.Path, &above.Path}, {&out.GitUser, &above.GitUser},
		{&out.SSHKey, &above.SSHKey}, {&out.SSHKeyPasswordEnv, &above.SSHKeyPasswordEnv}, {&out.Namespace, &above.Namespace},
		{&out.TrustPath, &above.TrustPath}, {&out.TrustedRoot, &above.TrustedRoot}, {&out.StateDir, &above.StateDir}, {&out.Notaries, &above.Notaries}, {&out.Notify, &above.Notify},
		{&out.Interval, &above.Interval}, {&out.Name, &above.Name},
	} {
		*f.to = cmp.Or(*f.to, *f.from)
	}
	if out.KnownHosts == nil {
		out.KnownHosts = above.KnownHosts
	}
	if own.GitTokenEnv == "" && own.GitTokenFile == "" {
		out.GitTokenEnv, out.GitTokenFile = above.GitTokenEnv, above.GitTokenFile
	}
	if own.Redis == "" && own.RedisEnv == "" && own.RedisFile == "" {
		out.Redis, out.RedisEnv, out.RedisFile = above.Redis, above.RedisEnv, above.RedisFile
	}
	if own.Trust == "" && !own.InsecureAcceptUnsigned {
		out.Trust, out.InsecureAcceptUnsigned = above.Trust, above.InsecureAcceptUnsigned
	}
	if own.Key == "" && own.KeyPasswordEnv == "" {
		out.Key, out.KeyPasswordEnv = above.Key, above.KeyPasswordEnv
	}
	if own.Ledger == "" {
		out.Ledger = above.Ledger
		if above.Ledger != "" && above.Ledger != "off" { // one folder holds one environment's
			out.Ledger = filepath.Join(above.Ledger, "{environment}")
		}
	}
	return out
}

// resolve fills in defaults, and takes relative names from dir.
func (e *Environment) resolve(dir string) {
	e.Branch, e.Path = cmp.Or(e.Branch, DefaultBranch), cmp.Or(e.Path, DefaultPath)
	e.Namespace = cmp.Or(e.Namespace, DefaultNamespace)
	if !strings.HasSuffix(e.Namespace, ":") {
		e.Namespace += ":"
	}
	if isPath(e.Repo) {
		e.Repo = from(dir, e.Repo)
	}
	if e.Ledger != "off" {
		e.Ledger = from(dir, strings.ReplaceAll(e.Ledger, "{environment}", e.Environment))
	}
	for _, p := range []*string{&e.GitTokenFile, &e.SSHKey, &e.RedisFile, &e.Trust, &e.TrustedRoot, &e.Key, &e.StateDir, &e.Notaries, &e.Notify} {
		*p = from(dir, *p)
	}
	e.KnownHosts = slices.Clone(e.KnownHosts)
	for i := range e.KnownHosts {
		e.KnownHosts[i] = from(dir, e.KnownHosts[i])
	}
}

func from(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// isPath tells a local path from a URL and from ssh's host:path.
func isPath(repo string) bool {
	return repo != "" && !strings.Contains(repo, ":")
}

// StoreID names a Redis, so that two ways of writing one address are seen as one. It holds no credentials.
func StoreID(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || strings.Contains(u.Host, ",") {
		_, rest, found := strings.Cut(address, "@")
		if !found {
			rest = address
		}
		return rest
	}
	port, db := cmp.Or(u.Port(), "6379"), strings.Trim(u.Path, "/")
	if db == "" {
		db = cmp.Or(u.Query().Get("db"), "0")
	}
	host := strings.ToLower(cmp.Or(u.Hostname(), "localhost"))
	if host == "127.0.0.1" || host == "::1" {
		host = "localhost"
	}
	return host + ":" + port + "/" + db
}
