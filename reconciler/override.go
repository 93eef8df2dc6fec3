package reconciler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/wholefile"
	"github.com/rampart-flags/rampart/trust"
)

// KindOverride is the kind of events about break-glass statements.
const KindOverride Kind = "override"

// InForce is a break-glass statement that lies over what git says.
type InForce struct {
	ID      string    `json:"id"`
	Text    string    `json:"text"` // "receipts of acme off until 2026-11-22T05:00:00Z"
	Reason  string    `json:"reason"`
	Signers []string  `json:"signers"`
	Roles   []string  `json:"roles"`
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires"`
}

// forced is a statement in force, as it was signed.
type forced struct {
	InForce
	Sealed    []byte `json:"sealed"`
	statement *trust.Override
}

// overrides are the statements in force and those that ever were.
type overrides struct {
	in      []*forced            // oldest first
	used    map[string]time.Time // id -> when it ends; forgotten long after
	version int                  // counts changes of in
	unsaved bool
	adopted bool    // the store's were looked at
	told    bool    // the store has exactly these
	pending []Event // began or ended, and not written to the store yet
	policy  string  // what in was last checked against
	settled *flags.Spec
	layered // of the target, made when needed
}

// layered is a layer and what it was made from.
type layered struct {
	spec    *flags.Spec
	version int
	layer   map[flags.Key]flags.Entry
}

// overridesFile is overrides.json in the state folder.
type overridesFile struct {
	Format string               `json:"format"` // "overrides/v1"
	In     []*forced            `json:"in_force"`
	Used   map[string]time.Time `json:"used"`
}

const (
	overridesName   = "overrides.json"
	overridesFormat = "overrides/v1"
	maxInForce      = 100
	// usedFor is how long after its end an id is remembered: longer than any two clocks
	// differ. A statement past its end is refused for that.
	usedFor = 7 * 24 * time.Hour
)

// ErrOverrideRefused: a break-glass statement that is not applied.
var ErrOverrideRefused = errors.New("the override is refused")

// ErrOverridePending: a statement stands and is kept, but the store could not be
// written yet. It is, as soon as that works.
var ErrOverridePending = errors.New("the override stands, but Redis could not be written yet")

func (o *overrides) read(dir string) error {
	o.used = map[string]time.Time{}
	src, err := os.ReadFile(filepath.Join(dir, overridesName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var f overridesFile
	if err == nil {
		err = json.Unmarshal(src, &f)
	}
	if err == nil && f.Format != overridesFormat {
		err = fmt.Errorf("format %q, this version writes %q", f.Format, overridesFormat)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w: %w", overridesName, err, ErrStateDamaged)
	}
	for _, in := range f.In {
		if _, in.statement, err = parseSealed(in.Sealed); err != nil {
			return fmt.Errorf("reading %s: %w: %w", overridesName, err, ErrStateDamaged)
		}
	}
	o.in = f.In
	o.version++
	if f.Used != nil {
		o.used = f.Used
	}
	return nil
}

// save keeps them. That it could not be done is no reason to leave something on.
func (r *Reconciler) saveOverrides() {
	o := &r.over
	maps.DeleteFunc(o.used, func(_ string, end time.Time) bool { return r.now().After(end.Add(usedFor)) })
	src, err := json.Marshal(overridesFile{Format: overridesFormat, In: o.in, Used: o.used})
	if err == nil {
		err = wholefile.Write(filepath.Join(r.cfg.Dir, overridesName), append(src, '\n'), 0o600)
	}
	if o.unsaved = err != nil; o.unsaved {
		r.log.Error("keeping the overrides; trying again at the next pass", slog.Any("error", err))
	}
}

func parseSealed(src []byte) (trust.Sealed, *trust.Override, error) {
	s, err := trust.ParseSealed("override", src)
	if err != nil {
		return trust.Sealed{}, nil, err
	}
	o, err := trust.ParseOverride("statement", s.Statement)
	return s, o, err
}

// judgeOverride asks the policy about a statement over spec.
func (r *Reconciler) judgeOverride(src []byte, spec *flags.Spec, again bool) (*forced, trust.Answer, error) {
	sealed, o, err := parseSealed(src)
	if err != nil {
		return nil, trust.Answer{Reason: trust.Malformed}, err
	}
	p := r.trust.policy
	if p == nil {
		return nil, trust.Answer{Reason: trust.NotAuthorized}, errors.New("there is no trust policy, so nobody may sign one")
	}
	signers := sealed.Verify(p, r.cfg.Signing).Signers()
	used := func(id string) bool { _, ok := r.over.used[id]; return ok }
	a := p.AuthorizeOverride(trust.OverrideRequest{Override: o, Spec: spec, Signers: signers, Now: r.now(), Used: used, InForce: again})
	f := &forced{Sealed: src, statement: o, InForce: InForce{
		ID: o.ID, Text: o.String(), Reason: o.Reason, Signers: signers, Roles: a.Roles, Since: r.now().UTC(), Expires: o.Expires.UTC(),
	}}
	if a.Verdict != trust.Allowed {
		return f, a, errors.New(a.Sentence())
	}
	return f, a, nil
}

// RefusedOverride says why a statement is not applied. It is an [ErrOverrideRefused].
type RefusedOverride struct {
	Code    Code
	Message string
	Hint    string
}

// Error is the reason in a sentence.
func (e *RefusedOverride) Error() string {
	return fmt.Sprintf("%s: %s: %s", ErrOverrideRefused, e.Code, e.Message)
}

// Unwrap is [ErrOverrideRefused].
func (e *RefusedOverride) Unwrap() error { return ErrOverrideRefused }

// Override applies a sealed break-glass statement at once, without git and whether
// reconciling is suspended or not: only ever off or down, once, for its time. When it
// returns without error the store has it and readers were told. An instance that does
// not lead takes the lead for it. The error is a [RefusedOverride]; [ErrOverridePending],
// and then the statement stands; or [ErrNotLeader], where this instance cannot lead.
func (r *Reconciler) Override(ctx context.Context, src []byte) (InForce, error) {
	r.lockSoon()
	defer r.mu.Unlock()
	if r.closed {
		return InForce{}, errors.New("the reconciler is closed")
	}
	if err := r.readTrust(ctx); err != nil {
		r.log.Error("the last policy stays in force", slog.Any("error", err))
	}
	if err := r.leadForOverride(ctx, src); err != nil {
		return InForce{}, err
	}
	r.reviewOverrides(ctx)
	in, err := r.override(ctx, src)
	r.publish()
	r.saveCursor()
	r.Nudge()
	return in, err
}

func (r *Reconciler) override(ctx context.Context, src []byte) (InForce, error) {
	if r.target == nil {
		return InForce{}, &RefusedOverride{ApplyPending, "nothing is live yet", "wait for the first generation: reconcile status"}
	}
	f, a, err := r.judgeOverride(src, r.target.spec, false)
	if err == nil && len(r.over.in) >= maxInForce {
		a.Reason, err = trust.Malformed, fmt.Errorf("%d statements are in force already", maxInForce)
	}
	e := r.newEvent(KindOverride)
	if err != nil {
		e.Code, e.Message, e.Hint, e.Outcome = Code(a.Reason), err.Error(), a.Hint, OutcomeRefused
		if f != nil {
			e.Signers, e.Message = f.Signers, fmt.Sprintf("%s (%.8s): %s", f.Text, f.ID, e.Message)
		}
		r.outcome(ctx, e)
		return InForce{}, &RefusedOverride{Code(a.Reason), err.Error(), a.Hint}
	}
	e.Message, e.Signers, e.Roles = fmt.Sprintf("%s: %s", f.Text, f.Reason), f.Signers, f.Roles
	e.Generation, e.Commit, e.Version, e.Digest, e.Policy = r.target.Number, r.target.Commit, r.target.Version, r.target.Digest, r.trust.digest()
	e.Changes = lowered(f.statement, r.target.spec)
	if err := r.intent(ctx, e); err != nil {
		r.log.Error("going ahead without a record", slog.Any("error", err))
	}
	r.over.in = append(r.over.in, f)
	r.over.used[f.ID] = f.Expires
	r.over.pending = append(r.over.pending, e)
	r.overChanged()
	r.saveOverrides()
	if err := r.layOver(ctx); err != nil {
		return f.InForce, fmt.Errorf("%w: %w", ErrOverridePending, err)
	}
	return f.InForce, nil
}

// lowered are the changes that a statement makes, the first two hundred of them.
func lowered(o *trust.Override, spec *flags.Spec) []flags.Change {
	var out []flags.Change
	all := o.Entries(spec)
	keys := slices.SortedFunc(maps.Keys(all), func(a, b flags.Key) int {
		return cmp.Or(cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Tenant, b.Tenant))
	})
	for _, k := range keys[:min(len(keys), 200)] {
		was, _ := spec.Entry(k.Feature, k.Tenant)
		is := all[k]
		c := flags.Change{Kind: flags.RampDown, Feature: k.Feature, Tenant: k.Tenant, From: was.Pct.String(), To: is.Pct.String(), Before: &was, After: &is}
		if !is.Enabled {
			c.Kind, c.From, c.To = flags.Disable, "on", "off"
		}
		out = append(out, c)
	}
	return out
}

func (r *Reconciler) overChanged() {
	r.over.version++
	r.over.told = false
	r.status.Overrides = nil
	for _, f := range r.over.in {
		r.status.Overrides = append(r.status.Overrides, f.InForce)
	}
}

// reviewOverrides ends those whose time has come, that the policy in force does not
// allow any more, or that git says by now.
func (r *Reconciler) reviewOverrides(ctx context.Context) {
	o := &r.over
	policy := r.trust.digest()
	var left []*forced
	for _, f := range o.in {
		why := ""
		switch {
		case !r.now().Before(f.Expires):
			why = "its time is over"
		case o.policy != policy && r.target != nil:
			if _, a, err := r.judgeOverride(f.Sealed, r.target.spec, true); err != nil && a.Verdict != trust.Deferred {
				why = "the policy does not allow it any more: " + err.Error()
			}
		}
		if why == "" && r.target != nil && o.settled != r.target.spec && len(f.statement.Entries(r.target.spec)) == 0 {
			why = "git says the same now"
		}
		if why == "" {
			left = append(left, f)
			continue
		}
		e := r.newEvent(KindOverride)
		e.Message, e.Signers, e.Roles = "ended: "+f.Text+": "+why, f.Signers, f.Roles
		if err := r.intent(ctx, e); err != nil {
			r.log.Error("going ahead without a record", slog.Any("error", err))
		}
		o.pending = append(o.pending, e)
	}
	if r.target != nil {
		o.settled, o.policy = r.target.spec, policy
	}
	if len(left) != len(o.in) {
		o.in = left
		r.overChanged()
		o.unsaved = true
	}
	if o.unsaved {
		r.saveOverrides()
	}
}

// overrideFolder, in the state folder, takes files: sealed statements, whole when they
// appear (renamed into it), named *.json. Each is taken up at the next pass and removed.
const overrideFolder = "override"

// DropOverride leaves a statement for the reconciler that will run on a state folder.
func DropOverride(dir string, src []byte) error {
	_, o, err := parseSealed(src)
	if err != nil {
		return fmt.Errorf("reading the statement: %w", err)
	}
	folder := filepath.Join(dir, overrideFolder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("leaving the statement: %w", err)
	}
	if err := wholefile.Write(filepath.Join(folder, o.ID+".json"), src, 0o600); err != nil {
		return fmt.Errorf("leaving the statement: %w", err)
	}
	return nil
}

// takeDropped applies the statements that were left as files.
func (r *Reconciler) takeDropped(ctx context.Context) {
	if r.target == nil {
		return
	}
	names, err := filepath.Glob(filepath.Join(globQuote(r.cfg.Dir), overrideFolder, "*.json"))
	if err != nil {
		return
	}
	for _, name := range names {
		src, err := readBounded(name, maxSealed)
		if err == nil {
			_, err = r.override(ctx, src)
		}
		if err != nil {
			r.log.Error("a statement left as a file", slog.String("file", filepath.Base(name)), slog.Any("error", err))
		}
		if err := os.Remove(name); err != nil {
			r.log.Error("removing a statement that was taken up", slog.Any("error", err))
		}
	}
}

// maxSealed is how large a sealed statement may be, in bytes.
const maxSealed = 1 << 20

func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(src)) > most {
		err = fmt.Errorf("it is larger than %d bytes", most)
	}
	return src, err
}
