package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
)

// Config says what a reconciler watches and what it keeps.
type Config struct {
	// Repo is the branch to follow, Store the namespace to keep. Neither needs to be
	// reachable yet. The caller closes both after the reconciler.
	Repo  *gitrepo.Repo
	Store *redisstore.Store
	// Dir is the state folder, for one process at a time. See [Open].
	Dir string
	// Branch is shown in status; the Repo knows which one it follows.
	Branch string
	// Path is the spec's path in the repository. Empty means specs/flags.json.
	Path string
	// Trust is the policy's file, outside the watched repository. It is read again
	// when it changes; one that cannot be read leaves the last in force.
	Trust string
	// TrustPath is where the policy's successors stand in the repository. Empty means
	// trust.json beside the spec; "none" means that only Trust counts.
	TrustPath string
	// AcceptUnsignedUnsafe stands in for a missing Trust, for local trials only:
	// whatever is well formed is accepted.
	AcceptUnsignedUnsafe bool
	// AcceptColdStart is a commit (seven hex digits or more) from which a cold start
	// may go on although that changes entries that are live.
	AcceptColdStart string
	// Signing says how bundles are verified beside keys.
	Signing signing.Options
	// TrustedRoot names what Signing checks keyless bundles against (a digest, say). Commits that
	// were refused under another one are judged anew. Empty means that nothing does.
	TrustedRoot string
	// Key vouches for what is live, in meta. Nil means that nothing does.
	Key *signing.Signer
	// Interval is the time between two looks. Zero means 10 seconds.
	Interval time.Duration
	// Lease is how long this instance leads without renewing its lease, where several
	// share an environment. Zero means that none is taken: the fence alone keeps two
	// of them apart.
	Lease time.Duration
	// Name is this instance's name in meta and status. Empty means the host's name.
	Name string
	// Software is the version shown in status.
	Software string
	// Recorder keeps events. Nil means Log.
	Recorder Recorder
	// Log gets what a person may want to know. Nil means silence.
	Log *slog.Logger
	// Metrics takes the collectors. Nil means none are shown.
	Metrics prometheus.Registerer
	// Trace is handed what each pass did with each change, when the pass ends. It is called during the pass and must not
	// block. Nil means that nothing is traced.
	Trace func(Trace)
}

func (c Config) path() string { return cmp.Or(c.Path, "specs/flags.json") }
func (c Config) trustPath() string {
	switch c.TrustPath {
	case "":
		return path.Join(path.Dir(c.path()), "trust.json")
	case "none":
		return ""
	}
	return c.TrustPath
}

// defaultInterval is the time between two looks, and how long one pass judges new commits.
const defaultInterval = 10 * time.Second

func (c Config) interval() time.Duration { return cmp.Or(c.Interval, defaultInterval) }

func (c Config) name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "reconciler"
	}
	return cmp.Or(c.Name, host)
}

// ErrNoTrust: neither a trust policy nor the way around it was given.
var ErrNoTrust = errors.New("no trust policy")

// Reconciler keeps one environment's store equal to its branch. Its methods may be
// called from several goroutines; passes wait for each other.
type Reconciler struct {
	cfg     Config
	log     *slog.Logger
	record  Recorder
	metrics *metrics
	trace   *tracing
	trust   *trustFile
	folder  *folder
	now     func() time.Time

	// beforeApply, in tests, runs between plan and write; afterApply once it is live.
	beforeApply, afterApply func()

	wake    chan struct{}
	beside  sync.WaitGroup // what Run does beside its passes
	hints   hints
	hurried atomic.Bool
	looping atomic.Bool  // Run is at it
	urgent  atomic.Int32 // commands of a person that wait for mu
	// requests of a person to look at git that no pass has seen yet.
	requests atomic.Int32
	lead     leadership
	shown    atomic.Pointer[Status]
	live     atomic.Pointer[Live]

	mu      sync.Mutex // held during a pass; guards everything below
	history *history
	decoder flags.Decoder
	cursor  cursor
	target  *target // nil before the first accepted generation
	status  Status
	store   storeState
	source  sourceState
	over    overrides
	pending []Event // generations accepted and not yet live, oldest first
	events  []Event // outcomes of the pass under way
	tidying bool
	closed  bool
}

// target is what should be live.
type target struct {
	Generation
	spec    *flags.Spec
	bundles []signing.NamedBundle
	subject string
	author  string
}

// Live is a generation that is live, as a reader wants it.
type Live struct {
	Generation
	Spec *flags.Spec
	// Layer is what the statements in force, Overrides, have lowered. Entry and Entries
	// take it in.
	Layer     map[flags.Key]flags.Entry
	Overrides []InForce
	// AppliedAt is when the store took it.
	AppliedAt time.Time
}

// Open takes the state folder and remembers where the last process stopped. It asks
// neither git nor the store.
//
// The error is [ErrStateInUse], [ErrStateElsewhere] or [ErrStateDamaged] where it is about the folder, and
// ErrNoTrust where nothing says whom to trust.
func Open(cfg Config) (*Reconciler, error) {
	if (cfg.Trust == "") != cfg.AcceptUnsignedUnsafe {
		return nil, fmt.Errorf("%w: set either Trust or AcceptUnsignedUnsafe", ErrNoTrust)
	}
	r := &Reconciler{cfg: cfg, log: cfg.Log, record: cfg.Recorder, now: time.Now, wake: make(chan struct{}, 1)}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.record == nil {
		r.record = LogRecorder{r.log}
	}
	r.trust = &trustFile{path: cfg.Trust, root: cfg.TrustedRoot}
	if err := r.trust.read(); err != nil {
		return nil, err
	}
	var err error
	var all []Generation
	if r.folder, all, r.cursor, err = openFolder(cfg.Dir); err != nil {
		return nil, err
	}
	if err := r.bind(len(all) > 0); err != nil {
		r.folder.close()
		return nil, err
	}
	if err := errors.Join(r.over.read(cfg.Dir), r.trust.load(cfg.Dir)); err != nil {
		r.folder.close()
		return nil, err
	}
	if r.lead.owner, err = openOwner(cfg.Dir); err != nil {
		r.folder.close()
		return nil, fmt.Errorf("opening the state folder %s: %w", cfg.Dir, err)
	}
	r.metrics = newMetrics(cfg.Metrics)
	r.trace = newTracing(cfg.Trace, func() time.Time { return r.now() })
	r.history = newHistory(all)
	r.readUsed()
	r.begin()
	return r, nil
}

// bind holds that a folder is used for one path and one namespace only, once anything was accepted in it. Before that a mistyped
// setting leaves no trace.
func (r *Reconciler) bind(used bool) error {
	had, ns := r.cursor.Path, r.cursor.Namespace
	if old := r.cursor.Status; ns == "" && old != nil { // written before the cursor named it
		ns = old.Namespace
	}
	path, own := r.cfg.path(), r.cfg.Store.Namespace()
	switch {
	case (had == "" || had == path) && (ns == "" || ns == own):
		return nil
	case !used:
		r.cursor = cursor{}
		return nil
	case had != "" && had != path:
		return fmt.Errorf("%w: %s keeps what was accepted of %s, not of %s", ErrStateElsewhere, r.cfg.Dir, had, path)
	}
	return fmt.Errorf("%w: %s keeps what was accepted for namespace %s, not for %s", ErrStateElsewhere, r.cfg.Dir, ns, own)
}

// begin fills status and target from the state folder.
func (r *Reconciler) begin() {
	now := r.now().UTC()
	r.status = newStatus(now)
	s := &r.status
	s.Namespace, s.Repo, s.Branch = r.cfg.Store.Namespace(), r.cfg.Repo.Address(), r.cfg.Branch
	s.Path, s.Reconciler, s.Software = r.cfg.path(), r.cfg.name(), r.cfg.Software
	if old := r.cursor.Status; old != nil {
		s.LastSuccess, s.Drift, s.Suspended = old.LastSuccess, old.Drift, old.Suspended
	}
	r.overChanged()
	r.showPolicy()
	r.source.refused = map[string]quarantined{}
	for _, q := range r.cursor.Refused {
		r.source.refused[q.Commit] = q
	}
	if g, ok := r.history.last(); ok {
		r.restore(g)
	}
	r.publish()
}

// restore finds the bytes of the last accepted spec in the state folder; where they
// are lost, the first pass finds them in git or in the store.
func (r *Reconciler) restore(g Generation) {
	r.status.Environment = g.Environment
	src, bundles, err := r.folder.readSpec(g.Digest)
	if err != nil {
		r.log.Warn("the accepted spec is not in the state folder; looking for it in git", slog.Any("error", err))
		return
	}
	if r.adopt(g, src, bundles) {
		r.store.kept = g.Digest
	}
}

// adopt makes accepted bytes the target. It says whether they are what g names.
func (r *Reconciler) adopt(g Generation, src []byte, bundles []signing.NamedBundle) bool {
	artifact := signing.NewArtifact(src)
	if artifact.Digest() != g.Digest {
		return false
	}
	spec, err := r.decoder.DecodeHashed(r.cfg.path(), src, artifact.SHA256())
	if err != nil {
		r.log.Error("the accepted spec does not read back", slog.Any("error", err))
		return false
	}
	r.target = &target{Generation: g, spec: spec, bundles: bundles}
	r.status.Verified = r.mark(r.target)
	return true
}

func (r *Reconciler) mark(t *target) *Mark {
	return &Mark{
		Commit: t.Commit, Generation: t.Number, Version: t.Version, Digest: t.Digest, Kind: t.Kind,
		Signers: t.Signers, Roles: t.Roles, Subject: t.subject, Author: t.author,
		Committed: t.Committed, At: t.At, Entries: t.spec.Len(),
	}
}

// Close lets the state folder go. A pass under way ends first.
func (r *Reconciler) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.giveBack()
	r.stopFetch()
	r.saveCursor()
	r.folder.close()
	return nil
}

// Status is what the last pass found, with the age of the last success as of now.
func (r *Reconciler) Status() *Status {
	s := r.shown.Load().clone()
	s.age(r.now())
	return s
}

// Live is the generation that the last pass saw in the store, nil before the first.
func (r *Reconciler) Live() *Live { return r.live.Load() }

// Nudge makes the next pass come at once, also when trouble had put it off. Many
// nudges make one pass.
func (r *Reconciler) Nudge() {
	r.hurried.Store(true)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Reconciler) publish() {
	r.shown.Store(r.status.clone())
	r.metrics.show(&r.status)
}

// newEvent begins an event about a generation.
func (r *Reconciler) newEvent(kind Kind) Event {
	id, err := uuid.NewV7()
	if err != nil {
		id = uuid.New()
	}
	return Event{
		ID: id.String(), Kind: kind, At: r.now().UTC(),
		Environment: r.status.Environment, Namespace: r.status.Namespace, Instance: r.cfg.name(),
	}
}

// intent records what is about to be written. What lowers exposure or repairs goes
// ahead without a record.
func (r *Reconciler) intent(ctx context.Context, e Event) error {
	if r.lead.passes.following {
		return nil // the leader's to record
	}
	traced := r.trace.time("receipt")
	err := r.record.Intent(ctx, e)
	r.trace.receipt(e, traced(map[string]any{"phase": "intent", "id": e.ID}, err))
	if err == nil {
		return nil
	}
	r.metrics.recordFailures.Inc()
	if e.Rises() {
		return fmt.Errorf("recording the intent of generation %d: %w", e.Generation, err)
	}
	r.log.Error("the intent could not be recorded; going ahead, for nothing is turned on", slog.String("id", e.ID), slog.Any("error", err))
	return nil
}

// outcome records what became of an event, also when the pass was told to end.
func (r *Reconciler) outcome(ctx context.Context, e Event) {
	if r.lead.passes.following {
		return
	}
	r.events = append(r.events, e)
	traced := r.trace.time("receipt")
	err := r.record.Outcome(context.WithoutCancel(ctx), e)
	r.trace.receipt(e, traced(map[string]any{"phase": "outcome", "id": e.ID}, err))
	if err != nil {
		r.metrics.recordFailures.Inc()
		r.log.Error("the outcome could not be recorded", slog.String("id", e.ID), slog.Any("error", err))
	}
}
