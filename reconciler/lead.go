package reconciler

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rampart-flags/rampart/internal/wholefile"
	"github.com/rampart-flags/rampart/redisstore"
)

// Of any number of reconcilers on one environment, each with a state folder of its own,
// the one that has the lease leads: it alone numbers generations and writes the store.
// The others follow (lead_follow.go). The fence in each write makes two leaders
// harmless; the lease makes them rare.

// ErrNotLeader: another instance leads, and this one cannot take its place now.
var ErrNotLeader = errors.New("another instance leads")

// errBehind: an instance cannot lead, for it does not know what is live.
var errBehind = errors.New("this one does not know what is live yet")

// Leader says who leads, and since when.
type Leader struct {
	Name    string    `json:"name"`
	Address string    `json:"address,omitempty"` // where it serves, if it said so
	Term    uint64    `json:"term"`
	Since   time.Time `json:"since"`
	// Until is when its lease runs out unless renewed, as far as this instance knows.
	Until time.Time `json:"until"`
}

// The roles of an instance, in [Status].
const (
	RoleLeader   = "leader"
	RoleFollower = "follower"
)

// leadership is what an instance knows of the lease. Passes and the keeper of the
// lease, which runs beside them, share it.
type leadership struct {
	owner   string // this state folder's; see redisstore.Lease
	address string
	ending  bool // no lease is taken any more

	mu      sync.Mutex
	leading bool
	began   bool               // a lease of before was looked for
	lease   redisstore.Lease   // the own one while leading, else as last seen
	failing bool               // the last renewal
	looked  bool               // lease was read from the store
	asked   time.Time          // to look at git, by another instance; the keeper's alone
	stop    context.CancelFunc // ends the write under way; nil while there is none
	passes  passesOfLeadership // what passes alone use, under Reconciler.mu
}

// passesOfLeadership is guarded by Reconciler.mu.
type passesOfLeadership struct {
	led       bool               // the last pass was a leader's
	assuming  bool               // what the leader before made live is not caught up with yet
	following bool               // what is found is another's to report
	followed  *redisstore.Meta   // what is being caught up with
	suspend   bool               // a suspension in the state folder is newer than the lease's
	seen      map[string]Refusal // refused beyond what is live, and since when that is known
	looked    walkedFor          // what seen was found for
	policy    *Refusal           // why the newest policy in the branch is refused, as one that follows found
	vacant    time.Time          // since when Redis has no lease on record, for one that did not lead
	ahead     time.Time          // since when less is live than is known here, for one that follows
	aheadOf   uint64             // the term that this was seen in
	used      []byte             // the statement about history that was used last
	due       time.Time
}

const ownerName = "instance"

// openOwner reads which instance a state folder is, or makes it.
func openOwner(dir string) (string, error) {
	path := filepath.Join(dir, ownerName)
	src, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(src)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading %s: %w", ownerName, err)
	}
	id := strings.ToLower(rand.Text())
	if err := wholefile.Write(path, []byte(id+"\n"), 0o600); err != nil {
		return "", err
	}
	return id, nil
}

// leased says whether leading needs a lease at all.
func (r *Reconciler) leased() bool { return r.cfg.Lease > 0 }

// margin is how long before its end a lease counts as over: nothing is begun any more
// that could end after it.
func (r *Reconciler) margin() time.Duration { return r.cfg.Lease / 10 }

// Serves says where this instance answers, for the lease.
func (r *Reconciler) Serves(address string) {
	r.lead.mu.Lock()
	r.lead.address = address
	r.lead.mu.Unlock()
}

// leads says whether this instance may write: it has the lease, and for long enough.
func (r *Reconciler) leads() bool {
	if !r.leased() {
		return true
	}
	r.lead.mu.Lock()
	defer r.lead.mu.Unlock()
	return r.lead.leading && time.Now().Before(r.lead.lease.Expires.Add(-r.margin()))
}

// lastLease is the lease as it was last seen; false before the first look.
func (r *Reconciler) lastLease() (redisstore.Lease, bool) {
	r.lead.mu.Lock()
	defer r.lead.mu.Unlock()
	return r.lead.lease, r.lead.looked
}

// term is the epoch to write under, 0 without a lease.
func (r *Reconciler) term() uint64 {
	if l, ok := r.lastLease(); ok && r.leased() {
		return l.Term
	}
	return 0
}

// fence is the one for a plan made from meta, under the own term.
func (r *Reconciler) fence(m redisstore.Meta) redisstore.Fence {
	f := m.Fence()
	if f.Term = r.term(); r.leased() {
		f.Owner = r.lead.owner
	}
	return f
}

// takeLead makes this instance the leader where it may be, by force where asked. It
// says whether it leads. The caller holds r.mu.
func (r *Reconciler) takeLead(ctx context.Context, force bool) bool {
	if !r.leased() {
		return true
	}
	if r.leads() {
		return r.nowLeads()
	}
	l := &r.lead
	l.mu.Lock()
	leading, lease, looked, again, ending := l.leading, l.lease, l.looked, !l.began, l.ending
	l.mu.Unlock()
	if ending {
		return r.nowLeads()
	}
	if leading { // it ran out here; unless another has it, it goes on
		r.renew(ctx)
		return r.nowLeads()
	}
	if !force && looked && !again {
		if lease = r.seeLease(ctx); lease.Held(time.Now()) || lease.Term == 0 && ctx.Err() != nil || r.yields(ctx, lease) {
			return r.nowLeads()
		}
	}
	r.claim(ctx, force, again)
	return r.nowLeads()
}

// yields says whether a Redis that was flushed is left to another for one lease time: to
// whoever led, who takes the lease again at once and knows what was live last. This
// instance may have been cut off and know less.
func (r *Reconciler) yields(ctx context.Context, lease redisstore.Lease) bool {
	p := &r.lead.passes
	if _, ok := r.history.last(); lease.Term > 0 || !ok {
		p.vacant = time.Time{}
		return false
	}
	if _, err := r.cfg.Store.Meta(ctx); !errors.Is(err, redisstore.ErrNoMeta) {
		return false // the lease alone was taken away, and meta tells what is live
	}
	if p.vacant.IsZero() {
		p.vacant = time.Now()
	}
	return time.Since(p.vacant) < r.cfg.Lease
}

// seeLease reads who leads; where that cannot be read, what was seen last stands.
func (r *Reconciler) seeLease(ctx context.Context) redisstore.Lease {
	got, err := r.cfg.Store.Lease(ctx)
	l := &r.lead
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && !l.leading {
		l.lease, l.looked = got, true
	}
	return l.lease
}

// claim asks for the lease. The caller holds r.mu.
func (r *Reconciler) claim(ctx context.Context, force, again bool) {
	r.ask(ctx, redisstore.Claim{Floor: r.floor(), Again: again, Force: force})
}

// deposed takes note that Redis has another lease than this instance's, now. Where a flush
// forgot it while it ran, it is taken again at once, and deposed says so: what was live
// under it is to be looked at anew, as in any new term.
func (r *Reconciler) deposed(ctx context.Context, now redisstore.Lease) (forgotten bool) {
	mine, _ := r.lastLease()
	forgotten = now.Term == 0 && r.leads()
	r.lead.lost(now, true)
	if forgotten {
		r.ask(ctx, redisstore.Claim{Floor: mine.Term})
	}
	return forgotten
}

// ask asks for the lease.
func (r *Reconciler) ask(ctx context.Context, c redisstore.Claim) {
	l := &r.lead
	l.mu.Lock()
	c.Address = l.address
	l.mu.Unlock()
	c.Holder, c.Owner, c.TTL = r.cfg.name(), l.owner, r.cfg.Lease
	got, err := r.cfg.Store.AcquireLease(ctx, c)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.leading, l.lease, l.looked, l.began = true, got, true, true
	case errors.Is(err, redisstore.ErrHeld):
		l.lease, l.looked, l.began = got, true, true
	default:
		r.log.Warn("the lease could not be asked for", slog.Any("error", err))
	}
}

// floor is the highest epoch that this instance has ever seen.
func (r *Reconciler) floor() uint64 {
	floor := max(r.store.epoch, r.term())
	if a := r.status.Applied; a != nil {
		floor = max(floor, a.Epoch)
	}
	if floor >= redisstore.MaxGeneration {
		return 0
	}
	return floor
}

// nowLeads settles what comes with a change of roles. The caller holds r.mu.
func (r *Reconciler) nowLeads() bool {
	is, p := r.leads(), &r.lead.passes
	lease, _ := r.lastLease()
	defer r.showRole()
	switch {
	case is && (!p.led || r.store.epoch != lease.Term):
		r.promote(lease)
	case !is && p.led:
		r.stepDown(lease)
	}
	p.led = is
	return is
}

// promote begins a term: what is live is read anew, and nothing of it is taken for
// granted.
func (r *Reconciler) promote(lease redisstore.Lease) {
	p := &r.lead.passes
	p.assuming, p.ahead, r.store.epoch = true, time.Time{}, lease.Term
	r.store.spec, r.store.meta, r.store.watch = nil, redisstore.Meta{}, watch{}
	r.over.adopted, r.over.told = false, false
	r.source.walked, r.source.rewrite, r.source.diverged = walkedFor{}, nil, nil
	r.source.newest, r.source.started = nil, nil
	r.hurried.Store(true)
	reported := r.now().Add(-2 * (r.cfg.Lease + r.cfg.interval())) // what is older, the leader before has reported
	for commit, ref := range p.seen {
		if _, ok := r.source.refused[commit]; !ok && ref.Since.Before(reported) && r.target != nil {
			r.source.refused[commit] = quarantined{Refusal: ref, Last: r.target.Digest, Policy: r.trust.digest()}
		}
	}
	if p.policy != nil && p.policy.Since.Before(reported) {
		r.cursor.PolicyRefused = p.policy
	}
	p.seen, p.looked = nil, walkedFor{}
	r.metrics.takeovers.Inc()
	r.log.Info("this instance leads", slog.Uint64("term", lease.Term))
}

// stepDown ends a term. What was accepted and is not live yet is the next leader's.
func (r *Reconciler) stepDown(lease redisstore.Lease) {
	for _, e := range r.pending {
		e.Outcome, e.Code, e.Error = OutcomePending, NotLeader, "another instance leads: it judges the commit as well"
		r.outcome(context.Background(), e)
	}
	r.pending, r.over.pending = nil, nil
	r.store.spec = nil
	r.source.walked = walkedFor{}
	r.abandon(context.Background())
	if lease.Owner != r.lead.owner {
		r.log.Warn("this instance leads no more", slog.String("leader", lease.Holder), slog.Uint64("term", lease.Term))
	} else {
		r.log.Warn("this instance leads no more: it could not renew its lease", slog.Uint64("term", lease.Term))
	}
}

// showRole brings what is known of the lease into status.
func (r *Reconciler) showRole() {
	s := &r.status
	if !r.leased() {
		return
	}
	lease, looked := r.lastLease()
	s.Role, s.Leader = RoleFollower, nil
	if r.leads() {
		s.Role = RoleLeader
	}
	if looked && lease.Held(time.Now()) {
		s.Leader = &Leader{Name: lease.Holder, Address: lease.Address, Term: lease.Term, Since: lease.Since, Until: lease.Expires.UTC()}
	}
	s.Term = lease.Term
}

// contested is asked after a write was refused because something else is live. It says
// that the lease is another's by then.
func (r *Reconciler) contested(ctx context.Context) error {
	if !r.leased() {
		return nil
	}
	l, err := r.cfg.Store.Lease(ctx)
	if err != nil {
		return err
	}
	if l.Term == r.term() && l.Owner == r.lead.owner {
		return nil
	}
	defer r.rouse()
	if r.deposed(ctx, l) {
		return fmt.Errorf("%w, as far as Redis knows: it has forgotten the lease", ErrNotLeader)
	}
	return fmt.Errorf("%w: %s, in term %d", ErrNotLeader, l.Holder, l.Term)
}

// leadForOverride sees to it that this instance leads, and knows what is live, before it
// applies a statement that holds. Where it cannot now, for Redis is away or git, it keeps
// the statement for when it can.
func (r *Reconciler) leadForOverride(ctx context.Context, src []byte) error {
	if !r.leased() || r.leads() && !r.lead.passes.assuming {
		return nil
	}
	if r.target != nil {
		if _, _, err := r.judgeOverride(src, r.target.spec, false); err != nil {
			_, err = r.override(ctx, src) // says so and keeps a record; nothing is written
			return err
		}
	}
	err := r.seize(ctx)
	if err == nil {
		err = r.assume(ctx)
	}
	if err != nil && r.target != nil && (!errors.Is(err, ErrNotLeader) || errors.Is(err, redisstore.ErrUnavailable)) {
		if derr := DropOverride(r.cfg.Dir, src); derr == nil {
			return fmt.Errorf("%w: %w", ErrOverridePending, err)
		}
	}
	return err
}

// seize makes this instance the leader for a person's command, whoever leads: the one
// that was asked carries it out. It must know what is live. The error is ErrNotLeader,
// and names who leads.
func (r *Reconciler) seize(ctx context.Context) error {
	if !r.leased() || r.leads() {
		return nil
	}
	lease, _ := r.lastLease()
	who := "nobody that is known"
	if lease.Held(time.Now()) {
		who = strings.TrimSpace(lease.Holder + " " + lease.Address)
	}
	meta, err := r.cfg.Store.Meta(ctx)
	if err != nil && !errors.Is(err, redisstore.ErrNoMeta) {
		return fmt.Errorf("%w: %s: %w", ErrNotLeader, who, err)
	}
	if err == nil && !r.caughtUp(meta) {
		if _, err := r.catchUp(ctx, meta); err != nil || !r.caughtUp(meta) {
			return fmt.Errorf("%w: %s; %w: generation %d", ErrNotLeader, who, errBehind, meta.Generation)
		}
	}
	if !r.takeLead(ctx, true) {
		return fmt.Errorf("%w: %s; the lease could not be taken", ErrNotLeader, who)
	}
	return r.assume(ctx)
}
