package keyless

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

// Log is a Rekor log that takes digests of documents which sign themselves, such as a ledger's checkpoint.
type Log struct {
	// URL is the log's address.
	URL string
	// Version is 1, or 2 for logs on tiles. Zero means 2.
	Version uint32
	// Timestamps is the address of a timestamp authority (RFC 3161). A log of version 2 says no time itself. Empty means none.
	Timestamps string
	// Timeout is for each request. Zero means 30 seconds.
	Timeout time.Duration
}

// Recorded says what a log's entry proves of a document: that the log holds its digest, where, and since when.
type Recorded struct {
	Log   string // the log's key id, hex
	Index int64
	Time  time.Time // by the log or a timestamp authority; zero where neither says so
}

// record is what [Log.Record] returns: a bundle without certificate, and the key that it was made with.
type record struct {
	Bundle    json.RawMessage `json:"bundle"`
	PublicKey string          `json:"public_key"` // PEM
}

// Record has the log take the digest of message, and returns the entry with its proof, for [Recorder.Check]. The log asks
// for a signature: it is made by a key that nobody keeps, and says nothing about who recorded. Each call makes a new entry.
func (l Log) Record(ctx context.Context, message []byte) ([]byte, error) {
	timeout, version := l.Timeout, l.Version
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	if version == 0 {
		version = 2
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	key, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, fmt.Errorf("making an ephemeral key: %w", err)
	}
	opt := sign.BundleOptions{Context: ctx, TransparencyLogs: []sign.Transparency{
		sign.NewRekor(&sign.RekorOptions{BaseURL: l.URL, Timeout: timeout, Version: version})}}
	if l.Timestamps != "" {
		opt.TimestampAuthorities = append(opt.TimestampAuthorities, sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: l.Timestamps, Timeout: timeout}))
	}
	pb, err := sign.Bundle(&sign.PlainData{Data: message}, key, opt)
	if err != nil {
		return nil, fmt.Errorf("recording in the log at %s: %w", l.URL, err)
	}
	wire, err := protojson.Marshal(pb)
	if err != nil {
		return nil, fmt.Errorf("encoding the log's entry: %w", err)
	}
	var compact bytes.Buffer // protojson varies its white space on purpose
	if err := json.Compact(&compact, wire); err != nil {
		return nil, fmt.Errorf("encoding the log's entry: %w", err)
	}
	pub, err := key.GetPublicKeyPem()
	if err != nil {
		return nil, fmt.Errorf("encoding the log's entry: %w", err)
	}
	out, err := json.Marshal(record{compact.Bytes(), pub})
	if err != nil {
		return nil, fmt.Errorf("encoding the log's entry: %w", err)
	}
	return append(out, '\n'), nil
}

// Recorder checks entries against one trusted root, without network. It is safe for use by several goroutines.
type Recorder struct{ root *root.TrustedRoot }

// NewRecorder reads a trusted root as [New] does. One that names no log is [ErrTrustedRoot].
func NewRecorder(trustedRoot []byte) (*Recorder, error) {
	tr, err := root.NewTrustedRootFromJSON(trustedRoot)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted root: %w: %w", ErrTrustedRoot, err)
	}
	if len(tr.RekorLogs()) == 0 {
		return nil, fmt.Errorf("reading the trusted root: %w: it names no log", ErrTrustedRoot)
	}
	return &Recorder{tr}, nil
}

// Check returns nil if and only if proof holds an entry over the digest of message that a log of the trusted root included,
// and every timestamp beside it verifies.
func (r *Recorder) Check(proof, message []byte) (got Recorded, err error) {
	defer func() { // as in Verifier.Check: the bytes come from strangers
		if p := recover(); p != nil {
			err = fmt.Errorf("checking a log's entry: the library panicked: %v", p)
		}
	}()
	var rec record
	if err := json.Unmarshal(proof, &rec); err != nil {
		return got, fmt.Errorf("reading a log's entry: %w", err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(rec.Bundle); err != nil {
		return got, fmt.Errorf("reading a log's entry: %w", err)
	}
	if b.GetMessageSignature() == nil || b.GetVerificationMaterial().GetPublicKey() == nil {
		return got, errors.New("checking a log's entry: it is no signature by a key")
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(rec.PublicKey))
	if err != nil {
		return got, fmt.Errorf("reading the key of a log's entry: %w", err)
	}
	keys := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		v, err := signature.LoadVerifier(pub, crypto.SHA256)
		return root.NewExpiringKey(v, time.Time{}, time.Time{}), err
	})
	// The log says a time, a timestamp authority does, or nobody: then the entry proves that the log holds the digest, not since when.
	when := verify.WithNoObserverTimestamps()
	entry := b.GetVerificationMaterial().GetTlogEntries()
	stamped := len(b.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps())
	switch {
	case len(entry) != 1:
		return got, fmt.Errorf("checking a log's entry: there are %d", len(entry))
	case stamped > 0:
		when = verify.WithSignedTimestamps(stamped)
	case entry[0].GetIntegratedTime() != 0:
		when = verify.WithIntegratedTimestamps(1)
	}
	verifier, err := verify.NewVerifier(root.TrustedMaterialCollection{r.root, keys}, verify.WithTransparencyLog(1), when)
	if err != nil {
		return got, fmt.Errorf("checking a log's entry: %w", err)
	}
	digest := sha256.Sum256(message)
	result, err := verifier.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha256", digest[:]), verify.WithKey()))
	if err != nil {
		return got, fmt.Errorf("checking a log's entry: %w", err)
	}
	got.Index, got.Log = entry[0].GetLogIndex(), fmt.Sprintf("%x", entry[0].GetLogId().GetKeyId())
	for _, t := range result.VerifiedTimestamps {
		if got.Time.IsZero() || t.Timestamp.Before(got.Time) {
			got.Time = t.Timestamp.UTC()
		}
	}
	return got, nil
}
