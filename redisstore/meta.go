package redisstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Meta is what the hash <ns>meta says about the live set.
type Meta struct {
	Generation  uint64 // number of the accepted transition, from 1
	Epoch       uint64 // term of the lease under which it was written
	Commit      string
	Version     string // the spec's own
	Digest      string // sha256:<hex> of the spec
	Environment string
	AppliedAt   string // RFC 3339
	Reconciler  string // who wrote it
	Attestation string // the reconciler's signature; empty where it has no key

	// Pending is not empty while an apply in chunks has begun and not ended. Found by
	// a later pass, it says that the entries may be of two generations: plan from the
	// entries read back, all of them, not from a difference of specs.
	Pending string
	// Message is the ID of the last message in changes.
	Message string
}

// Fence says from which live set a plan was made. A write under it is refused
// with ErrConflict when another is live. The zero Fence stands for a namespace
// without meta.
type Fence struct {
	Generation, Epoch uint64
	// Pending must be repeated from the meta that was read: who clears the mark of an
	// unfinished apply must have seen it.
	Pending string
	// Term is the writer's own lease term, for Repair and SetOverrides: a later term
	// refuses the write. Zero leaves the lease out of it. Apply takes its Meta's Epoch.
	Term uint64
	// Owner is the writer's, as in its Lease: whoever else has a lease refuses the write,
	// whatever the terms. Empty leaves that out.
	Owner string
}

// Fence is the one for a plan made from this meta.
func (m Meta) Fence() Fence {
	return Fence{Generation: m.Generation, Epoch: m.Epoch, Pending: m.Pending}
}

// Live is one consistent view of the system keys.
type Live struct {
	Meta   Meta
	Spec   []byte // nil when the key is missing
	Bundle []byte // nil when the key is missing
	// Overrides are those of [Store.Overrides], of the same moment, where reads may go to
	// replicas; nil elsewhere, and on a Cluster whose namespace has no hash tag.
	Overrides map[string][]byte
}

// Names of meta's fields.
const (
	fieldGeneration  = "generation"
	fieldEpoch       = "epoch"
	fieldCommit      = "commit"
	fieldVersion     = "version"
	fieldDigest      = "digest"
	fieldEnvironment = "environment"
	fieldAppliedAt   = "applied_at"
	fieldReconciler  = "reconciler"
	fieldAttestation = "attestation"
	fieldPending     = "pending"
	fieldMessage     = "message"
)

// fields lists the hash's fields and values. Those that may be absent are absent
// when empty.
func (m Meta) fields() []any {
	all := []any{
		fieldGeneration, strconv.FormatUint(m.Generation, 10), fieldEpoch, strconv.FormatUint(m.Epoch, 10),
		fieldCommit, m.Commit, fieldVersion, m.Version, fieldDigest, m.Digest, fieldEnvironment, m.Environment,
		fieldAppliedAt, m.AppliedAt, fieldReconciler, m.Reconciler,
	}
	for _, f := range [][2]string{{fieldAttestation, m.Attestation}, {fieldPending, m.Pending}, {fieldMessage, m.Message}} {
		if f[1] != "" {
			all = append(all, f[0], f[1])
		}
	}
	return all
}

// MaxGeneration is beyond what any reconciler counts to, and what a JSON reader
// keeps. From there on a live generation is somebody's invention and no floor.
const MaxGeneration = 1 << 53

// parseMeta reads the hash. When it is empty, or its numbers are none, the answer
// is an ErrNoMeta beside whatever else could be read, with generation and epoch 0.
func parseMeta(h map[string]string) (Meta, error) {
	m := Meta{
		Commit: h[fieldCommit], Version: h[fieldVersion], Digest: h[fieldDigest], Environment: h[fieldEnvironment],
		AppliedAt: h[fieldAppliedAt], Reconciler: h[fieldReconciler], Attestation: h[fieldAttestation],
		Pending: h[fieldPending], Message: h[fieldMessage],
	}
	if _, ok := h[fieldGeneration]; !ok {
		return m, ErrNoMeta
	}
	generation, err1 := strconv.ParseUint(h[fieldGeneration], 10, 64)
	epoch, err2 := strconv.ParseUint(h[fieldEpoch], 10, 64)
	if err := errors.Join(err1, err2); err != nil || generation == 0 {
		return m, fmt.Errorf("%w: meta is damaged: generation %q, epoch %q", ErrNoMeta, h[fieldGeneration], h[fieldEpoch])
	}
	m.Generation, m.Epoch = generation, epoch
	return m, nil
}

// metaOf is parseMeta of a reply. A key of another type counts as damaged.
func metaOf(cmd *redis.MapStringStringCmd) (Meta, error) {
	h, err := cmd.Result()
	if isWrongType(err) {
		return Meta{}, fmt.Errorf("%w: meta is not a hash", ErrNoMeta)
	}
	if err != nil {
		return Meta{}, err
	}
	return parseMeta(h)
}

// Meta reads what is live, in one command. When nothing readable is, the error is
// ErrNoMeta, and Pending is filled in all the same when the first apply was cut
// off: the Fence of the Meta returned is right in either case.
func (s *Store) Meta(ctx context.Context) (Meta, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	m, err := metaOf(s.client.HGetAll(ctx, s.ns.system(nameMeta)))
	return m, wrap(err, "reading %s", s.ns.system(nameMeta))
}

// Live reads meta, spec, bundle and overrides as they were at one moment. The error is
// ErrNoMeta as with [Store.Meta]; what could be read is returned beside it.
func (s *Store) Live(ctx context.Context) (Live, error) {
	live, err := s.live(ctx)
	return live, wrap(err, "reading what is live in %s", s.ns)
}

func (s *Store) live(ctx context.Context) (Live, error) {
	if s.oneSlot() {
		return s.readLive(ctx, s.client.TxPipeline())
	}
	// Across slots there is no transaction. An apply marks meta before it touches the
	// others and takes the mark away with its last write: the same meta before and
	// after frames one generation, when it bears no mark or the spec is the one it names.
	for range 10 {
		before, err := s.Meta(ctx)
		if err != nil && !errors.Is(err, ErrNoMeta) {
			return Live{}, err
		}
		live, err := s.readLive(ctx, s.client.Pipeline())
		if err != nil && !errors.Is(err, ErrNoMeta) {
			return Live{}, err
		}
		settled := live.Meta.Pending == "" || digest(live.Spec) == live.Meta.Digest
		if after, err2 := s.Meta(ctx); after == before && settled && (err2 == nil || errors.Is(err2, ErrNoMeta)) {
			live.Meta = after
			return live, err2
		}
		if err := pause(ctx, applyPause); err != nil {
			return Live{}, err
		}
	}
	return Live{}, fmt.Errorf("an apply is under way: %w", ErrUnavailable)
}

// applyPause is how long a reader waits for the end of an apply across slots.
const applyPause = 10 * time.Millisecond

func (s *Store) readLive(ctx context.Context, p redis.Pipeliner) (Live, error) {
	meta := p.HGetAll(ctx, s.ns.system(nameMeta))
	spec := p.Get(ctx, s.ns.system(nameSpec))
	bundle := p.Get(ctx, s.ns.system(nameBundle))
	var overrides *redis.MapStringStringCmd
	if s.replicas && s.oneSlot() { // read apart, they could be another moment's
		overrides = p.HGetAll(ctx, s.ns.system(nameOverrides))
	}
	cmds, err := s.patiently(ctx, p)
	if err != nil && !isAnswer(err) {
		return Live{}, err
	}
	if err != nil && strings.HasPrefix(err.Error(), "EXECABORT") {
		return Live{}, cmp.Or(refusal(cmds), err)
	}
	var live Live
	if live.Spec, err = bytesOf(spec); err != nil {
		return Live{}, err
	}
	if live.Bundle, err = bytesOf(bundle); err != nil {
		return Live{}, err
	}
	if overrides != nil {
		if live.Overrides, err = overridesOf(overrides); err != nil {
			return Live{}, err
		}
	}
	live.Meta, err = metaOf(meta)
	return live, err
}

func digest(spec []byte) string {
	sum := sha256.Sum256(spec)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Spec is the part of [Store.Live] that a reader verifies: the spec's bytes as
// signed, and the bundles, which [SplitBundles] takes apart.
func (s *Store) Spec(ctx context.Context) (spec, bundle []byte, err error) {
	live, err := s.Live(ctx)
	return live.Spec, live.Bundle, err
}

// bytesOf is nil for a key that is missing or of another type, which a repair
// replaces.
func bytesOf(cmd *redis.StringCmd) ([]byte, error) {
	b, err := cmd.Bytes()
	if errors.Is(err, redis.Nil) || isWrongType(err) {
		return nil, nil
	}
	return b, err
}
