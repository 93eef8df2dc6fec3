package main

import (
	"testing"
	"time"
)

func TestJitterSpreadsAStorm(t *testing.T) {
	c, _ := costs(t)
	a := defaultAssumptions()
	const away = time.Minute
	with, without := storm(c, a, 5000, away, true, 1), storm(c, a, 5000, away, false, 1)
	if with.Peak*2 > without.Peak {
		t.Errorf("jitter makes %d tries in the busiest second of %d", with.Peak, without.Peak)
	}
	if without.Peak < 2*5000 {
		t.Errorf("%d tries in the busiest second are not two of each client", without.Peak)
	}
	if again := storm(c, a, 5000, away, true, 1); again != with {
		t.Error("the same seed gives two storms")
	}
	if with.Last > away+2*a.Poll {
		t.Errorf("the last is back %v after Redis", with.Last)
	}
}

// Where all try at the same moment, Redis comes to most of them after they have gone.
func TestAStormThatIsTooLarge(t *testing.T) {
	c, _ := costs(t)
	a := defaultAssumptions()
	with, without := storm(c, a, 40_000, time.Minute, true, 1), storm(c, a, 40_000, time.Minute, false, 1)
	if without.GaveUp < 40_000 {
		t.Errorf("without jitter: %+v", without)
	}
	if with.GaveUp*10 > without.GaveUp || with.Left > 0 {
		t.Errorf("with jitter: %+v", with)
	}
}

func TestFanOutIsAsSlowAsWhatIsRead(t *testing.T) {
	c, _ := costs(t)
	a := defaultAssumptions()
	small, whole := fanOut(c, a, 10_000, 10_000, false, clientPatience(false), 1), fanOut(c, a, 10_000, 10_000, true, clientPatience(true), 1)
	if whole.Last < 10*small.Last {
		t.Errorf("ten entries take %v, a whole spec %v", small.Last, whole.Last)
	}
	if least := time.Duration(10_000 * 10_000 * c.SpecBytes / a.NodeNetwork * float64(time.Second)); whole.Last < least {
		t.Errorf("10,000 specs pass the network in %v, which takes %v", whole.Last, least)
	}
	if again := fanOut(c, a, 10_000, 10_000, true, clientPatience(true), 1); again != whole {
		t.Error("the same seed gives two simulations")
	}
}

// With the client's own time-outs nobody gives up where the page says so; with a short one
// for the whole answer nobody would ever be served.
func TestFanOutCollapsesOnlyWithoutPatience(t *testing.T) {
	c, _ := costs(t)
	a := defaultAssumptions()
	for _, verify := range []bool{false, true} {
		if o := fanOut(c, a, 10_000, pageClients, verify, clientPatience(verify), 1); o.GaveUp > 0 || o.Left > 0 || len(tooLate(o)) > 0 {
			t.Errorf("verifying %v: %+v", verify, o)
		}
	}
	// A tenth of the clients on a tenth of the network is the same, and sooner simulated.
	const n = pageClients / 10
	a.NodeNetwork /= 10
	short := patience{10 * time.Second, 10 * time.Second, false}
	if o := fanOut(c, a, 10_000, n, true, short, 1); o.Left < n*9/10 {
		t.Errorf("with ten seconds for the whole: %+v", o)
	}
	short.widens = true
	if o := fanOut(c, a, 10_000, n, true, short, 1); o.Left > 0 || o.GaveUp == 0 {
		t.Errorf("with windows that widen: %+v", o)
	}
	// Too many for the time-out of the whole: they give up, and the wider window serves them.
	if o := fanOut(c, a, 10_000, 4*n, true, clientPatience(true), 1); o.Left > 0 || o.GaveUp == 0 {
		t.Errorf("four times as many that verify: %+v", o)
	}
}
