package gitrepo

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/hiddeco/sshsig"
)

// Errors about commit signatures.
var (
	// ErrUnsigned: the commit has no signature that counts.
	ErrUnsigned = errors.New("commit is not signed")
	// ErrBadSignature: there is a signature, and it does not fit the commit, or
	// is not in the one form that is taken.
	ErrBadSignature = errors.New("commit signature is bad")
	// ErrUntrustedKey: the signature is by no key that was given, or by one that
	// is expired, revoked, or not valid yet, by our clock.
	ErrUntrustedKey = errors.New("commit was signed by no trusted key")
)

// CommitSignature is a good signature on a commit.
type CommitSignature struct {
	Name string // of the [CommitKey]
	Kind string // "ssh" or "pgp"
	Key  string // SSH: "SHA256:<fingerprint>"; PGP: the fingerprint in hex
}

// VerifyCommit checks a commit's SSH or PGP signature. It takes the raw bytes of
// the object, and trusts only what is signed of them. Exactly one signature is
// taken, in the header gpgsig, one armored block with nothing around it; of two
// blocks, git and most libraries check the first and never say so. All dates are
// held against now, which is the caller's clock, never the commit's.
func VerifyCommit(raw []byte, keys []CommitKey, now time.Time) (CommitSignature, error) {
	payload, signature, err := splitCommit(raw)
	if err != nil {
		return CommitSignature{}, err
	}
	kind, err := blockKind(signature)
	if err != nil {
		return CommitSignature{}, err
	}
	if kind == "ssh" {
		return verifySSH(payload, signature, keys, now)
	}
	return verifyPGP(payload, signature, keys, now)
}

// splitCommit takes the signature out of a raw commit, and gives the bytes that
// it was made over, as git does: all but the headers gpgsig and gpgsig-sha256
// (which is for a repository in SHA-256, and no signature here).
func splitCommit(raw []byte) (payload, signature []byte, err error) {
	rest := raw
	seen := 0
	var into *[]byte = &payload // where continuation lines go
	var dropped []byte
	for first := true; len(rest) > 0; first = false {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line = rest[:i+1]
		} else {
			return nil, nil, fmt.Errorf("%w: its headers do not end", ErrBadSignature)
		}
		if first && !bytes.HasPrefix(line, []byte("tree ")) {
			return nil, nil, fmt.Errorf("%w: it does not begin with a tree", ErrBadSignature)
		}
		if len(line) == 1 { // the message follows
			payload = append(payload, rest...)
			rest = nil
			break
		}
		rest = rest[len(line):]
		name, value, _ := bytes.Cut(line, []byte(" "))
		switch {
		case line[0] == ' ':
			if into == &signature || into == &dropped {
				line = line[1:]
			}
		case string(name) == "gpgsig":
			seen++
			into, line = &signature, value
		case string(name) == "gpgsig-sha256":
			into = &dropped
		case bytes.HasPrefix(name, []byte("gpgsig")):
			return nil, nil, fmt.Errorf("%w: unknown header %q", ErrBadSignature, name)
		default:
			into = &payload
		}
		*into = append(*into, line...)
	}
	switch {
	case seen == 0:
		return nil, nil, ErrUnsigned
	case seen > 1:
		return nil, nil, fmt.Errorf("%w: %d signature headers", ErrBadSignature, seen)
	}
	return payload, signature, nil
}

// blockKind tells an SSH from a PGP block, and refuses all that is not exactly
// one of them.
func blockKind(signature []byte) (string, error) {
	text := strings.TrimSuffix(string(signature), "\n")
	if strings.Count(text, "-----BEGIN") != 1 || strings.Count(text, "-----END") != 1 {
		return "", fmt.Errorf("%w: it is not exactly one block", ErrBadSignature)
	}
	for kind, name := range map[string]string{"ssh": "SSH SIGNATURE", "pgp": "PGP SIGNATURE"} {
		if strings.HasPrefix(text, "-----BEGIN "+name+"-----\n") && strings.HasSuffix(text, "\n-----END "+name+"-----") {
			return kind, nil
		}
	}
	return "", fmt.Errorf("%w: it is neither an SSH nor a PGP signature with nothing around it", ErrBadSignature)
}

func verifySSH(payload, signature []byte, keys []CommitKey, now time.Time) (CommitSignature, error) {
	sig, err := sshsig.Unarmor(signature)
	if err != nil {
		return CommitSignature{}, fmt.Errorf("%w: reading the SSH signature: %v", ErrBadSignature, err) //nolint:errorlint // for people only
	}
	if format := sig.Signature.Format; format == "ssh-rsa" || format == "ssh-dss" {
		return CommitSignature{}, fmt.Errorf("%w: %s uses SHA-1", ErrBadSignature, format)
	}
	wire := sig.PublicKey.Marshal()
	untrusted := ErrUntrustedKey
	for _, key := range keys {
		if key.ssh == nil || !bytes.Equal(key.ssh.Marshal(), wire) {
			continue
		}
		if err := key.validAt(now); err != nil {
			untrusted = err
			continue
		}
		if err := sshsig.Verify(bytes.NewReader(payload), sig, key.ssh, sig.HashAlgorithm, "git"); err != nil {
			return CommitSignature{}, fmt.Errorf("%w: %v", ErrBadSignature, err) //nolint:errorlint // for people only
		}
		return CommitSignature{Name: key.Name, Kind: "ssh", Key: key.fingerprint()}, nil
	}
	return CommitSignature{}, untrusted
}

func verifyPGP(payload, signature []byte, keys []CommitKey, now time.Time) (CommitSignature, error) {
	body, err := onePGPSignature(signature)
	if err != nil {
		return CommitSignature{}, err
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	untrusted := ErrUntrustedKey
	for _, key := range keys {
		if key.pgp == nil {
			continue
		}
		err := checkPGP(key.pgp, payload, body, config)
		switch {
		case err == nil:
			return CommitSignature{Name: key.Name, Kind: "pgp", Key: key.fingerprint()}, nil
		case errors.Is(err, pgperrors.ErrUnknownIssuer):
		case errors.Is(err, pgperrors.ErrKeyExpired), errors.Is(err, pgperrors.ErrKeyRevoked), errors.Is(err, pgperrors.ErrSignatureExpired):
			untrusted = fmt.Errorf("%w: the key of %s: %v", ErrUntrustedKey, key.Name, err) //nolint:errorlint // for people only
		default:
			return CommitSignature{}, fmt.Errorf("%w: %v", ErrBadSignature, err) //nolint:errorlint // for people only
		}
	}
	return CommitSignature{}, untrusted
}

func checkPGP(key *openpgp.Entity, payload, body []byte, config *packet.Config) error {
	_, err := openpgp.CheckDetachedSignature(openpgp.EntityList{key}, bytes.NewReader(payload), bytes.NewReader(body), config)
	return err
}

// onePGPSignature takes the armor off a block that holds one signature packet,
// over the document itself, by a hash that still stands.
func onePGPSignature(block []byte) ([]byte, error) {
	bad := func(why string) ([]byte, error) {
		return nil, fmt.Errorf("%w: the PGP block holds %s", ErrBadSignature, why)
	}
	b, err := armor.Decode(bytes.NewReader(block))
	if err != nil {
		return bad("no armor that reads")
	}
	body, err := io.ReadAll(io.LimitReader(b.Body, 64<<10))
	if err != nil || len(body) == 64<<10 {
		return bad("no armor that reads")
	}
	packets := packet.NewReader(bytes.NewReader(body))
	p, err := packets.Next()
	sig, ok := p.(*packet.Signature)
	if err != nil || !ok {
		return bad("no signature")
	}
	if _, err := packets.Next(); !errors.Is(err, io.EOF) {
		return bad("more than one packet")
	}
	switch sig.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
	default:
		return bad("a signature over a hash that is too weak")
	}
	if sig.SigType != packet.SigTypeBinary {
		return bad("a signature that is not over bytes")
	}
	return body, nil
}

// RawCommit gives a commit's bytes, as [VerifyCommit] needs them.
func (r *Repo) RawCommit(_ context.Context, hash string) ([]byte, error) {
	h, err := parseHash(hash)
	if err != nil {
		return nil, err
	}
	var out []byte
	err = r.read(func(c *clone) error {
		if _, err := c.commit(h); err != nil {
			return err
		}
		out, err = c.object(plumbing.CommitObject, h, 1<<20)
		return err
	})
	return out, err
}
