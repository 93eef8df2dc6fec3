// Package keylesstest is a sigstore of one's own for tests: a Fulcio that issues
// GitHub-like certificates with embedded certificate timestamps, Rekor logs of both
// versions, and a timestamp authority. What it makes, stock cosign accepts with
// --trusted-root. Nothing in it is secure.
package keylesstest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// GitHubIssuer is whom GitHub Actions' tokens come from.
const GitHubIssuer = "https://token.actions.githubusercontent.com"

// Authority is everything that a trusted root names.
type Authority struct {
	// Now is the time of what is made next. It begins as the real time.
	Now time.Time
	// URL is where [Authority.Services] serve, once they do.
	URL string

	t            testing.TB
	ca, tsa      chain
	ctKey        *ecdsa.PrivateKey
	logV1, logV2 *ecdsa.PrivateKey
	serial       int64
}

type chain struct {
	root, issuer *x509.Certificate
	key          *ecdsa.PrivateKey // issuer's
	leaf         *x509.Certificate // of the timestamp authority
	leafKey      *ecdsa.PrivateKey
}

// New makes an authority with fresh keys, valid for a year before and after now.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, Now: time.Now().Truncate(time.Second), ctKey: newKey(t), logV1: newKey(t), logV2: newKey(t)}
	a.ca = a.newChain("fulcio", x509.ExtKeyUsageCodeSigning)
	a.tsa = a.newChain("tsa", x509.ExtKeyUsageTimeStamping)
	a.tsa.leafKey = newKey(t)
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	a.must(err)
	a.tsa.leaf = a.issue(&x509.Certificate{
		Subject:  pkix.Name{CommonName: "keylesstest tsa"},
		KeyUsage: x509.KeyUsageDigitalSignature,
		// RFC 3161, 2.3: critical, and the only one. x509 cannot say critical by itself.
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}, a.tsa.issuer, a.tsa.leafKey.Public(), a.tsa.key, 365*24*time.Hour)
	return a
}

func (a *Authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *Authority) newChain(name string, usage x509.ExtKeyUsage) chain {
	rootKey, key := newKey(a.t), newKey(a.t)
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name + " root", Organization: []string{"keylesstest"}},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	root := a.issue(template, template, rootKey.Public(), rootKey, 365*24*time.Hour)
	issuer := a.issue(&x509.Certificate{
		Subject:  pkix.Name{CommonName: name + " intermediate", Organization: []string{"keylesstest"}},
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, root, key.Public(), rootKey, 365*24*time.Hour)
	return chain{root: root, issuer: issuer, key: key}
}

// issue signs a certificate. Short-lived ones are valid from now on, others around now.
func (a *Authority) issue(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer, life time.Duration) *x509.Certificate {
	a.t.Helper()
	if template.SerialNumber == nil {
		a.serial++
		template.SerialNumber = big.NewInt(a.serial)
	}
	template.NotBefore, template.NotAfter = a.Now, a.Now.Add(life)
	if life > time.Hour {
		template.NotBefore = a.Now.Add(-life)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	a.must(err)
	cert, err := x509.ParseCertificate(der)
	a.must(err)
	return cert
}

// TrustedRoot is the file that makes the authority believed.
func (a *Authority) TrustedRoot() []byte { return a.root(true, true) }

// PrivateRoot is the trusted root of a deployment without certificate log and
// without Rekor: timestamps are all it has.
func (a *Authority) PrivateRoot() []byte { return a.root(false, false) }

func (a *Authority) root(withCT, withRekor bool) []byte {
	a.t.Helper()
	from, to := a.Now.Add(-300*24*time.Hour), a.Now.Add(300*24*time.Hour)
	logs := func(keys map[string]*ecdsa.PrivateKey) map[string]*root.TransparencyLog {
		out := map[string]*root.TransparencyLog{}
		for at, key := range keys {
			id := logID(a.t, key)
			out[string(id)] = &root.TransparencyLog{
				BaseURL: at, ID: id, ValidityPeriodStart: from, ValidityPeriodEnd: to,
				HashFunc: crypto.SHA256, PublicKey: key.Public(), SignatureHashFunc: crypto.SHA256,
			}
		}
		return out
	}
	var ctlogs, rekors map[string]*root.TransparencyLog
	if withCT {
		ctlogs = logs(map[string]*ecdsa.PrivateKey{"https://ct.example": a.ctKey})
	}
	if withRekor {
		rekors = logs(map[string]*ecdsa.PrivateKey{"https://" + hostV1: a.logV1, "https://" + hostV2: a.logV2})
	}
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: a.ca.root, Intermediates: []*x509.Certificate{a.ca.issuer}, ValidityPeriodStart: from, ValidityPeriodEnd: to, URI: "https://fulcio.example",
		}},
		ctlogs,
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Root: a.tsa.root, Intermediates: []*x509.Certificate{a.tsa.issuer}, Leaf: a.tsa.leaf, ValidityPeriodStart: from, ValidityPeriodEnd: to, URI: "https://tsa.example",
		}},
		rekors)
	a.must(err)
	out, err := tr.MarshalJSON()
	a.must(err)
	return out
}

func logID(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return sum[:]
}

// Certificate issues a ten-minute certificate as Fulcio does: an email address or a
// URL as the subject, the issuer in both of its extensions, for GitHub the workflow's
// particulars beside it, and a timestamp of the certificate log.
func (a *Authority) Certificate(issuer, subject string, pub crypto.PublicKey) *x509.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: a.claims(issuer, subject),
	}
	if u, err := url.Parse(subject); err == nil && u.Scheme != "" {
		template.URIs = []*url.URL{u}
	} else {
		template.EmailAddresses = []string{subject}
	}
	// RFC 6962, 3.1: the log signs the certificate as it would be without the
	// timestamps, so it is made once without and once with them.
	before := a.issue(template, a.ca.issuer, pub, a.ca.key, 10*time.Minute)
	template.ExtraExtensions = append(template.ExtraExtensions, a.timestamps(before))
	return a.issue(template, a.ca.issuer, pub, a.ca.key, 10*time.Minute)
}

// claims are Fulcio's extensions: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
func (a *Authority) claims(issuer, subject string) []pkix.Extension {
	fulcio := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n} }
	out := []pkix.Extension{{Id: fulcio(1), Value: []byte(issuer)}}
	text := func(n int, s string) {
		der, err := asn1.MarshalWithParams(s, "utf8")
		a.must(err)
		out = append(out, pkix.Extension{Id: fulcio(n), Value: der})
	}
	text(8, issuer)
	workflow, ref, ok := strings.Cut(subject, "@")
	if issuer != GitHubIssuer || !ok {
		return out
	}
	repo, _, _ := strings.Cut(strings.TrimPrefix(workflow, "https://github.com/"), "/.github/")
	sha := strings.Repeat("a1", 20)
	for n, s := range map[int]string{2: "push", 3: sha, 4: "sign", 5: repo, 6: ref} {
		out = append(out, pkix.Extension{Id: fulcio(n), Value: []byte(s)})
	}
	owner, _, _ := strings.Cut(repo, "/")
	for n, s := range map[int]string{
		9: subject, 10: sha, 11: "github-hosted", 12: "https://github.com/" + repo, 13: sha, 14: ref, 15: "123", 16: "https://github.com/" + owner,
		17: "456", 18: subject, 19: sha, 20: "push",
	} {
		text(n, s)
	}
	return out
}

func (a *Authority) timestamps(cert *x509.Certificate) pkix.Extension {
	var log [sha256.Size]byte
	copy(log[:], logID(a.t, a.ctKey))
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: log}, Timestamp: uint64(a.Now.UnixMilli())}
	input, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType,
		TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: sct.Timestamp, EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{IssuerKeyHash: sha256.Sum256(a.ca.issuer.RawSubjectPublicKeyInfo), TBSCertificate: cert.RawTBSCertificate},
		},
	}})
	a.must(err)
	sig, err := cttls.CreateSignature(*a.ctKey, cttls.SHA256, input)
	a.must(err)
	sct.Signature = ct.DigitallySigned(sig)
	one, err := cttls.Marshal(sct)
	a.must(err)
	list, err := cttls.Marshal(ctx509.SignedCertificateTimestampList{SCTList: []ctx509.SerializedSCT{{Val: one}}})
	a.must(err)
	der, err := asn1.Marshal(list)
	a.must(err)
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: der}
}

// stamp answers a timestamp query (RFC 3161).
func (a *Authority) stamp(query []byte) []byte {
	a.t.Helper()
	req, err := timestamp.ParseRequest(query)
	a.must(err)
	ts := timestamp.Timestamp{
		HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Nonce: req.Nonce, Time: a.Now,
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: req.Certificates,
	}
	out, err := ts.CreateResponseWithOpts(a.tsa.leaf, a.tsa.leafKey, crypto.SHA256)
	a.must(err)
	return out
}

func (a *Authority) stampSignature(sig []byte) []byte {
	a.t.Helper()
	query, err := timestamp.CreateRequest(bytes.NewReader(sig), &timestamp.RequestOptions{Hash: crypto.SHA256})
	a.must(err)
	return a.stamp(query)
}
