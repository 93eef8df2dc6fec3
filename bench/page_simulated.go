package main

import (
	"fmt"
	"strings"
	"time"
)

// pageClients is how many evaluators the page simulates.
const pageClients = 10_000

func simulations(b *strings.Builder, c Costs, a Assumptions) {
	const entries = 10_000
	fmt.Fprintf(b, `
## 10,000 evaluators, simulated

One environment of 10,000 entries, followed by 10,000 clients. Redis publishes to one after the other, then serves them in the
order of their coming with one core; its network card shares itself evenly among the answers under way. Pauses, jitter and
time-outs are those of the real client: it gives a whole read up after %v without a byte or %v in all, and spreads the next
over twice the window, at least over the time that the one in vain took, and at most over %v.

| | median | 99 of 100 | the last | reads given up |
|---|---|---|---|---|
`, defaultTimeout, defaultWhole, longestRetry)
	verify := fanOut(c, a, entries, pageClients, true, clientPatience(true), 1)
	more := fanOut(c, a, entries, 4*pageClients, true, clientPatience(true), 1)
	for _, s := range []struct {
		name string
		o    Outcome
	}{
		{"a change of ten entries, clients that believe Redis", fanOut(c, a, entries, pageClients, false, clientPatience(false), 1)},
		{"the same, clients that verify", verify},
		{"the same, four times as many that verify", more},
		{"for comparison: 10,000 that verify, with 10 s for a whole read and the same window each time", fanOut(c, a, entries, pageClients, true, patience{10 * time.Second, 10 * time.Second, false}, 1)},
	} {
		fmt.Fprintf(b, "| %s | %s | %s |\n", s.name, served(s.o), count(float64(s.o.GaveUp)))
	}
	fmt.Fprintf(b, `
%s Until an answer has left, it lies in Redis' memory: up to %s for 10,000 that verify, beside what the tables above count. Replicas share that out;
clients that believe Redis do not have it.

Redis is away for a time, and comes back. Every client has two connections, one to listen and one that polls; each tries again by itself,
first after 50 ms, then after pauses that double up to its poll.

| away | jitter | tries in the busiest second | all are back after |
|---|---|---|---|
`, strings.Join(append([]string{patient(verify)}, tooLate(verify)...), " "), size(verify.Held))
	for _, away := range []time.Duration{2 * time.Second, 30 * time.Second, 5 * time.Minute} {
		for _, jittered := range []bool{false, true} {
			o := storm(c, a, pageClients, away, jittered, 1)
			fmt.Fprintf(b, "| %v | %s | %s | %s |\n", away, map[bool]string{true: "as it is", false: "without, for comparison"}[jittered], count(float64(o.Peak)), short(o.Last))
		}
	}
}

// served is when clients were, or how many never were.
func served(o Outcome) string {
	if o.Left > 0 {
		return fmt.Sprintf("%s of %s have nothing after %v | – | –", count(float64(o.Left)), count(float64(o.Clients)), horizon)
	}
	return short(o.Median) + " | " + short(o.P99) + " | " + short(o.Last)
}

// patient says whether the last read is one that a client waits for.
func patient(o Outcome) string {
	if o.GaveUp == 0 && o.Left == 0 {
		return fmt.Sprintf("The last of 10,000 waits %s, which a client bears: bytes arrive all the while.", short(o.Last))
	}
	return fmt.Sprintf("That is longer than a client bears: %s reads are given up and begun anew.", count(float64(o.GaveUp)))
}

// tooLate warns where the slowest come close to the time-out of a whole read.
func tooLate(o Outcome) []string {
	if o.Last*2 < defaultWhole {
		return nil
	}
	return []string{fmt.Sprintf("There is little room: a read ends after %v.", defaultWhole)}
}
