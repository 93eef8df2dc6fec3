package gitrepo

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"golang.org/x/crypto/ssh"
)

// CommitKey is a public key that may sign commits, and whose it is.
// [ParseCommitKey] makes it.
type CommitKey struct {
	Name string

	ssh           ssh.PublicKey
	pgp           *openpgp.Entity
	after, before time.Time // of an allowed_signers line; zero: no bound
}

// ParseCommitKey reads a key of one of these forms:
//
//   - a line as in authorized_keys or, after its principals, in allowed_signers:
//     [options] ssh-ed25519 AAAA… [comment]. Of the options, namespaces (which
//     must have "git"), valid-after and valid-before are held; any other, such
//     as cert-authority, is an error, for it would mean something else here.
//   - one armored PGP public key.
//   - a public key in PEM (ECDSA, Ed25519, RSA), for commits that the same key
//     signed in SSH's form.
func ParseCommitKey(name, text string) (CommitKey, error) {
	k := CommitKey{Name: name}
	var err error
	switch trimmed := strings.TrimSpace(text); {
	case strings.HasPrefix(trimmed, "-----BEGIN PGP PUBLIC KEY BLOCK-----"):
		err = k.parsePGP(trimmed)
	case strings.HasPrefix(trimmed, "-----BEGIN"):
		err = k.parsePEM(trimmed)
	default:
		err = k.parseSSH(trimmed)
	}
	if err != nil {
		return CommitKey{}, fmt.Errorf("reading the commit key of %s: %w", name, err)
	}
	return k, nil
}

// ParseAllowedSigners reads a file of ssh-keygen's ALLOWED SIGNERS form. A key
// with several principals is listed once for each; lines for other namespaces
// than git are left out.
func ParseAllowedSigners(src []byte) ([]CommitKey, error) {
	var out []CommitKey
	lines := bufio.NewScanner(bytes.NewReader(src))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		principals, rest, ok := strings.Cut(line, " ")
		if !ok {
			return nil, fmt.Errorf("reading allowed signers: line %d has no key", n)
		}
		for _, name := range strings.Split(strings.Trim(principals, `"`), ",") {
			k, err := ParseCommitKey(name, rest)
			if errors.Is(err, errNamespace) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("reading allowed signers: line %d: %w", n, err)
			}
			out = append(out, k)
		}
	}
	return out, lines.Err()
}

var errNamespace = errors.New(`its namespaces do not have "git"`)

func (k *CommitKey) parseSSH(line string) error {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return errors.New("it is no SSH, PGP or PEM public key")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("it is more than one line")
	}
	if _, isCert := key.(*ssh.Certificate); isCert {
		return errors.New("SSH certificates are not taken")
	}
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "namespaces":
			if !matchesAny(value, "git") {
				return errNamespace
			}
		case "valid-after":
			k.after, err = parseSSHTime(value)
		case "valid-before":
			k.before, err = parseSSHTime(value)
		default:
			err = fmt.Errorf("option %q is not taken", name)
		}
		if err != nil {
			return err
		}
	}
	return k.setSSH(key)
}

// matchesAny holds a list of patterns as OpenSSH does: split by commas, "*" and
// "?" for any, and "!" before one that must not match.
func matchesAny(list, name string) bool {
	found := false
	for _, pattern := range strings.Split(list, ",") {
		pattern, negated := strings.CutPrefix(strings.TrimSpace(pattern), "!")
		if ok, err := path.Match(pattern, name); err == nil && ok {
			if negated {
				return false
			}
			found = true
		}
	}
	return found
}

// parseSSHTime reads YYYYMMDD[HHMM[SS]][Z]: local time, as ssh-keygen has it,
// unless a Z follows.
func parseSSHTime(s string) (time.Time, error) {
	zone := time.Local
	digits, utc := strings.CutSuffix(s, "Z")
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) == len(layout) {
			return time.ParseInLocation(layout, digits, zone)
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time of the form YYYYMMDD[HHMM[SS]][Z]", s)
}

func (k *CommitKey) parsePEM(text string) error {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("it is not one PEM public key")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	return k.setSSH(key)
}

func (k *CommitKey) setSSH(key ssh.PublicKey) error {
	if key.Type() == "ssh-dss" {
		return errors.New("DSA keys are not taken")
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if rsa, ok := c.CryptoPublicKey().(interface{ Size() int }); ok && rsa.Size() < 256 {
			return errors.New("RSA keys of less than 2048 bits are not taken")
		}
	}
	k.ssh = key
	return nil
}

func (k *CommitKey) parsePGP(text string) error {
	list, err := openpgp.ReadArmoredKeyRing(strings.NewReader(text))
	if err != nil {
		return err
	}
	if len(list) != 1 || strings.Count(text, "-----BEGIN") != 1 {
		return errors.New("it is not one PGP key")
	}
	if list[0].PrivateKey != nil {
		return errors.New("it holds a private key")
	}
	k.pgp = list[0]
	return nil
}

// validAt holds the dates of an allowed_signers line against a clock.
func (k *CommitKey) validAt(now time.Time) error {
	if !k.after.IsZero() && now.Before(k.after) {
		return fmt.Errorf("%w: the key of %s is not valid before %s", ErrUntrustedKey, k.Name, k.after.Format(time.RFC3339))
	}
	if !k.before.IsZero() && !now.Before(k.before) {
		return fmt.Errorf("%w: the key of %s was valid until %s", ErrUntrustedKey, k.Name, k.before.Format(time.RFC3339))
	}
	return nil
}

func (k *CommitKey) fingerprint() string {
	if k.ssh != nil {
		return ssh.FingerprintSHA256(k.ssh)
	}
	return hex.EncodeToString(k.pgp.PrimaryKey.Fingerprint)
}
