package receipt

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

// ErrAhead says that a witness has cosigned more receipts of this log than there are here: receipts were removed, or this
// folder is an older copy. A person must look.
var ErrAhead = errors.New("the witness has seen more receipts of this log than there are here")

// ErrOtherHistory says that a witness has cosigned receipts of this log that are not the ones here: the log was forked.
var ErrOtherHistory = errors.New("the witness holds another history of this log")

// C2SPWitness is a witness after C2SP tlog-witness: it cosigns a checkpoint when a proof shows that the log only grew since
// the one that it cosigned last. Unlike a notary it needs no trust beyond its key: two histories never both get its signature.
type C2SPWitness struct {
	// HTTPSNotary says where it is and how it is reached; URL is the submission prefix, before /add-checkpoint.
	HTTPSNotary
	// Key is the witness's public key in the form of C2SP signed-note: name+hash+base64.
	Key string
	// Dir is the ledger's folder, whose tiles give the proofs.
	Dir string

	verifier note.Verifier
	seen     uint64 // the size that the witness cosigned last, as far as we know
}

// NewC2SPWitness checks the settings.
func NewC2SPWitness(w C2SPWitness) (*C2SPWitness, error) {
	base, err := NewHTTPSNotary(w.HTTPSNotary)
	if err != nil {
		return nil, err
	}
	verifier, err := witnessKey(w.Key)
	if err != nil {
		return nil, fmt.Errorf("witness %s: %w", w.ID, err)
	}
	return &C2SPWitness{HTTPSNotary: *base, Key: w.Key, Dir: w.Dir, verifier: verifier}, nil
}

func witnessKey(key string) (note.Verifier, error) {
	key = strings.TrimSpace(key)
	verifier, err := fnote.NewVerifierForCosignatureV1(key)
	if err != nil {
		return nil, fmt.Errorf("reading the witness's key %.80q: %w", key, err)
	}
	return verifier, nil
}

// Kind is [AnchorWitness].
func (w *C2SPWitness) Kind() string { return AnchorWitness }

// Confirm has a checkpoint cosigned; one at a time. The answer is the witness's signature lines; the id names the witness and its time.
func (w *C2SPWitness) Confirm(ctx context.Context, _ string, cp Checkpoint) (string, []byte, error) {
	got, err := w.add(ctx, cp)
	if err == nil && got.code == http.StatusConflict {
		// It says how far it is: we were started anew, or somebody else submitted for us.
		if got, err = w.again(ctx, cp, got); err == nil && got.code == http.StatusConflict {
			err = fmt.Errorf("%w: it cosigned %d receipts, and not these", ErrOtherHistory, w.seen)
		}
	}
	if err != nil {
		return "", nil, err
	}
	if got.code == http.StatusUnprocessableEntity {
		return "", nil, fmt.Errorf("%w: what it cosigned at %d receipts is no beginning of this log", ErrOtherHistory, w.seen)
	}
	if got.code != http.StatusOK {
		return "", nil, fmt.Errorf("the witness answered %s: %.200q", got.status, got.body)
	}
	at, mine, err := cosigned(cp.Note, got.body, w.verifier)
	if err == nil && !mine {
		err = fmt.Errorf("the witness's answer holds no signature of %s", w.verifier.Name())
	}
	if err != nil {
		return "", nil, err
	}
	w.seen = cp.Size
	return fmt.Sprintf("%s at %s", w.verifier.Name(), at.UTC().Format(time.RFC3339)), got.body, nil
}

// again sends the checkpoint from where the witness says it is.
func (w *C2SPWitness) again(ctx context.Context, cp Checkpoint, conflict reply) (reply, error) {
	size, err := conflictSize(conflict)
	switch {
	case err != nil:
		return reply{}, err
	case size > cp.Size:
		return reply{}, fmt.Errorf("%w: %d, here are %d", ErrAhead, size, cp.Size)
	}
	w.seen = size
	return w.add(ctx, cp)
}

// add sends one add-checkpoint request: the size that the witness knows, the proof from there, and the checkpoint.
func (w *C2SPWitness) add(ctx context.Context, cp Checkpoint) (reply, error) {
	var body bytes.Buffer
	fmt.Fprintf(&body, "old %d\n", w.seen)
	if w.seen > 0 && w.seen < cp.Size {
		builder, err := client.NewProofBuilder(ctx, cp.Size, client.FileFetcher{Root: filepath.Join(w.Dir, "log")}.ReadTile)
		if err != nil {
			return reply{}, fmt.Errorf("proving that the log only grew: %w", err)
		}
		path, err := builder.ConsistencyProof(ctx, w.seen, cp.Size)
		if err != nil {
			return reply{}, fmt.Errorf("proving that the log only grew: %w", err)
		}
		for _, hash := range path {
			body.WriteString(base64.StdEncoding.EncodeToString(hash) + "\n")
		}
	}
	body.WriteByte('\n')
	body.Write(cp.Note)
	return w.post(ctx, "/add-checkpoint", "text/plain; charset=utf-8", "", body.Bytes())
}

// conflictSize is the size in a witness's 409: "<size>\n" of type text/x.tlog.size.
func conflictSize(got reply) (uint64, error) {
	text, ok := strings.CutSuffix(string(got.body), "\n")
	size, err := strconv.ParseUint(text, 10, 63)
	if !ok || err != nil || !strings.HasPrefix(got.contentType, "text/x.tlog.size") {
		return 0, fmt.Errorf("the witness answered %s: %.200q", got.status, got.body)
	}
	return size, nil
}

// cosigned looks for the witness's signature in lines that belong to a checkpoint. mine is false where none bears its name
// and key; the error is about one that does and does not verify.
func cosigned(checkpoint, lines []byte, verifier note.Verifier) (at time.Time, mine bool, err error) {
	text, _, ok := bytes.Cut(checkpoint, []byte("\n\n"))
	if !ok || len(lines) == 0 {
		return at, false, nil
	}
	var signed bytes.Buffer
	signed.Write(text)
	signed.WriteString("\n\n")
	signed.Write(lines)
	n, err := note.Open(signed.Bytes(), note.VerifierList(verifier))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return at, false, nil
	case errors.As(err, &invalid):
		return at, true, fmt.Errorf("the cosignature of %s does not verify", verifier.Name())
	case err != nil:
		return at, false, fmt.Errorf("reading the witness's signatures: %w", err)
	}
	at, err = fnote.CoSigV1Timestamp(n.Sigs[0])
	if err != nil {
		return at, true, fmt.Errorf("reading the time of a cosignature: %w", err)
	}
	return at, true, nil
}
