package reconciler

import "time"

// Trace is what one pass did with one change, as a tree of timed pieces:
//
//	pass             environment, namespace, commit, generation, version, kind, outcome, code
//	├ fetch          asking git for the branch's head
//	├ walk           the commits since the last accepted one
//	│ ├ judge        verdict, code
//	│ │ ├ verify     signers: whose signatures hold
//	│ │ ├ validate   the spec read by its schema and rules
//	│ │ └ authorize  roles: which cover the changes
//	│ └ receipt      phase intent
//	├ plan           set, deleted: entries to write
//	├ apply          set, deleted: entries written
//	└ receipt        phase outcome
//
// What a pass did not come to, for this change, is not there. Several changes in one pass make several traces, which share the
// times of fetch and walk. A pass that finds all as it was makes none.
type Trace struct {
	// ID is the chain that the change's receipts and exemplars carry: 32 hex digits, valid as a W3C trace id. It is empty for
	// a pass that met trouble and has no change to tell of. A change that one pass accepts and a later one writes has two
	// trees under one ID.
	ID   string
	Root Span
}

// Span is one timed piece of a [Trace].
type Span struct {
	Name       string
	Start, End time.Time
	// Attrs are texts, whole numbers (int64) and lists of texts, by name.
	Attrs map[string]any
	// Err says what went wrong, "" when nothing did. A refusal is no error: it is what the pass is for.
	Err      string
	Children []Span
}

// maxTraces is how many changes of one pass are traced: the newest of a long replay.
const maxTraces = 100

// tracing keeps what a pass measures. A nil one measures nothing.
type tracing struct {
	now    func() time.Time
	emit   func(Trace)
	begun  time.Time
	shared []Span            // fetch, plan, apply: of the pass, whatever change they served
	walk   *Span             // without its children
	judged map[string]Span   // by commit
	told   map[string][]Span // receipts, by the event's id
	parts  []Span            // of the judgement under way
	plans  time.Time         // when planning began, zero while nothing is planned
	inLine bool              // the last pass met trouble as well
}

func newTracing(emit func(Trace), now func() time.Time) *tracing {
	if emit == nil {
		return nil
	}
	t := &tracing{now: now, emit: emit}
	t.begin()
	return t
}

// begin forgets the pass before.
func (t *tracing) begin() {
	if t == nil {
		return
	}
	t.begun, t.shared, t.walk, t.parts, t.plans = t.now(), nil, nil, nil, time.Time{}
	t.judged, t.told = map[string]Span{}, map[string][]Span{}
}

// time starts a piece; what it returns ends it, with the attributes and the error given.
func (t *tracing) time(name string) func(attrs map[string]any, err error) Span {
	if t == nil {
		return func(map[string]any, error) Span { return Span{} }
	}
	started := t.now()
	return func(attrs map[string]any, err error) Span {
		return Span{Name: name, Start: started, End: t.now(), Attrs: attrs, Err: errorText(err)}
	}
}

// plan notes that the next write is being planned.
func (t *tracing) plan() {
	if t != nil {
		t.plans = t.now()
	}
}

// planned notes the plan of the write that follows, where planning it was noted.
func (t *tracing) planned(kind Kind, set, deleted int) {
	if t == nil || t.plans.IsZero() {
		return
	}
	t.shared = append(t.shared, Span{Name: "plan", Start: t.plans, End: t.now(), Attrs: wroteAttrs(kind, set, deleted)})
	t.plans = time.Time{}
}

func wroteAttrs(kind Kind, set, deleted int) map[string]any {
	return map[string]any{"kind": string(kind), "set": int64(set), "deleted": int64(deleted)}
}

// share notes a piece of the pass as a whole.
func (t *tracing) share(s Span) {
	if t == nil {
		return
	}
	if s.Name == "walk" {
		t.walk = &s
		return
	}
	t.shared = append(t.shared, s)
}

// judging starts a judgement; what it returns ends it, over the parts noted in between.
func (t *tracing) judging() func(commit string, r ruling) {
	if t == nil {
		return func(string, ruling) {}
	}
	t.parts = nil
	end := t.time("judge")
	return func(commit string, r ruling) {
		s := end(map[string]any{"verdict": r.verdict.String(), "code": string(r.code)}, nil)
		s.Children, t.parts = t.parts, nil
		t.judged[commit] = s
	}
}

// part notes a piece of the judgement under way.
func (t *tracing) part(s Span) {
	if t != nil {
		t.parts = append(t.parts, s)
	}
}

// receipt notes that an event was recorded.
func (t *tracing) receipt(e Event, s Span) {
	if t != nil {
		t.told[e.ID] = append(t.told[e.ID], s)
	}
}

// end hands out the traces of the pass: one for each change that it told of or accepted, and one of the pass itself when
// trouble begins.
func (t *tracing) end(events, waiting []Event, err error) {
	if t == nil {
		return
	}
	ended := t.now()
	for _, e := range waiting {
		if _, now := t.judged[e.Commit]; now { // accepted by this pass, and not live yet
			e.Outcome, e.Error = OutcomePending, errorText(err)
			events = append(events[:len(events):len(events)], e)
		}
	}
	for _, e := range events[max(0, len(events)-maxTraces):] {
		t.emit(Trace{ID: chainOf(e), Root: t.tree(e, ended)})
	}
	if err != nil && !t.inLine && len(events) == 0 {
		root := Span{Name: "pass", Start: t.begun, End: ended, Err: err.Error(), Attrs: map[string]any{"outcome": "trouble"}, Children: t.shared}
		if t.walk != nil {
			root.Children = append(root.Children, *t.walk)
		}
		t.emit(Trace{Root: root})
	}
	t.inLine = err != nil
}

// tree is what the pass did for one event.
func (t *tracing) tree(e Event, ended time.Time) Span {
	root := Span{Name: "pass", Start: t.begun, End: ended, Err: e.Error, Attrs: eventAttrs(e)}
	wrote := e.Counts != nil || e.Outcome == OutcomePending // what changes no entry (a policy, a suspension) has no plan
	var judged *Span
	if s, ok := t.judged[e.Commit]; ok && !mends(e.Kind) {
		judged = &s
	}
	var intents, outcomes []Span
	for _, s := range t.told[e.ID] {
		if s.Attrs["phase"] == "intent" {
			intents = append(intents, s)
		} else {
			outcomes = append(outcomes, s)
		}
	}
	add := func(name string) {
		for _, s := range t.shared {
			if s.Name == name && (name == "fetch" || mends(e.Kind) == mends(Kind(s.Attrs["kind"].(string)))) {
				root.Children = append(root.Children, s)
			}
		}
	}
	add("fetch")
	if judged != nil && t.walk != nil {
		w := *t.walk
		w.Children = append([]Span{*judged}, intents...)
		root.Children, intents = append(root.Children, w), nil
	}
	if wrote {
		add("plan")
	}
	root.Children = append(root.Children, intents...)
	if wrote {
		add("apply")
	}
	root.Children = append(root.Children, outcomes...)
	return root
}

// mends says whether a write puts right what somebody else did, rather than bring a change about.
func mends(kind Kind) bool { return kind == KindRepair || kind == KindRefill }

func eventAttrs(e Event) map[string]any {
	attrs := map[string]any{"kind": string(e.Kind), "outcome": string(e.Outcome)}
	for name, text := range map[string]string{"environment": e.Environment, "namespace": e.Namespace, "commit": e.Commit, "version": e.Version, "code": string(e.Code)} {
		if text != "" {
			attrs[name] = text
		}
	}
	if e.Generation != 0 {
		attrs["generation"] = int64(e.Generation)
	}
	if len(e.Signers) > 0 {
		attrs["signers"] = e.Signers
	}
	return attrs
}
