package keylesstest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"
)

// Services runs the authority's Fulcio, timestamp authority and newer Rekor on
// loopback until the test ends, and returns the signing config that names them. Each
// checks what it is asked for; Fulcio believes any token that [Token] could have made.
func (a *Authority) Services() (signingConfig []byte) {
	a.t.Helper()
	mux := http.NewServeMux()
	handle := func(pattern string, f func(body []byte, r *http.Request) (int, []byte, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
			if err == nil {
				var status int
				if status, body, err = f(body, r); err == nil {
					w.WriteHeader(status)
					_, _ = w.Write(body) // the client is gone: its business
					return
				}
			}
			http.Error(w, err.Error(), http.StatusBadRequest)
		})
	}
	handle("POST /api/v2/signingCert", a.serveCertificate)
	handle("POST /api/v1/timestamp", func(body []byte, _ *http.Request) (int, []byte, error) {
		return http.StatusCreated, a.stamp(body), nil
	})
	handle("POST /api/v2/log/entries", a.serveEntry)
	srv := httptest.NewServer(mux)
	a.t.Cleanup(srv.Close)
	a.URL = srv.URL

	from := a.Now.Add(-24 * time.Hour).UTC().Format(time.RFC3339)
	service := func(path string, version int) []object {
		return []object{{"url": srv.URL + path, "majorApiVersion": version, "validFor": object{"start": from}, "operator": "keylesstest"}}
	}
	return a.canonical(object{
		"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
		"caUrls":    service("", 1), "rekorTlogUrls": service("", 2), "tsaUrls": service("/api/v1/timestamp", 1),
		"rekorTlogConfig": object{"selector": "ANY"}, "tsaConfig": object{"selector": "ANY"},
	})
}

// Token is an OpenID token, unsigned, that the authority's Fulcio believes.
func (a *Authority) Token(issuer, subject string) string {
	enc := func(v any) string { return base64.RawURLEncoding.EncodeToString(a.canonical(v)) }
	return enc(object{"alg": "none"}) + "." + enc(object{
		"iss": issuer, "sub": subject, "aud": "sigstore", "exp": a.Now.Add(time.Minute).Unix(),
	}) + ".AA"
}

// serveCertificate checks that who asks holds the key, and issues a certificate.
func (a *Authority) serveCertificate(body []byte, r *http.Request) (int, []byte, error) {
	var req struct {
		PublicKeyRequest struct {
			PublicKey         struct{ Algorithm, Content string }
			ProofOfPossession []byte
		}
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return 0, nil, err
	}
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return 0, nil, fmt.Errorf("no token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0, nil, err
	}
	var claims struct{ Iss, Sub, Aud string }
	if err := json.Unmarshal(raw, &claims); err != nil || claims.Aud != "sigstore" {
		return 0, nil, fmt.Errorf("the token is for %q: %w", claims.Aud, err)
	}
	block, _ := pem.Decode([]byte(req.PublicKeyRequest.PublicKey.Content))
	if block == nil {
		return 0, nil, fmt.Errorf("no public key")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return 0, nil, err
	}
	sum := sha256.Sum256([]byte(claims.Sub))
	if key, ok := pub.(*ecdsa.PublicKey); !ok || !ecdsa.VerifyASN1(key, sum[:], req.PublicKeyRequest.ProofOfPossession) {
		return 0, nil, fmt.Errorf("no proof of possession")
	}
	cert := a.Certificate(claims.Iss, claims.Sub, pub)
	var list []string
	for _, c := range []*x509.Certificate{cert, a.ca.issuer, a.ca.root} {
		list = append(list, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
	}
	return http.StatusOK, a.canonical(object{"signedCertificateEmbeddedSct": object{"chain": object{"certificates": list}}}), nil
}

// serveEntry checks the signature, and takes it into the log.
func (a *Authority) serveEntry(body []byte, _ *http.Request) (int, []byte, error) {
	var req protobuf.CreateEntryRequest
	if err := protojson.Unmarshal(body, &req); err != nil {
		return 0, nil, err
	}
	hr := req.GetHashedRekordRequestV002()
	by := hr.GetSignature().GetVerifier()
	material := object{"keyDetails": "PKIX_ECDSA_P256_SHA_256"}
	var pub any
	var err error
	if raw := by.GetPublicKey().GetRawBytes(); raw != nil {
		pub, err = x509.ParsePKIXPublicKey(raw)
		material["publicKey"] = object{"rawBytes": raw}
	} else {
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(by.GetX509Certificate().GetRawBytes()); err == nil {
			pub = cert.PublicKey
			material["x509Certificate"] = object{"rawBytes": cert.Raw}
		}
	}
	if err != nil {
		return 0, nil, err
	}
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(key, hr.GetDigest(), hr.GetSignature().GetContent()) {
		return 0, nil, fmt.Errorf("the signature does not verify")
	}
	out, err := protojson.Marshal(a.entryV2(hr.GetDigest(), hr.GetSignature().GetContent(), material))
	return http.StatusCreated, bytes.TrimSpace(out), err
}
