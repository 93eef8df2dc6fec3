package main

import (
	"math/rand/v2"
	"time"
)

// copied is how many bytes a second Redis copies from a large value into the answer, before
// the first of them leaves (INFO commandstats of GET: 5e9 for the spec of the page).
const copied = 4e9

// patience is how long a client waits, and what it does then.
type patience struct {
	idle, whole time.Duration // without a byte, and for an answer in all
	widens      bool          // the next read is spread over twice the window, and no less than it took
}

// clientPatience is the real client's.
func clientPatience(verify bool) patience {
	if verify {
		return patience{defaultTimeout, defaultWhole, true}
	}
	return patience{askTimeout, askTimeout, true}
}

// What happens to a client while a change goes round.
const (
	asks   = iota
	copies // Redis' core has come to its request
	silent // its time without a byte is up
	late   // its time is up
)

// reader is one client.
type reader struct {
	try    int
	asked  time.Duration
	window time.Duration
	gets   bool    // bytes arrive
	until  float64 // of the card's progress
}

// fan is one change on its way to all clients of one Redis.
type fan struct {
	cost    time.Duration // of Redis' core, until the first byte leaves
	bytes   float64       // of an answer
	network float64       // bytes a second
	waits   patience
	rng     *rand.Rand

	readers []reader
	events  agenda
	free    time.Duration // when the core is free

	// The card shares itself evenly: progress is how many bytes each answer under way has
	// got since the beginning, and an answer ends when it comes to the reader's until.
	now      time.Duration
	progress float64
	active   int
	sum      float64 // of until, over the answers under way
	ends     agenda  // at is until, as whole bytes

	out       Outcome
	done      []time.Duration
	perSecond map[int]int
}

// fanOut follows one change to n clients of one Redis: the message goes to one after the
// other, each reads, Redis' one core serves them in the order of their coming, and its one
// network card carries all answers at once. Who waits too long gives up and asks again.
func fanOut(c Costs, a Assumptions, entries float64, n int, verify bool, waits patience, seed uint64) Outcome {
	read, bytes, decode := c.FollowerSeconds-c.PublishSeconds, c.FollowerBytes-c.MessageBytes, 0.0
	spread := firstRetry
	if verify {
		bytes = entries*c.SpecBytes + c.MetaBytes
		read = (c.MetaSeconds + bytes/copied) / (1 - min(a.NodeNetwork/outOfMemory, 0.9)) // what is sent takes the core too
		decode = entries * c.DecodeSeconds
		spread = window(entries * c.SpecBytes)
	}
	f := fan{
		cost: span(read), bytes: bytes, network: min(a.NodeNetwork, outOfMemory), waits: waits, rng: rand.New(rand.NewPCG(seed, 2)),
		readers: make([]reader, n), free: span(float64(n) * c.PublishSeconds), // Redis answers nobody while it publishes
		out: Outcome{Clients: n}, perSecond: map[int]int{},
	}
	for i := range f.readers {
		at := float64(i)*c.PublishSeconds + 100e-6 + f.rng.ExpFloat64()*500e-6 // the way there, and a scheduler
		if verify {
			at += f.rng.Float64() * spread.Seconds()
		}
		f.readers[i].window = spread
		f.events.add(event{at: span(at), client: i, what: asks})
	}
	f.run()
	for i := range f.done {
		f.done[i] += span(decode)
	}
	f.out.summarize(f.done, f.perSecond)
	return f.out
}

func span(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func (f *fan) run() {
	for {
		for len(f.ends) > 0 && !f.current(f.ends[0]) {
			f.ends.next()
		}
		if len(f.ends) > 0 {
			end := f.now + span(max(0, f.readers[f.ends[0].client].until-f.progress)*float64(f.active)/f.network)
			if len(f.events) == 0 || end <= f.events[0].at {
				f.advance(end)
				i := f.ends.next().client
				f.leave(i)
				f.readers[i].try++ // its time-outs are off
				f.done = append(f.done, end)
				continue
			}
		}
		if len(f.events) == 0 || f.events[0].at > horizon {
			return
		}
		e := f.events.next()
		f.advance(e.at)
		if f.current(e) {
			f.happens(e)
		}
	}
}

// current tells whether the reader still waits for what the event is about.
func (f *fan) current(e event) bool { return f.readers[e.client].try == e.try }

func (f *fan) advance(to time.Duration) {
	if f.active > 0 {
		f.progress += (to - f.now).Seconds() * f.network / float64(f.active)
	}
	f.now = to
}

func (f *fan) leave(i int) {
	r := &f.readers[i]
	if r.gets {
		r.gets = false
		f.active--
		f.sum -= r.until
	}
}

func (f *fan) happens(e event) {
	r := &f.readers[e.client]
	switch e.what {
	case asks:
		f.out.Asked++
		f.perSecond[int(e.at/time.Second)]++
		f.free = max(f.free, e.at) + f.cost // also for those who will be gone by then
		r.asked = e.at
		then := []event{{at: e.at + f.waits.whole, what: late}}
		if f.free <= e.at+f.waits.idle { // else no byte comes in time
			then = append(then, event{at: f.free, what: copies})
		} else {
			then = append(then, event{at: e.at + f.waits.idle, what: silent})
		}
		for _, t := range then {
			t.client, t.try = e.client, e.try
			f.events.add(t)
		}
	case copies:
		r.gets, r.until = true, f.progress+f.bytes
		f.active++
		f.sum += r.until
		f.out.Held = max(f.out.Held, f.sum-float64(f.active)*f.progress)
		f.ends.add(event{at: time.Duration(r.until), client: e.client, try: e.try})
	case silent, late:
		f.leave(e.client)
		f.out.GaveUp++
		r.try++
		if f.waits.widens {
			r.window = min(max(2*r.window, e.at-r.asked), longestRetry)
		}
		f.events.add(event{at: e.at + span(f.rng.Float64()*r.window.Seconds()), client: e.client, try: r.try, what: asks})
	}
}
