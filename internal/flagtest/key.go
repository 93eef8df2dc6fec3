package flagtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"testing"
)

// Key is a signer of the test's own. It signs with the standard library alone and
// knows nothing of package signing, so that tests check what others would make.
type Key struct {
	Name      string
	PublicPEM string // PKIX, as in a trust policy

	t    testing.TB
	priv *ecdsa.PrivateKey
	hint string
}

// NewKey makes an ECDSA P-256 key for a signer of that name.
func NewKey(t testing.TB, name string) *Key {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&priv.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return &Key{
		Name: name, t: t, priv: priv, hint: base64.StdEncoding.EncodeToString(sum[:]),
		PublicPEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}
}

// PrivatePEM is the key's private half as plain PKCS #8.
func (k *Key) PrivatePEM() string {
	k.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.priv)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Bundle signs message: a sigstore message-signature bundle v0.3, as cosign writes it.
func (k *Key) Bundle(message []byte) []byte {
	k.t.Helper()
	sum := sha256.Sum256(message)
	sig, err := ecdsa.SignASN1(rand.Reader, k.priv, sum[:])
	if err != nil {
		k.t.Fatal(err)
	}
	type object = map[string]any
	out, err := json.Marshal(object{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": object{"publicKey": object{"hint": k.hint}},
		"messageSignature": object{
			"messageDigest": object{"algorithm": "SHA2_256", "digest": base64.StdEncoding.EncodeToString(sum[:])},
			"signature":     base64.StdEncoding.EncodeToString(sig),
		},
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return append(out, '\n')
}

// Trust is a trust policy as JSON: the members of policy, an object such as
//
//	{"version":1,"roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}
//
// with the keys as its signers, unless it names signers itself.
func Trust(t testing.TB, policy string, keys ...*Key) string {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(policy), &doc); err != nil {
		t.Fatalf("reading the policy of a test: %v", err)
	}
	if _, ok := doc["version"]; !ok {
		doc["version"] = 1
	}
	if _, ok := doc["signers"]; !ok {
		signers := map[string]any{}
		for _, k := range keys {
			signers[k.Name] = map[string]string{"key": k.PublicPEM}
		}
		doc["signers"] = signers
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + "\n"
}
