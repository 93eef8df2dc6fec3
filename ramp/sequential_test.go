package ramp

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Looking after every batch and acting at the first alarm must not call harmless steps harmful more
// often than promised, and must still find real harm.
func TestHarmIsAlwaysValid(t *testing.T) {
	look := func(rng *rand.Rand, treatedRate, controlRate float64) (alarms int) {
		for range 400 {
			var treated, control Arm
			for range 60 {
				for range 20 {
					treated.Requests++
					if rng.Float64() < treatedRate {
						treated.Errors++
					}
				}
				for range 80 {
					control.Requests++
					if rng.Float64() < controlRate {
						control.Errors++
					}
				}
				if harm(treated, control) > 0 {
					alarms++
					break
				}
			}
		}
		return alarms
	}
	rng := rand.New(rand.NewPCG(7, 11))
	if got := look(rng, 0.05, 0.05); float64(got) > 400*harmAlpha {
		t.Errorf("%d of 400 harmless steps were called harmful, at most %g may", got, 400*harmAlpha)
	}
	if got := look(rng, 0.20, 0.05); got < 380 {
		t.Errorf("only %d of 400 harmful steps were found", got)
	}
}

func TestRatioIsAlwaysValid(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	wrong := func(share float64) (alarms int) {
		for range 300 {
			var treated, control Arm
			for range 50 {
				for range 40 {
					if rng.Float64() < share {
						treated.Requests++
					} else {
						control.Requests++
					}
				}
				if mismatch(treated, control, 20) {
					alarms++
					break
				}
			}
		}
		return alarms
	}
	if got := wrong(0.20); got > 2 {
		t.Errorf("%d of 300 right ratios were called wrong", got)
	}
	if got := wrong(0.35); got < 290 {
		t.Errorf("only %d of 300 wrong ratios were found", got)
	}
}

func TestBoundsOfAnArm(t *testing.T) {
	for _, a := range []Arm{{0, 0}, {1, 0}, {1, 1}, {10, 0}, {10, 10}, {1000, 3}, {1e9, 5e8}, {1e15, 1}} {
		lo, hi := bound(a, harmAlpha, false), bound(a, harmAlpha, true)
		rate := 0.0
		if a.Requests > 0 {
			rate = float64(a.Errors) / float64(a.Requests)
		}
		if math.IsNaN(lo) || math.IsNaN(hi) || lo < 0 || hi > 1 || lo > rate || hi < rate {
			t.Errorf("%+v: %g..%g around %g", a, lo, hi, rate)
		}
	}
	if got := harm(Arm{100, 200}, Arm{100, 0}); got != 0 {
		t.Errorf("counts that cannot be say nothing, got %g", got)
	}
}
