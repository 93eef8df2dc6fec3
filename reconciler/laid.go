package reconciler

import (
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/trust"
)

// Laid is spec under the break-glass statements that a state folder keeps and whose time is not over: what a reconciler that
// starts on the folder at that time would make live. Whether the policy still allows them is for that one to judge. spec may be
// nil, and then nothing is live. The error is about the folder.
func Laid(dir string, spec *flags.Spec, now time.Time) (*Live, error) {
	live := &Live{Spec: spec}
	var kept overrides
	if err := kept.read(dir); err != nil {
		return nil, err
	}
	var in []*trust.Override
	for _, f := range kept.in {
		if now.Before(f.Expires) {
			in = append(in, f.statement)
			live.Overrides = append(live.Overrides, f.InForce)
		}
	}
	if spec != nil && len(in) > 0 {
		live.Layer = trust.Layer(spec, in)
	}
	return live, nil
}
