package ramp

import "math"

// Error rates are compared with bounds that hold at every moment at once, so that looking each night,
// or each minute, and acting at the first alarm does not raise the rate of false ones.
//
// For a Bernoulli sequence with success rate p, the mixture likelihood ratio
//
//	M(p) = B(a+s, b+f) / (B(a, b) · p^s · (1-p)^f)        s successes, f failures
//
// is a nonnegative martingale with mean one, so by Ville's inequality it ever exceeds 1/α with
// probability at most α; the p for which it has not are a confidence sequence. The construction is
// Robbins' ("Statistical methods related to the law of the iterated logarithm", Annals of Mathematical
// Statistics 41, 1970); its use as an always-valid interval is worked out in Howard, Ramdas, McAuliffe
// and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (Annals of Statistics
// 49, 2021), and in Johari, Koomen, Pekelis and Walsh, "Always valid inference" (Operations Research 70,
// 2022). The sample-ratio check is the same martingale held against the ratio that was asked for, as in
// Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022).
const (
	harmAlpha  = 0.01  // a harmless step is called harmful at most this often, however often one looks
	ratioAlpha = 0.001 // a right ratio is called wrong at most this often
	priorA     = 0.5
	priorB     = 0.5
)

// logMixture is ln M(p).
func logMixture(p float64, s, f int64) float64 {
	x := logBeta(priorA+float64(s), priorB+float64(f)) - logBeta(priorA, priorB)
	if s > 0 {
		x -= float64(s) * math.Log(p)
	}
	if f > 0 {
		x -= float64(f) * math.Log1p(-p)
	}
	return x
}

func logBeta(a, b float64) float64 {
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	return la + lb - lab
}

// bound is the lower (or upper) end of the confidence sequence for an arm's error rate, each end at
// half of alpha.
func bound(a Arm, alpha float64, upper bool) float64 {
	s, f := a.Errors, a.Requests-a.Errors
	if a.Requests <= 0 {
		if upper {
			return 1
		}
		return 0
	}
	limit := math.Log(2 / alpha)
	inside, outside := float64(s)/float64(a.Requests), 0.0
	if upper {
		outside = 1
	}
	if logMixture(outside, s, f) < limit { // s or f is 0: the interval reaches the end
		return outside
	}
	for range 60 {
		mid := (inside + outside) / 2
		if logMixture(mid, s, f) < limit {
			inside = mid
		} else {
			outside = mid
		}
	}
	return outside
}

// harm is how much higher, at least, the error rate of treated units is than that of control units;
// 0 when the difference may be chance, or when there is nothing to compare.
func harm(treated, control Arm) float64 {
	if !treated.valid() || !control.valid() {
		return 0
	}
	return max(0, bound(treated, harmAlpha, false)-bound(control, harmAlpha, true))
}

// valid reports whether the counts can be counts of anything.
func (a Arm) valid() bool { return a.Requests >= 0 && a.Errors >= 0 && a.Errors <= a.Requests }

// mismatch reports whether treated requests are too many or too few for the share (percent) that should
// have been treated. Then something assigns or counts them wrongly, and no comparison means anything.
// Requests of one subject come in bunches, so beyond chance is not enough: the share must also be off
// by a fifth of the smaller side.
func mismatch(treated, control Arm, share float64) bool {
	p := share / 100
	switch {
	case !treated.valid() || !control.valid():
		return true
	case p <= 0 || p >= 1 || treated.Requests+control.Requests == 0:
		return p >= 1 && control.Requests > 0 // at 0, cohorts are still treated
	case logMixture(p, treated.Requests, control.Requests) < math.Log(1/ratioAlpha):
		return false
	}
	observed := float64(treated.Requests) / float64(treated.Requests+control.Requests)
	return math.Abs(observed-p) > min(p, 1-p)/5
}
