package flagtest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Stage is what the words of a script act on: a repository, its signers, and a
// namespace of a Redis.
type Stage struct {
	Repo  *GitRepo
	Redis *RedisServer
	NS    string // the namespace, with its last colon
	Keys  map[string]*Key
	Trust string // the policy's file

	t      testing.TB
	digest string            // of the newest evidence
	ssh    map[string]string // private keys for commits, by name
	pgp    map[string]pgpKey
	// policies are the newest policies by their number, as they were written.
	policies map[int]string
}

// NewStage makes a stage with the signers alice, bob and bot, who stand in the policy,
// and mallory, who does not.
func NewStage(t testing.TB, redis *RedisServer, policy string) *Stage {
	t.Helper()
	s := &Stage{Repo: Repo(t), Redis: redis, NS: "flags:v1:", Keys: map[string]*Key{}, t: t, ssh: map[string]string{}, pgp: map[string]pgpKey{}, policies: map[int]string{}}
	for _, name := range []string{"alice", "bob", "bot", "mallory"} {
		s.Keys[name] = NewKey(t, name)
	}
	s.Trust = filepath.Join(t.TempDir(), "trust.json")
	s.Policy(policy)
	return s
}

// Policy writes the policy's file: the members of policy, and the keys of these
// signers, or of alice, bob and bot.
func (s *Stage) Policy(policy string, names ...string) {
	s.t.Helper()
	if err := os.WriteFile(s.Trust, []byte(s.policy(policy, names)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

const policyPath = "specs/trust.json"

// Rotate writes a policy of that number into the work tree, beside the spec. It names the one of the number before as its
// previous, as that was written last, unless its members say another.
func (s *Stage) Rotate(version int, policy string, names ...string) {
	s.t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(policy), &doc); err != nil {
		s.t.Fatalf("reading the policy of a test: %v", err)
	}
	doc["version"] = version
	if _, ok := doc["previous"]; !ok {
		doc["previous"] = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s.policies[version-1])))
	}
	src, err := json.Marshal(doc)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Repo.Write(policyPath, s.policy(string(src), names))
}

// SignPolicy signs the work tree's policy, into the given bundle or the usual one.
func (s *Stage) SignPolicy(name string, suffix ...string) {
	s.t.Helper()
	path := strings.Join(append(append([]string{policyPath}, suffix...), "sigstore.json"), ".")
	s.Repo.Write(path, string(s.key(name).Bundle([]byte(s.Repo.Read(policyPath)))))
}

// policy is a whole policy from its members and the keys of signers.
func (s *Stage) policy(policy string, names []string) string {
	s.t.Helper()
	if len(names) == 0 {
		names = []string{"alice", "bob", "bot"}
	}
	var keys []*Key
	for _, name := range names {
		keys = append(keys, s.key(name))
	}
	src := Trust(s.t, policy, keys...)
	for name, path := range s.ssh {
		pub, err := os.ReadFile(path + ".pub")
		if err != nil {
			s.t.Fatal(err)
		}
		src = strings.ReplaceAll(src, "SSH:"+name+"\"", strings.TrimSpace(string(pub))+"\"")
	}
	for name, k := range s.pgp {
		public, _ := json.Marshal(k.public)
		src = strings.ReplaceAll(src, "\"PGP:"+name+"\"", string(public))
	}
	for _, k := range s.Keys {
		pub, _ := json.Marshal(k.PublicPEM)
		src = strings.ReplaceAll(src, "\"KEY:"+k.Name+"\"", string(pub))
	}
	var is struct{ Version int }
	if err := json.Unmarshal([]byte(src), &is); err != nil {
		s.t.Fatal(err)
	}
	s.policies[is.Version] = src
	return src
}

func (s *Stage) key(name string) *Key {
	s.t.Helper()
	k, ok := s.Keys[name]
	if !ok {
		s.t.Fatalf("nobody is called %q here", name)
	}
	return k
}

const specPath = "specs/flags.json"

func bundlePath(suffix []string) string {
	return strings.Join(append(append([]string{specPath}, suffix...), "sigstore.json"), ".")
}

// Sign signs the work tree's spec, into the given bundle or the usual one.
func (s *Stage) Sign(name string, suffix ...string) {
	s.t.Helper()
	s.Repo.Write(bundlePath(suffix), string(s.key(name).Bundle([]byte(s.Repo.Read(specPath)))))
}

// Spec writes a spec: a version, then FEATURE=PCT or FEATURE=off, env=NAME,
// previous=DIGEST.
func (s *Stage) Spec(version string, fields ...string) {
	s.t.Helper()
	head := fmt.Sprintf("{\n  \"version\": %q,\n", version)
	var features []string
	for _, kv := range fields {
		switch k, v, _ := strings.Cut(kv, "="); {
		case k == "env":
			head += fmt.Sprintf("  \"environment\": %q,\n", v)
		case k == "previous":
			head += fmt.Sprintf("  \"previous\": %q,\n", v)
		case v == "off":
			features = append(features, fmt.Sprintf("    %q: {\"enabled\": false}", k))
		default:
			features = append(features, fmt.Sprintf("    %q: {\"pct\": %s}", k, v))
		}
	}
	s.Repo.Write(specPath, head+"  \"features\": {\n"+strings.Join(features, ",\n")+"\n  }\n}\n")
}

// Evidence writes evidence beside the spec that was measured so long ago, signs it by name ("-": by nobody), and returns its
// digest. It is about these moves, FEATURE=FROM-TO, each decided now, or so long ago: FEATURE=FROM-TO@AGE.
func (s *Stage) Evidence(name string, age time.Duration, environment string, moves ...string) string {
	s.t.Helper()
	decided := s.Repo.Now
	var about []string
	for _, m := range moves {
		feature, rest, _ := strings.Cut(m, "=")
		step, ago, dated := strings.Cut(rest, "@")
		from, to, ok := strings.Cut(step, "-")
		if dated {
			d, err := time.ParseDuration(ago)
			if err != nil {
				s.t.Fatal(err)
			}
			decided = s.Repo.Now.Add(-d)
		}
		if !ok {
			s.t.Fatalf("%q is no FEATURE=FROM-TO", m)
		}
		about = append(about, fmt.Sprintf(`%q: {"__default__": {"from": %s, "to": %s, "code": "up"}}`, feature, from, to))
	}
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	src := fmt.Sprintf("{\"format\": \"ramp-evidence/v1\", \"now\": %q, \"environment\": %q, \"slo\": {\"generated_at\": %q, \"anchor_p95_ms\": 21}, \"moves\": {%s}}\n",
		stamp(decided), environment, stamp(s.Repo.Now.Add(-age)), strings.Join(about, ", "))
	sum := sha256.Sum256([]byte(src))
	path := fmt.Sprintf("specs/evidence/%x.json", sum)
	s.Repo.Write(path, src)
	if name != "-" {
		s.Repo.Write(path+".sigstore.json", string(s.key(name).Bundle([]byte(src))))
	}
	return fmt.Sprintf("sha256:%x", sum)
}

// Step writes a spec whose one feature rose, decided so long ago on the evidence of that digest.
func (s *Stage) Step(version, feature, from, to, digest string, age time.Duration) {
	s.t.Helper()
	at := s.Repo.Now.Add(-age).UTC().Format(time.RFC3339)
	s.Repo.Write(specPath, fmt.Sprintf(`{
  "version": %q,
  "features": {
    %q: {"pct": %s, "ramped": {"at": %q, "from": %s, "to": %s, "verdict": "green", "reason": "in a test", "evidence": %q}}
  }
}
`, version, feature, to, at, from, to, digest))
}

// CommitKey lets git sign commits from now on with an SSH key of name, which is made where there is none;
// "-": lets it sign none. In a policy, SSH:name stands for the public key.
func (s *Stage) CommitKey(name string) {
	s.t.Helper()
	if name == "-" {
		s.Repo.Git("config", "commit.gpgsign", "false")
		return
	}
	if _, ok := s.ssh[name]; !ok {
		Need(s.t, "ssh-keygen")
		path := filepath.Join(s.t.TempDir(), name)
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path).CombinedOutput(); err != nil {
			s.t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
		s.ssh[name] = path
	}
	s.Repo.Git("config", "gpg.format", "ssh")
	s.Repo.Git("config", "user.signingkey", s.ssh[name])
	s.Repo.Git("config", "commit.gpgsign", "true")
}

// PGPKey lets git sign commits from now on with a PGP key of name, which is made where there is none. It is good on the days
// that a stage's clock can show. In a policy, PGP:name stands for the public key.
func (s *Stage) PGPKey(name string) {
	s.t.Helper()
	Need(s.t, "gpg", "gpgconf")
	k, ok := s.pgp[name]
	if !ok {
		home, err := os.MkdirTemp("", "gpg") // short: gpg-agent's socket lies in it
		if err != nil {
			s.t.Fatal(err)
		}
		gpg := func(program string, args ...string) string {
			cmd := exec.Command(program, args...)
			cmd.Env = append(s.Repo.Env(), "GNUPGHOME="+home)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				s.t.Fatalf("%s %q: %v\n%s", program, args, err, &stderr)
			}
			return string(out)
		}
		s.t.Cleanup(func() {
			gpg("gpgconf", "--kill", "all")
			_ = os.RemoveAll(home)
		})
		const when = "20261122T070000" // before the first commit of any stage
		gpg("gpg", "--batch", "--passphrase", "", "--faked-system-time", when, "--quick-gen-key", name+" <"+name+"@example.org>", "ed25519", "sign", "1y")
		k = pgpKey{program: filepath.Join(home, "gpg-then"), public: gpg("gpg", "--armor", "--export", name+"@example.org")}
		script := "#!/bin/sh\nGNUPGHOME='" + home + "' exec gpg --batch --faked-system-time " + when + " \"$@\"\n"
		if err := os.WriteFile(k.program, []byte(script), 0o700); err != nil {
			s.t.Fatal(err)
		}
		s.pgp[name] = k
	}
	s.Repo.Git("config", "gpg.format", "openpgp")
	s.Repo.Git("config", "gpg.program", k.program)
	s.Repo.Git("config", "user.signingkey", name+"@example.org")
	s.Repo.Git("config", "commit.gpgsign", "true")
}

// pgpKey is a key that only its own gpg can use.
type pgpKey struct{ program, public string }

// Land commits everything and pushes.
func (s *Stage) Land(message string) string {
	s.t.Helper()
	s.Repo.Commit(message)
	return s.Repo.Push()
}

// Flush empties the namespace and nothing else.
func (s *Stage) Flush() {
	s.t.Helper()
	for _, key := range strings.Fields(s.Redis.CLI("--scan", "--pattern", s.NS+"*")) {
		s.Redis.CLI("DEL", key)
	}
}

// Word is a testscript command.
type Word = func(ts *testscript.TestScript, neg bool, args []string)

// Words are the testscript commands that act on a stage, which at finds:
//
//	policy FILE [NAME…]         the trust policy: FILE's members, and the keys of these or of alice, bob and bot
//	rotate N FILE [NAME…]       write specs/trust.json: number N after N-1 as that was written last, FILE's members, those keys
//	sign-policy NAME [SUFFIX]   sign specs/trust.json in the work tree
//	spec VERSION [FEATURE=PCT]… write the spec; FEATURE=off, env=NAME and previous=DIGEST as well
//	copy FILE                   write FILE as the spec
//	sign NAME [SUFFIX]          sign the spec in the work tree (mallory stands in no policy)
//	unsign [SUFFIX]             remove a bundle
//	evidence NAME AGE [env=ENV] [FEATURE=FROM-TO[@AGE]]…  write evidence measured AGE ago, signed by NAME ("-": by nobody), for
//	                            those steps, decided now or AGE ago
//	step VERSION FEATURE FROM TO [AGE]  write a spec that rose by that evidence, decided AGE ago
//	link-spec PATH TARGET       make a symbolic link in the work tree
//	land [MESSAGE]              commit everything and push
//	commit-key NAME             git signs commits with an SSH key made for NAME, or with none ("-");
//	                            FILE of the next policy may name it as SSH:NAME
//	pgp-key NAME                the same with a PGP key, PGP:NAME in a policy
//	git ARGS…                   stock git in the clone; "! git" must fail
//	revert COMMIT…, merge BRANCH, squash BRANCH   and push
//	push, force                 push, also over what is there
//	flush                       empty the namespace
func Words(at func(*testscript.TestScript) *Stage) map[string]Word {
	on := func(f func(ts *testscript.TestScript, s *Stage, args []string)) Word {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("this word cannot be expected to fail")
			}
			f(ts, at(ts), args)
		}
	}
	return map[string]Word{
		"policy": on(func(ts *testscript.TestScript, s *Stage, args []string) { s.Policy(ts.ReadFile(args[0]), args[1:]...) }),
		"rotate": on(func(ts *testscript.TestScript, s *Stage, args []string) {
			n, err := strconv.Atoi(args[0])
			ts.Check(err)
			s.Rotate(n, ts.ReadFile(args[1]), args[2:]...)
		}),
		"sign-policy": on(func(_ *testscript.TestScript, s *Stage, args []string) { s.SignPolicy(args[0], args[1:]...) }),
		"spec":        on(func(_ *testscript.TestScript, s *Stage, args []string) { s.Spec(args[0], args[1:]...) }),
		"copy":        on(func(ts *testscript.TestScript, s *Stage, args []string) { s.Repo.Write(specPath, ts.ReadFile(args[0])) }),
		"sign":        on(func(_ *testscript.TestScript, s *Stage, args []string) { s.Sign(args[0], args[1:]...) }),
		"unsign": on(func(ts *testscript.TestScript, s *Stage, args []string) {
			ts.Check(os.Remove(filepath.Join(s.Repo.Dir, bundlePath(args))))
		}),
		"evidence": on(func(ts *testscript.TestScript, s *Stage, args []string) {
			age, err := time.ParseDuration(args[1])
			ts.Check(err)
			env, moves := "", args[2:]
			if len(moves) > 0 && strings.HasPrefix(moves[0], "env=") {
				env, moves = moves[0][4:], moves[1:]
			}
			s.digest = s.Evidence(args[0], age, env, moves...)
		}),
		"step": on(func(ts *testscript.TestScript, s *Stage, args []string) {
			age, err := time.ParseDuration(append(args, "0s")[4])
			ts.Check(err)
			s.Step(args[0], args[1], args[2], args[3], s.digest, age)
		}),
		"commit-key": on(func(_ *testscript.TestScript, s *Stage, args []string) { s.CommitKey(args[0]) }),
		"pgp-key":    on(func(_ *testscript.TestScript, s *Stage, args []string) { s.PGPKey(args[0]) }),
		"link-spec": on(func(ts *testscript.TestScript, s *Stage, args []string) {
			ts.Check(os.Symlink(args[1], filepath.Join(s.Repo.Dir, args[0])))
		}),
		"land": on(func(_ *testscript.TestScript, s *Stage, args []string) { s.Land(strings.Join(append(args, "."), " ")) }),
		"git": func(ts *testscript.TestScript, neg bool, args []string) {
			out, err := at(ts).Repo.TryGit(args...)
			if (err != nil) != neg {
				ts.Fatalf("git %v: %v\n%s", args, err, out)
			}
			ts.Logf("%s", out)
		},
		"revert": on(func(_ *testscript.TestScript, s *Stage, args []string) { s.Repo.Revert(args...); s.Repo.Push() }),
		"merge":  on(func(_ *testscript.TestScript, s *Stage, args []string) { s.Repo.Merge(args[0]); s.Repo.Push() }),
		"squash": on(func(_ *testscript.TestScript, s *Stage, args []string) {
			s.Repo.Squash(args[0], "squash "+args[0])
			s.Repo.Push()
		}),
		"push":  on(func(_ *testscript.TestScript, s *Stage, _ []string) { s.Repo.Push() }),
		"force": on(func(_ *testscript.TestScript, s *Stage, _ []string) { s.Repo.ForcePush() }),
		"flush": on(func(_ *testscript.TestScript, s *Stage, _ []string) { s.Flush() }),
	}
}

// Later moves the dates of the commits to come.
func (s *Stage) Later(d time.Duration) { s.Repo.Now = s.Repo.Now.Add(d) }
