package keylesstest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"

	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore/pkg/signature"
	formats "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"
	sumnote "golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	hostV1 = "rekor.example"
	hostV2 = "log2026.rekor.example"
)

// With is what a bundle carries beside its certificate.
type With int

const (
	Timestamp With = 1 << iota // of the timestamp authority
	RekorV1                    // an entry with time, promise and proof
	RekorV2                    // an entry with a proof and without a time
)

// Bundle signs message as subject with a fresh key and certificate, now.
func (a *Authority) Bundle(message []byte, issuer, subject string, with With) []byte {
	a.t.Helper()
	key := newKey(a.t)
	cert := a.Certificate(issuer, subject, key.Public())
	digest := sha256.Sum256(message)
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	a.must(err)
	material := &bundlev1.VerificationMaterial{
		Content: &bundlev1.VerificationMaterial_Certificate{Certificate: &commonv1.X509Certificate{RawBytes: cert.Raw}},
	}
	if with&Timestamp != 0 {
		material.TimestampVerificationData = &bundlev1.TimestampVerificationData{
			Rfc3161Timestamps: []*commonv1.RFC3161SignedTimestamp{{SignedTimestamp: a.stampSignature(sig)}},
		}
	}
	if with&RekorV1 != 0 {
		material.TlogEntries = append(material.TlogEntries, a.entryV1(digest[:], sig, cert))
	}
	if with&RekorV2 != 0 {
		material.TlogEntries = append(material.TlogEntries, a.entryV2(digest[:], sig, object{"keyDetails": "PKIX_ECDSA_P256_SHA_256", "x509Certificate": object{"rawBytes": cert.Raw}}))
	}
	out, err := protojson.Marshal(&bundlev1.Bundle{
		MediaType:            "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: material,
		Content: &bundlev1.Bundle_MessageSignature{MessageSignature: &commonv1.MessageSignature{
			MessageDigest: &commonv1.HashOutput{Algorithm: commonv1.HashAlgorithm_SHA2_256, Digest: digest[:]},
			Signature:     sig,
		}},
	})
	a.must(err)
	return out
}

// canonical is JSON with sorted names and no white space, as both logs keep it.
func (a *Authority) canonical(v any) []byte {
	a.t.Helper()
	out, err := json.Marshal(v) // maps are written sorted
	a.must(err)
	return out
}

type object = map[string]any

// entryV1 is a log of one entry, as the older Rekor answers.
func (a *Authority) entryV1(digest, sig []byte, cert *x509.Certificate) *rekorv1.TransparencyLogEntry {
	a.t.Helper()
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	body := a.canonical(object{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": object{
		"data":      object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(digest)}},
		"signature": object{"content": sig, "publicKey": object{"content": certPEM}},
	}})
	id := logID(a.t, a.logV1)
	signer, err := signature.LoadECDSASigner(a.logV1, crypto.SHA256)
	a.must(err)
	hash := rfc6962.DefaultHasher.HashLeaf(body)
	checkpoint, err := util.CreateAndSignCheckpoint(context.Background(), hostV1, 42, 1, hash, signer)
	a.must(err)
	promise := sha256.Sum256(a.canonical(object{
		"body": base64.StdEncoding.EncodeToString(body), "integratedTime": a.Now.Unix(), "logID": hex.EncodeToString(id), "logIndex": 0,
	}))
	set, err := ecdsa.SignASN1(rand.Reader, a.logV1, promise[:])
	a.must(err)
	return &rekorv1.TransparencyLogEntry{
		LogId: &commonv1.LogId{KeyId: id}, KindVersion: &rekorv1.KindVersion{Kind: "hashedrekord", Version: "0.0.1"},
		IntegratedTime: a.Now.Unix(), InclusionPromise: &rekorv1.InclusionPromise{SignedEntryTimestamp: set},
		InclusionProof:    &rekorv1.InclusionProof{TreeSize: 1, RootHash: hash, Checkpoint: &rekorv1.Checkpoint{Envelope: string(checkpoint)}},
		CanonicalizedBody: body,
	}
}

// entryV2 is a log of one entry, as the newer, tile-based Rekor answers. by is the certificate or key that verifies sig.
func (a *Authority) entryV2(digest, sig []byte, by object) *rekorv1.TransparencyLogEntry {
	a.t.Helper()
	body := a.canonical(object{"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": object{"hashedRekordV002": object{
		"data":      object{"algorithm": "SHA2_256", "digest": digest},
		"signature": object{"content": sig, "verifier": by},
	}}})
	hash := rfc6962.DefaultHasher.HashLeaf(body)
	signer, err := signature.LoadECDSASigner(a.logV2, crypto.SHA256)
	a.must(err)
	noteSigner, err := note.NewNoteSigner(context.Background(), hostV2, signer)
	a.must(err)
	text := formats.Checkpoint{Origin: hostV2, Size: 1, Hash: hash}.Marshal()
	checkpoint, err := sumnote.Sign(&sumnote.Note{Text: string(text)}, noteSigner)
	a.must(err)
	return &rekorv1.TransparencyLogEntry{
		LogId: &commonv1.LogId{KeyId: logID(a.t, a.logV2)}, KindVersion: &rekorv1.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		InclusionProof:    &rekorv1.InclusionProof{TreeSize: 1, RootHash: hash, Checkpoint: &rekorv1.Checkpoint{Envelope: string(checkpoint)}},
		CanonicalizedBody: body,
	}
}
