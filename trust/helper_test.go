package trust_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// keyring makes a key pair per name, once for all tests.
var keyring sync.Map

func signer(t testing.TB, name string) *signing.Signer {
	t.Helper()
	if s, ok := keyring.Load(name); ok {
		return s.(*signing.Signer)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := cryptoutils.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signing.LoadSigner(pem, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := keyring.LoadOrStore(name, s)
	return got.(*signing.Signer)
}

// document replaces «name» in a policy by that name's public key as a JSON string.
func document(t testing.TB, src string) []byte {
	t.Helper()
	for {
		before, rest, ok := strings.Cut(src, "«")
		if !ok {
			return []byte(src)
		}
		name, after, _ := strings.Cut(rest, "»")
		quoted, err := json.Marshal(string(signer(t, name).Public().PEM()))
		if err != nil {
			t.Fatal(err)
		}
		src = before + string(quoted) + after
	}
}

func policy(t testing.TB, src string) *trust.Policy {
	t.Helper()
	p, err := trust.Parse("trust.json", document(t, src))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// policyWith is a policy whose signers are all the names in roles, and further fields.
func policyWith(t testing.TB, roles string, more ...string) *trust.Policy {
	t.Helper()
	var parsed map[string]struct{ Signers []string }
	if err := json.Unmarshal([]byte(roles), &parsed); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var signers []string
	for _, r := range parsed {
		for _, s := range r.Signers {
			if !seen[s] {
				seen[s] = true
				signers = append(signers, fmt.Sprintf(`%q:{"key":«%s»}`, s, s))
			}
		}
	}
	return policy(t, fmt.Sprintf(`{"version":1,"signers":{%s},"roles":%s%s}`, strings.Join(signers, ","), roles, strings.Join(append([]string{""}, more...), ",")))
}

// spec decodes a spec of these features.
func spec(t testing.TB, version, features string, more ...string) *flags.Spec {
	t.Helper()
	s, err := flags.Decode("flags.json", fmt.Appendf(nil, `{"version":%q,"features":%s%s}`, version, features, strings.Join(append([]string{""}, more...), ",")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
