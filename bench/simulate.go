package main

import (
	pq "container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// What the clients really do, under the names that the code of packages client and
// redisstore has for it; a test holds them equal.
const (
	firstRetry = 50 * time.Millisecond // client: the pause after a first failure, doubled up to poll
	lookEvery  = 15 * time.Second      // redisstore: a look at meta though nothing was heard
	crowd      = 2000                  // ofrep: streams that may fetch at the same moment

	shortestWindow = 100 * time.Millisecond // client: over which whole reads are spread, a second for each MiB
	longestWindow  = 10 * time.Second

	longestRetry   = 5 * time.Minute  // client: the longest window after reads that failed
	askTimeout     = 3 * time.Second  // client: for one small question
	defaultTimeout = 10 * time.Second // redisstore: the longest pause without a byte
	defaultWhole   = 5 * time.Minute  // redisstore: the longest whole read
)

// horizon is when a simulation ends: who has nothing then would not get it later.
const horizon = 15 * time.Minute

// window is how long the clients' whole reads of a spec are spread.
func window(bytes float64) time.Duration {
	return min(max(time.Duration(bytes/(1<<20)*float64(time.Second)), shortestWindow), longestWindow)
}

// jitter is the client's and the subscriber's: from half of d to one and a half.
func jitter(rng *rand.Rand, d time.Duration) time.Duration {
	return d/2 + time.Duration(rng.Int64N(int64(d)))
}

// Outcome is what a simulation shows.
type Outcome struct {
	Clients int           `json:"clients"`
	Median  time.Duration `json:"median"`
	P99     time.Duration `json:"p99"`
	Last    time.Duration `json:"last"`
	Peak    int           `json:"peak_a_second"` // requests that reach Redis in the busiest second
	Asked   int           `json:"requests"`
	GaveUp  int           `json:"gave_up"` // requests whose answer nobody waited for any longer
	Left    int           `json:"left"`    // clients that had nothing at the horizon
	Held    float64       `json:"held"`    // bytes of answers under way in Redis' memory, at most
}

// storm follows n clients whose Redis is away for some time and comes back. Each has two
// connections, which try by themselves: one to listen and one that polls. Each tries again
// after its pauses, with or without jitter. A try at a Redis that is there costs it a
// handshake, also when the client no longer waits for the answer.
func storm(c Costs, a Assumptions, n int, away time.Duration, jittered bool, seed uint64) Outcome {
	rng := rand.New(rand.NewPCG(seed, 3))
	spread := func(d time.Duration) time.Duration {
		if jittered {
			return jitter(rng, d)
		}
		return d
	}
	o, left := Outcome{Clients: n}, make([]int, n) // connections that are not back
	var tries agenda
	for i := range 2 * n { // until Redis is back, tries cost nobody anything but themselves
		t := event{client: i / 2, pause: firstRetry}
		for t.at < away {
			o.Asked++
			t.at += spread(t.pause)
			t.pause = min(2*t.pause, a.Poll)
		}
		left[i/2]++
		tries.add(t)
	}
	cost := time.Duration(c.SubscribeSeconds * float64(time.Second)) // handshake, and a first look or subscription
	perSecond := map[int]int{}
	var done []time.Duration
	free := away
	for len(tries) > 0 && tries[0].at < away+horizon {
		t := tries.next()
		o.Asked++
		perSecond[int(t.at/time.Second)]++
		free = max(free, t.at) + cost
		if free-t.at > askTimeout {
			o.GaveUp++
			t.at += askTimeout + spread(t.pause)
			t.pause = min(2*t.pause, a.Poll)
			tries.add(t)
			continue
		}
		if left[t.client]--; left[t.client] == 0 {
			done = append(done, free-away)
		}
	}
	o.summarize(done, perSecond)
	return o
}

// event is what happens to a client at some time.
type event struct {
	at     time.Duration
	client int
	what   int
	try    int
	pause  time.Duration
}

// agenda is a heap of events, the next one first.
type agenda []event

func (q agenda) Len() int           { return len(q) }
func (q agenda) Less(i, j int) bool { return q[i].at < q[j].at }
func (q agenda) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *agenda) Push(x any)        { *q = append(*q, x.(event)) }
func (q *agenda) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (q *agenda) add(e event) { pq.Push(q, e) }
func (q *agenda) next() event { return pq.Pop(q).(event) }

// summarize takes in when clients were done. Those that are missing never were.
func (o *Outcome) summarize(done []time.Duration, perSecond map[int]int) {
	slices.Sort(done)
	if len(done) > 0 {
		o.Median, o.P99, o.Last = done[len(done)/2], done[len(done)*99/100], done[len(done)-1]
	}
	o.Left = o.Clients - len(done)
	for _, n := range perSecond {
		o.Peak = max(o.Peak, n)
	}
}
