package flags

import (
	"crypto/sha256"
	"encoding/binary"
)

// Reason says which rule decided. The strings are a contract that clients in
// other languages share (docs/decision.md): none is ever renamed, and no rule
// is ever inserted between two of them.
type Reason string

const (
	ReasonNoConfig Reason = "no-config" // neither the tenant nor the feature has an entry: off
	ReasonDisabled Reason = "disabled"  // the entry is switched off: off
	ReasonCohort   Reason = "cohort"    // the key is a member: on
	ReasonFull     Reason = "pct-100"   // 100 percent: on
	ReasonHash     Reason = "pct-hash"  // the key's bucket is compared with the percentage
)

// OpenFeature is the reason in the words of OpenFeature's specification, for its
// SDKs and its remote protocol. One that it has no word for is UNKNOWN.
func (r Reason) OpenFeature() string {
	switch r {
	case ReasonCohort:
		return "TARGETING_MATCH"
	case ReasonHash:
		return "SPLIT"
	case ReasonFull:
		return "STATIC"
	case ReasonDisabled:
		return "DISABLED"
	case ReasonNoConfig:
		return "ERROR"
	}
	return "UNKNOWN"
}

// Decision is the answer to "is this feature on, for this subject?". The zero
// value is off.
type Decision struct {
	On     bool   `json:"on"`
	Reason Reason `json:"reason"`
	// Version is that of the entry that decided; empty with no-config.
	Version string `json:"version,omitempty"`
	// Tenant is the one the deciding entry belongs to: the tenant asked about, or
	// [DefaultTenant] when the feature's own entry decided. Empty with no-config,
	// and in what [Decide] returns, which is given the entry and not its key.
	Tenant string `json:"tenant,omitempty"`
	// Bucket is where the key falls, 0 to 99999, in the unit of [Pct]: with
	// pct-hash the feature is on when Bucket < Pct. Zero with other reasons.
	Bucket Pct `json:"bucket,omitempty"`
}

// Decide applies the rules to one entry, e, which the caller has chosen: the
// tenant's, else the feature's own, else nil. The key is user, or tenant where
// user is empty. It allocates nothing, keeps nothing and is safe for
// concurrent use as long as nobody writes to e.
func Decide(e *Entry, tenant, user string) Decision {
	if e == nil {
		return Decision{Reason: ReasonNoConfig}
	}
	d := Decision{Version: e.Version}
	if !e.Enabled {
		d.Reason = ReasonDisabled
		return d
	}
	key := keyOf(tenant, user)
	var sum [sha256.Size]byte
	hashed := false
	for _, m := range e.Cohorts {
		if m == key {
			d.On, d.Reason = true, ReasonCohort
			return d
		}
		if !isHashedMember(m) {
			continue
		}
		if !hashed {
			sum, hashed = sumKey(key), true
		}
		if hexEqual(m[len(hashedPrefix):], &sum) {
			d.On, d.Reason = true, ReasonCohort
			return d
		}
	}
	if e.Pct >= Full {
		d.On, d.Reason = true, ReasonFull
		return d
	}
	d.Reason = ReasonHash
	switch {
	case e.Salt != "":
		d.Bucket = saltedBucket(e.Salt, key)
	case hashed:
		d.Bucket = plainBucket(&sum)
	default:
		sum = sumKey(key)
		d.Bucket = plainBucket(&sum)
	}
	d.On = d.Bucket < e.Pct
	return d
}

// Bucket says where a subject falls under an entry's salt, 0 to 99999, in the
// unit of [Pct]: the feature is on for it as soon as the percentage is greater.
func Bucket(salt, tenant, user string) Pct {
	key := keyOf(tenant, user)
	if salt != "" {
		return saltedBucket(salt, key)
	}
	sum := sumKey(key)
	return plainBucket(&sum)
}

func keyOf(tenant, user string) string {
	if user != "" {
		return user
	}
	return tenant
}

// plainBucket is the older clients' rule, a whole percentage between 0 and 99,
// expressed in thousandths so that both rules compare in the same way:
// n < pct exactly where n*1000 < pct*1000.
func plainBucket(sum *[sha256.Size]byte) Pct {
	return Pct(binary.BigEndian.Uint32(sum[:4])%100) * 1000
}

// saltedBucket is the rule for entries with a salt. The zero byte keeps salt
// "a" with key "bc" apart from salt "ab" with key "c".
func saltedBucket(salt, key string) Pct {
	var sum [sha256.Size]byte
	var buf [128]byte
	if len(salt)+1+len(key) <= len(buf) {
		n := copy(buf[:], salt)
		buf[n] = 0
		n++
		n += copy(buf[n:], key)
		sum = sha256.Sum256(buf[:n])
	} else {
		sum = sumLong(salt, "\x00", key)
	}
	return Pct(binary.BigEndian.Uint64(sum[:8]) % 100_000)
}

// sumKey is sha256 of a string of any length without an allocation: converting
// a long string to []byte would copy it to the heap.
func sumKey(key string) (sum [sha256.Size]byte) {
	var buf [128]byte
	if len(key) <= len(buf) {
		return sha256.Sum256(buf[:copy(buf[:], key)])
	}
	return sumLong(key, "", "")
}

func sumLong(a, b, c string) (sum [sha256.Size]byte) {
	h := sha256.New()
	var buf [128]byte
	for _, part := range [...]string{a, b, c} {
		for len(part) > 0 {
			n := copy(buf[:], part)
			h.Write(buf[:n])
			part = part[n:]
		}
	}
	h.Sum(sum[:0])
	return sum
}

const hashedPrefix = "sha256:"

// isHashedMember reports whether a cohort member stands for the sha256 of a
// key. The digest is written in lower case; any other spelling is a plain
// member, which matches itself only.
func isHashedMember(m string) bool {
	if len(m) != len(hashedPrefix)+2*sha256.Size || m[:len(hashedPrefix)] != hashedPrefix {
		return false
	}
	for i := len(hashedPrefix); i < len(m); i++ {
		if c := m[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

const hexDigits = "0123456789abcdef"

func hexEqual(hex string, sum *[sha256.Size]byte) bool {
	for i, b := range sum {
		if hex[2*i] != hexDigits[b>>4] || hex[2*i+1] != hexDigits[b&15] {
			return false
		}
	}
	return true
}

// unhex decodes the digest of a hashed member.
func unhex(hex string) (sum [sha256.Size]byte) {
	for i := range sum {
		sum[i] = unhexDigit(hex[2*i])<<4 | unhexDigit(hex[2*i+1])
	}
	return sum
}

func unhexDigit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}
