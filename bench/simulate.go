package main

import (
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
)

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
}

// fanOut follows one change to n clients of one Redis: the message goes to one after the
// other, each asks for meta and reads, and Redis' one core and one network card serve
// them in the order of their coming.
func fanOut(c Costs, a Assumptions, entries float64, n int, verify bool, seed uint64) Outcome {
	rng := rand.New(rand.NewPCG(seed, 2))
	read, bytes := c.FollowerSeconds-c.PublishSeconds, c.FollowerBytes-c.MessageBytes
	if verify {
		bytes = entries*c.SpecBytes + c.MetaBytes
		read = c.MetaSeconds + bytes/outOfMemory
	}
	cost := max(read, bytes/a.NodeNetwork)
	come := make([]float64, n)
	for i := range come {
		come[i] = float64(i)*c.PublishSeconds + 100e-6 + rng.ExpFloat64()*500e-6 // the way there, and a scheduler
		if verify {
			come[i] += rng.Float64() * window(entries*c.SpecBytes).Seconds()
		}
	}
	slices.Sort(come)
	free := float64(n) * c.PublishSeconds // Redis answers nobody while it publishes
	done := make([]time.Duration, n)
	perSecond := map[int]int{}
	for i, at := range come {
		free = max(free, at) + cost
		end := free
		if verify {
			end += entries * c.DecodeSeconds
		}
		done[i] = time.Duration(end * float64(time.Second))
		perSecond[int(free)]++
	}
	return summary(done, perSecond, n)
}

// storm follows n clients whose Redis is away for some time and comes back: each tries
// again after its pauses, with or without jitter. A try at a Redis that is there costs
// it a handshake; one that waits too long gives up and tries again.
func storm(c Costs, a Assumptions, n int, away time.Duration, jittered bool, seed uint64) Outcome {
	rng := rand.New(rand.NewPCG(seed, 3))
	spread := func(d time.Duration) time.Duration {
		if jittered {
			return jitter(rng, d)
		}
		return d
	}
	type try struct{ at, pause time.Duration }
	var first []try
	perSecond := map[int]int{}
	tries := 0
	for range n { // until Redis is back, tries cost nobody anything but themselves
		t := try{0, firstRetry}
		for t.at < away {
			tries++
			t.at += spread(t.pause)
			t.pause = min(2*t.pause, a.Poll)
		}
		first = append(first, t)
	}
	slices.SortFunc(first, func(a, b try) int { return int(a.at - b.at) })
	cost := time.Duration((c.SubscribeSeconds + c.MetaSeconds) * float64(time.Second))
	var done []time.Duration
	free := away
	for _, t := range first {
		free = max(free, t.at) + cost
		tries++
		perSecond[int(t.at/time.Second)]++
		done = append(done, free-away)
	}
	o := summary(done, perSecond, tries)
	o.Clients = n
	return o
}

func summary(done []time.Duration, perSecond map[int]int, asked int) Outcome {
	slices.Sort(done)
	o := Outcome{Clients: len(done), Median: done[len(done)/2], P99: done[len(done)*99/100], Last: done[len(done)-1], Asked: asked}
	for _, n := range perSecond {
		o.Peak = max(o.Peak, n)
	}
	return o
}
