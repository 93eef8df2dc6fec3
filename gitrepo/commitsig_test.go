package gitrepo_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// signingKey makes an SSH key with ssh-keygen, tells git to sign with it, and
// returns the public half.
func signingKey(t testing.TB, r *flagtest.GitRepo, kind string) string {
	t.Helper()
	flagtest.Need(t, "ssh-keygen")
	path := filepath.Join(t.TempDir(), kind)
	out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", kind, "-f", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	r.Git("config", "gpg.format", "ssh")
	r.Git("config", "user.signingkey", path)
	r.Git("config", "commit.gpgsign", "true")
	b, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func key(t testing.TB, name, text string) gitrepo.CommitKey {
	t.Helper()
	k, err := gitrepo.ParseCommitKey(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rawCommit(t testing.TB, r *flagtest.GitRepo, rev string) []byte {
	t.Helper()
	return []byte(r.Git("cat-file", "commit", rev) + "\n") // Git cuts the last line end
}

func TestSSHCommitSignatures(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		t.Run(kind, func(t *testing.T) {
			r := flagtest.Repo(t)
			public := signingKey(t, r, kind)
			r.CommitFile(spec, "1\n", "signed")
			head := r.Push()
			repo := follow(t, r, "")
			fetch(t, repo)
			raw, err := repo.RawCommit(t.Context(), head)
			if err != nil || !bytes.Equal(raw, rawCommit(t, r, head)) {
				t.Fatalf("the raw commit is not git's: %v", err)
			}
			other := key(t, "mallory", signingKey(t, r, "ed25519"))
			got, err := gitrepo.VerifyCommit(raw, []gitrepo.CommitKey{other, key(t, "alice", public)}, r.Now)
			if err != nil || got.Name != "alice" || got.Kind != "ssh" || !strings.HasPrefix(got.Key, "SHA256:") {
				t.Errorf("%+v, %v", got, err)
			}
			_, err = gitrepo.VerifyCommit(raw, []gitrepo.CommitKey{other}, r.Now)
			wantErr(t, err, gitrepo.ErrUntrustedKey)
		})
	}
}

func TestSSHSignatureByAKeyInPEM(t *testing.T) {
	r := flagtest.Repo(t)
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(signingKey(t, r, "ecdsa")))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public.(ssh.CryptoPublicKey).CryptoPublicKey())
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	r.CommitFile(spec, "1\n", "signed")
	if _, err := gitrepo.VerifyCommit(rawCommit(t, r, "HEAD"), []gitrepo.CommitKey{key(t, "alice", text)}, r.Now); err != nil {
		t.Error(err)
	}
}

// What people really have in their commits: an encoding, a merge with the tag
// that was merged, several parents, a message that looks like headers.
func TestSignedCommitsOfAllShapes(t *testing.T) {
	r := flagtest.Repo(t)
	keys := []gitrepo.CommitKey{key(t, "alice", signingKey(t, r, "ed25519"))}
	good := func(what string) {
		t.Helper()
		if _, err := gitrepo.VerifyCommit(rawCommit(t, r, "HEAD"), keys, r.Now); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	r.CommitFile(spec, "1\n", "plain")
	good("plain")
	r.Git("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q", "--allow-empty", "-m", "caf\xe9")
	good("another encoding")
	r.Branch("side", "HEAD~1")
	r.CommitFile("other", "x\n", "side")
	r.Git("tag", "-s", "-m", "a signed tag", "v1")
	r.Checkout("main")
	r.Git("merge", "-q", "--no-ff", "-m", "merge a tag", "v1")
	if !bytes.Contains(rawCommit(t, r, "HEAD"), []byte("\nmergetag object")) {
		t.Fatal("the merge has no mergetag")
	}
	good("merge of a signed tag")
	r.Commit("gpgsig is a word\n\ngpgsig -----BEGIN SSH SIGNATURE-----\n nothing\n")
	good("a message that looks like a signature")
	r.Git("commit", "-q", "--allow-empty", "--cleanup=verbatim", "--allow-empty-message", "-m", "")
	good("no message")
}

func TestCommitSignaturesThatAreRefused(t *testing.T) {
	r := flagtest.Repo(t)
	alice := key(t, "alice", signingKey(t, r, "ed25519"))
	r.CommitFile(spec, "1\n", "signed")
	good := string(rawCommit(t, r, "HEAD"))
	signingKey(t, r, "ed25519")
	r.Git("commit", "-q", "--amend", "--no-edit")
	mallory := string(rawCommit(t, r, "HEAD"))
	block := func(raw string) string { // with its header and line ends
		i, j := strings.Index(raw, "gpgsig "), strings.Index(raw, " -----END SSH SIGNATURE-----\n")
		return raw[i : j+len(" -----END SSH SIGNATURE-----\n")]
	}
	sig, foreign := block(good), block(mallory)
	unsigned := strings.Replace(good, sig, "", 1)
	joined := strings.Replace(foreign, "gpgsig ", " ", 1)
	insert := func(s string) string { return strings.Replace(unsigned, "\n\n", "\n"+s+"\n", 1) }
	if insert(sig) != good || strings.Contains(unsigned, "gpgsig") {
		t.Fatal("the test takes commits apart wrongly")
	}
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"as it is":                    {good, nil},
		"unsigned":                    {unsigned, gitrepo.ErrUnsigned},
		"only for SHA-256":            {insert(strings.Replace(sig, "gpgsig ", "gpgsig-sha256 ", 1)), gitrepo.ErrUnsigned},
		"beside one for SHA-256":      {insert(sig + strings.Replace(foreign, "gpgsig ", "gpgsig-sha256 ", 1)), nil},
		"another message":             {strings.Replace(good, "signed", "singed", 1), gitrepo.ErrBadSignature},
		"another tree":                {strings.Replace(good, "tree ", "tree 0", 1), gitrepo.ErrBadSignature},
		"more message":                {good + "more\n", gitrepo.ErrBadSignature},
		"another header":              {insert("extra header\n" + sig), gitrepo.ErrBadSignature},
		"two headers":                 {insert(sig + sig), gitrepo.ErrBadSignature},
		"two headers, foreign first":  {insert(foreign + sig), gitrepo.ErrBadSignature},
		"two blocks in one header":    {insert(sig + joined), gitrepo.ErrBadSignature},
		"foreign block first":         {insert(foreign + strings.Replace(sig, "gpgsig ", " ", 1)), gitrepo.ErrBadSignature},
		"text after the block":        {insert(sig + " more\n"), gitrepo.ErrBadSignature},
		"text before the block":       {insert(strings.Replace(sig, "gpgsig ", "gpgsig x\n ", 1)), gitrepo.ErrBadSignature},
		"block without end":           {insert(strings.Replace(sig, " -----END SSH SIGNATURE-----\n", "", 1)), gitrepo.ErrBadSignature},
		"unknown header of its kind":  {insert(strings.Replace(sig, "gpgsig ", "gpgsig2 ", 1)), gitrepo.ErrBadSignature},
		"another kind of block":       {insert(strings.ReplaceAll(sig, "SSH SIGNATURE", "SIGNED MESSAGE")), gitrepo.ErrBadSignature},
		"SSH block named PGP":         {insert(strings.ReplaceAll(sig, "SSH SIGNATURE", "PGP SIGNATURE")), gitrepo.ErrBadSignature},
		"empty block":                 {insert("gpgsig -----BEGIN SSH SIGNATURE-----\n -----END SSH SIGNATURE-----\n"), gitrepo.ErrBadSignature},
		"by a stranger":               {mallory, gitrepo.ErrUntrustedKey},
		"empty":                       {"", gitrepo.ErrUnsigned},
		"headers without end":         {good[:strings.Index(good, "\n\n")], gitrepo.ErrBadSignature},
		"not a commit":                {"object 0\n" + good, gitrepo.ErrBadSignature},
		"signature moved to the back": {strings.Replace(good, "signed\n", "signed\n"+sig, 1), gitrepo.ErrBadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := gitrepo.VerifyCommit([]byte(c.raw), []gitrepo.CommitKey{alice}, r.Now)
			wantErr(t, err, c.want)
			if err != nil && got != (gitrepo.CommitSignature{}) {
				t.Errorf("an error, and yet %+v", got)
			}
		})
	}
}

func TestSSHNamespaceAndDates(t *testing.T) {
	r := flagtest.Repo(t)
	public := strings.TrimSpace(signingKey(t, r, "ed25519"))
	r.CommitFile(spec, "1\n", "signed")
	raw := rawCommit(t, r, "HEAD")
	at := func(s string) time.Time {
		when, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, c := range []struct {
		options string
		now     time.Time
		want    error
	}{
		{`namespaces="git"`, at("2026-01-01T00:00:00Z"), nil},
		{`namespaces="file,g?t"`, at("2026-01-01T00:00:00Z"), nil},
		{`valid-after="20260101Z"`, at("2025-12-31T23:59:59Z"), gitrepo.ErrUntrustedKey},
		{`valid-after="20260101Z"`, at("2026-01-01T00:00:00Z"), nil},
		{`valid-before="202601011200Z"`, at("2026-01-01T11:59:59Z"), nil},
		{`valid-before="20260101120030Z"`, at("2026-01-01T12:00:30Z"), gitrepo.ErrUntrustedKey},
		{`namespaces="git",valid-after="20260101Z",valid-before="20270101Z"`, at("2026-06-01T00:00:00Z"), nil},
	} {
		_, err := gitrepo.VerifyCommit(raw, []gitrepo.CommitKey{key(t, "alice", c.options+" "+public)}, c.now)
		if wantErr(t, err, c.want); t.Failed() {
			t.Fatalf("with %s at %s", c.options, c.now)
		}
	}
	for _, bad := range []string{
		`namespaces="file" ` + public, `namespaces="git,!git" ` + public, "cert-authority " + public, "no-pty " + public,
		`valid-before="soon" ` + public, `valid-after="20261301" ` + public, public + "\n" + public, "", "ssh-ed25519 AAAA",
		"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----",
	} {
		if _, err := gitrepo.ParseCommitKey("alice", bad); err == nil {
			t.Errorf("%q is taken for a key", bad)
		}
	}
	keys, err := gitrepo.ParseAllowedSigners([]byte("# people\n\nalice@example.org,al " + public + "\nbob namespaces=\"file\" " + public + "\n"))
	if err != nil || len(keys) != 2 || keys[0].Name != "alice@example.org" || keys[1].Name != "al" {
		t.Errorf("allowed signers: %v, %v", keys, err)
	}
	if _, err := gitrepo.ParseAllowedSigners([]byte("alice " + public + "\nbob cert-authority " + public + "\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a certificate authority: %v", err)
	}

	// The same key over the same bytes, but said for another purpose.
	file := filepath.Join(t.TempDir(), "payload")
	payload := strings.Replace(string(raw), string(raw[bytes.Index(raw, []byte("gpgsig ")):bytes.Index(raw, []byte("\n\n"))+1]), "", 1)
	if err := os.WriteFile(file, []byte(payload), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", r.Git("config", "user.signingkey"), file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sig, err := os.ReadFile(file + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	header := "gpgsig " + strings.ReplaceAll(strings.TrimSpace(string(sig)), "\n", "\n ") + "\n"
	_, err = gitrepo.VerifyCommit([]byte(strings.Replace(payload, "\n\n", "\n"+header+"\n", 1)), []gitrepo.CommitKey{key(t, "alice", public)}, r.Now)
	wantErr(t, err, gitrepo.ErrBadSignature)
}

// pgpKey makes a PGP key that is valid through 2020, and a git that signs with
// it on a day of that year.
func pgpKey(t testing.TB, r *flagtest.GitRepo, name string) string {
	t.Helper()
	flagtest.Need(t, "gpg", "gpgconf")
	home, err := os.MkdirTemp("", "gpg") // short: gpg-agent's socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	env := append(r.Env(), "GNUPGHOME="+home)
	run := func(program string, args ...string) []byte {
		cmd := exec.Command(program, args...)
		cmd.Env = env
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, stderr.String())
		}
		return out
	}
	t.Cleanup(func() {
		run("gpgconf", "--kill", "all")
		_ = os.RemoveAll(home)
	})
	run("gpg", "--batch", "--passphrase", "", "--faked-system-time", "20200101T000000", "--quick-gen-key",
		fmt.Sprintf("%s <%[1]s@example.org>", name), "ed25519", "sign", "20210101T000000")
	wrapper := filepath.Join(home, "gpg-2020")
	script := "#!/bin/sh\nGNUPGHOME='" + home + "' exec gpg --batch --faked-system-time 20200601T000000 \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r.Git("config", "gpg.format", "openpgp")
	r.Git("config", "gpg.program", wrapper)
	r.Git("config", "user.signingkey", name+"@example.org")
	r.Git("config", "commit.gpgsign", "true")
	return string(run("gpg", "--armor", "--export", name+"@example.org"))
}

func TestPGPCommitSignatures(t *testing.T) {
	r := flagtest.Repo(t)
	alice := key(t, "alice", pgpKey(t, r, "alice"))
	r.CommitFile(spec, "1\n", "signed")
	raw := rawCommit(t, r, "HEAD")
	year := func(y int) time.Time { return time.Date(y, 7, 1, 0, 0, 0, 0, time.UTC) }
	got, err := gitrepo.VerifyCommit(raw, []gitrepo.CommitKey{alice}, year(2020))
	if err != nil || got.Name != "alice" || got.Kind != "pgp" || len(got.Key) != 40 {
		t.Errorf("%+v, %v", got, err)
	}
	for y, want := range map[int]error{2019: gitrepo.ErrUntrustedKey, 2021: gitrepo.ErrUntrustedKey} {
		_, err = gitrepo.VerifyCommit(raw, []gitrepo.CommitKey{alice}, year(y))
		wantErr(t, err, want)
	}
	_, err = gitrepo.VerifyCommit(bytes.Replace(raw, []byte("signed"), []byte("singed"), 1), []gitrepo.CommitKey{alice}, year(2020))
	wantErr(t, err, gitrepo.ErrBadSignature)
	bob := key(t, "bob", pgpKey(t, r, "bob"))
	_, err = gitrepo.VerifyCommit(raw, []gitrepo.CommitKey{bob}, year(2020))
	wantErr(t, err, gitrepo.ErrUntrustedKey)
	got, err = gitrepo.VerifyCommit(raw, []gitrepo.CommitKey{bob, alice}, year(2020))
	if err != nil || got.Name != "alice" {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzVerifyCommit: whatever a commit's headers are made into, a signature is
// good only over the bytes that were signed.
func FuzzVerifyCommit(f *testing.F) {
	r := flagtest.Repo(f)
	alice := key(f, "alice", signingKey(f, r, "ed25519"))
	r.CommitFile(spec, "1\n", "signed")
	good := rawCommit(f, r, "HEAD")
	end := bytes.Index(good, []byte("\n\n"))
	start := bytes.Index(good, []byte("gpgsig "))
	payload := string(good[:start]) + string(good[end+1:])
	f.Add(string(good[start:end+1]), payload)
	f.Add(string(good[start:end+1])+string(good[start:end+1]), payload)
	f.Add("gpgsig -----BEGIN PGP SIGNATURE-----\n \n iHUEABYKAB0WIQ==\n =abcd\n -----END PGP SIGNATURE-----\n", payload)
	f.Add("gpgsig-sha256 x\n y\ngpgsig z\n", "tree 1\n\nm\n")
	f.Fuzz(func(t *testing.T, header, rest string) {
		first, after, _ := strings.Cut(rest, "\n")
		raw := []byte(first + "\n" + header + after)
		got, err := gitrepo.VerifyCommit(raw, []gitrepo.CommitKey{alice}, r.Now)
		if err != nil {
			if got != (gitrepo.CommitSignature{}) {
				t.Errorf("an error, and yet %+v", got)
			}
			return
		}
		// Without the signature's own lines it must be what was signed.
		if n := bytes.Count(raw, []byte("-----BEGIN")); n != 1 {
			t.Errorf("accepted with %d blocks", n)
		}
		if want := []byte(payload); !bytes.Equal(withoutSignature(raw), want) {
			t.Errorf("accepted over %q, signed was %q", withoutSignature(raw), want)
		}
	})
}

// withoutSignature is an independent reading of git's rule: drop each header
// line whose name begins with gpgsig, and the lines after it that begin with a
// space.
func withoutSignature(raw []byte) []byte {
	head, message, _ := strings.Cut(string(raw), "\n\n")
	var kept []string
	dropping := false
	for _, line := range strings.Split(head, "\n") {
		if dropping = strings.HasPrefix(line, "gpgsig") || dropping && strings.HasPrefix(line, " "); !dropping {
			kept = append(kept, line)
		}
	}
	return []byte(strings.Join(kept, "\n") + "\n\n" + message)
}

// Both ways of committing in a checkout sign as the person set git up to.
func TestLocalCommitsAreSigned(t *testing.T) {
	r := flagtest.Repo(t)
	one := r.CommitFile(spec, "1\n", "unsigned")
	keys := []gitrepo.CommitKey{key(t, "alice", signingKey(t, r, "ed25519"))}
	l := checkout(t, r)
	r.Write(spec, "2\n")
	made, err := l.CommitPaths(t.Context(), "two", nil, spec)
	if err != nil {
		t.Fatal(err)
	}
	beside, err := l.CommitFiles(t.Context(), one, map[string][]byte{spec: []byte("3\n")}, "three", gitrepo.Person{Name: "Bot", Email: "bot@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	for commit, want := range map[string]error{one: gitrepo.ErrUnsigned, made: nil, beside: nil} {
		raw, err := l.RawCommit(t.Context(), commit)
		if err != nil {
			t.Fatal(err)
		}
		_, err = gitrepo.VerifyCommit(raw, keys, r.Now)
		wantErr(t, err, want)
	}
}
