package redisstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
)

// MessageKind says why a message was sent.
type MessageKind string

const (
	// KindApply: a generation became live.
	KindApply MessageKind = "apply"
	// KindRepair: keys were put right again under the same generation.
	KindRepair MessageKind = "repair"
	// KindOverrides: the overrides in force changed.
	KindOverrides MessageKind = "overrides"
	// KindResync is made by Subscribe and never sent: messages may have been missed,
	// so everything is to be read anew.
	KindResync MessageKind = "resync"
)

// MessageFormat is the format of the messages that this version sends. While it
// stays, fields may be added but are never renamed, removed or given a new meaning.
const MessageFormat = "changes/v1"

// Message is what readers hear, in the stream and on the channel <ns>changes: one
// a generation, and one for each repair.
type Message struct {
	Format string `json:"format"`
	// ID names the message; Prev is the ID of the one before it. Who has not seen Prev
	// has missed something.
	ID   string      `json:"id"`
	Prev string      `json:"prev"`
	Kind MessageKind `json:"kind"`

	Generation  uint64 `json:"generation"`
	Epoch       uint64 `json:"epoch"`
	Version     string `json:"version"`
	Digest      string `json:"digest"`
	Commit      string `json:"commit"`
	Environment string `json:"environment"`
	AppliedAt   string `json:"applied_at"`

	// Set and Deleted name the entries touched, as feature:tenant. When there are more
	// than 500, All is true instead and both are empty: read everything.
	Set     []string `json:"set,omitzero"`
	Deleted []string `json:"deleted,omitzero"`
	All     bool     `json:"all,omitzero"`
}

const (
	// messageEntries is how many entries a message names.
	messageEntries = 500
	// streamLength is about how many messages the stream keeps, for readers that were
	// away for a while.
	streamLength = 256
	// streamField is the one field of a stream entry.
	streamField = "message"
)

// newID is a name that is never used twice.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// messageOf describes the writer's change after a live meta.
func (w *writer) messageOf(live Meta) Message {
	m := w.c.Meta
	if w.keepMeta {
		m = live
	}
	msg := Message{
		Format: MessageFormat, ID: w.message, Prev: live.Message, Kind: w.kind,
		Generation: m.Generation, Epoch: m.Epoch, Version: m.Version, Digest: m.Digest, Commit: m.Commit,
		Environment: m.Environment, AppliedAt: m.AppliedAt,
	}
	if len(w.c.Set)+len(w.c.Delete) > messageEntries {
		msg.All = true
		return msg
	}
	for _, kv := range w.c.Set {
		msg.Set = append(msg.Set, kv.Key.String())
	}
	for _, k := range w.c.Delete {
		msg.Deleted = append(msg.Deleted, k.String())
	}
	return msg
}

// announce queues the message for the stream and the channel. A key of another type
// in the stream's place is dropped first: the XADD would fail after all else was done.
func (s *Store) announce(ctx context.Context, p redis.Pipeliner, n *Counts, msg Message, mistyped bool) {
	// A key that drifted in may have any bytes for a name; nothing else here can fail.
	body, _ := json.Marshal(msg, jsontext.AllowInvalidUTF8(true))
	key := s.ns.system(nameChanges)
	if mistyped {
		p.Unlink(ctx, key)
		n.wrote(1, 0, 0)
	}
	p.XAdd(ctx, &redis.XAddArgs{Stream: key, MaxLen: streamLength, Approx: true, Values: []any{streamField, body}})
	p.Publish(ctx, key, body)
	n.wrote(2, 1, len(key)+2*len(body))
}

// parseMessage reads a message. A format of a later time is an error, which a
// reader answers by reading everything anew.
func parseMessage(body string) (Message, error) {
	var m Message
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return m, fmt.Errorf("reading a message of changes: %w", err)
	}
	if m.Format != MessageFormat || m.ID == "" {
		return m, fmt.Errorf("reading a message of changes: format %q is unknown", m.Format)
	}
	return m, nil
}

// JoinBundles makes one value of several sigstore bundles: one after the other,
// each with a line end. The value of a single bundle is a file that cosign reads.
func JoinBundles(bundles ...[]byte) []byte {
	var all []byte
	for _, b := range bundles {
		all = append(append(all, bytes.TrimSpace(b)...), '\n')
	}
	return all
}

// SplitBundles takes a value apart into its bundles.
func SplitBundles(value []byte) ([][]byte, error) {
	var bundles [][]byte
	d := jsontext.NewDecoder(bytes.NewReader(value))
	for {
		b, err := d.ReadValue()
		if errors.Is(err, io.EOF) {
			return bundles, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading bundle %d: %w", len(bundles)+1, err)
		}
		bundles = append(bundles, bytes.Clone(b))
	}
}

// parseNames turns feature:tenant back into keys; what is none is left out.
func parseNames(names []string) []flags.Key {
	keys := make([]flags.Key, 0, len(names))
	for _, name := range names {
		if k, ok := namespace("").parse(name); ok {
			keys = append(keys, k)
		}
	}
	return keys
}

// SetKeys are the entries that were written.
func (m Message) SetKeys() []flags.Key { return parseNames(m.Set) }

// DeletedKeys are the entries that were deleted.
func (m Message) DeletedKeys() []flags.Key { return parseNames(m.Deleted) }
