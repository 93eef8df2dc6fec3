package trust

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/signing"
)

// Sealed is a statement together with the bundles over it: one file, one request
// body. The statement is kept as text, byte for byte as it was signed, so that
// "jq -j .statement" and "jq '.bundles[0]'" give stock cosign what it checks.
//
//	{"format":"sealed/v1","statement":"{\"format\":\"override/v1\",…}\n","bundles":[{…}]}
type Sealed struct {
	Statement []byte
	Bundles   [][]byte
}

type sealedFile struct {
	Format    string           `json:"format"`
	Statement string           `json:"statement"`
	Bundles   []jsontext.Value `json:"bundles"`
}

// ParseSealed reads what [Sealed.Encode] writes. Nothing is verified yet. The error
// is [schema.Errors].
func ParseSealed(file string, src []byte) (Sealed, error) {
	var f sealedFile
	if err := schema.Decode("sealed", file, src, &f); err != nil {
		return Sealed{}, err
	}
	s := Sealed{Statement: []byte(f.Statement)}
	for _, b := range f.Bundles {
		s.Bundles = append(s.Bundles, bytes.Clone(b))
	}
	return s, nil
}

// Encode writes the statement and its bundles as one JSON object.
func (s Sealed) Encode() ([]byte, error) {
	f := sealedFile{Format: "sealed/v1", Statement: string(s.Statement)}
	for _, b := range s.Bundles {
		f.Bundles = append(f.Bundles, jsontext.Value(bytes.TrimSpace(b)))
	}
	out, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("sealing a statement: %w", err)
	}
	return append(out, '\n'), nil
}

// Verify says who of the policy's signers sealed the statement.
func (s Sealed) Verify(p *Policy, opt signing.Options) signing.Result {
	var named []signing.NamedBundle
	for i, b := range s.Bundles {
		named = append(named, signing.NamedBundle{Path: fmt.Sprintf("bundles/%d", i), Data: b})
	}
	return signing.Verify(signing.NewArtifact(s.Statement), named, p.Identities(), opt)
}

// NewID makes the id of a statement: 32 random hex digits.
func NewID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// checkTime refuses a statement that is not from the recent past. It returns "" when
// the time is right, else what is wrong, as part of a sentence.
func checkTime(issued, expires, now time.Time) string {
	switch {
	case issued.After(now.Add(maxSkew)):
		return fmt.Sprintf("it was issued at %s, which is still to come (is a clock wrong?)", stamp(issued))
	case !now.Before(expires):
		return fmt.Sprintf("it ended at %s", stamp(expires))
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func parseStamp(s string) (time.Time, error) { return time.Parse(time.RFC3339Nano, s) }

func formatStamp(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
