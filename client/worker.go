package client

import (
	"cmp"
	"os"
	"strings"

	"github.com/rampart-flags/rampart/flags"
)

// workerUser is the user of what runs on nobody's behalf.
const workerUser = "worker-service"

// ReasonSwitchedOff is the reason of a worker's decision that <FEATURE>_ENABLED
// made.
const ReasonSwitchedOff flags.Reason = "switched-off"

// Worker decides for a process that serves nobody in particular, at its start or
// for a job: the tenant is TENANT_ID, else "public", the user "worker-service".
// A feature that the environment switches off is off without asking, see
// [SwitchedOff].
//
//	if c.Worker("receipts").On { run = withReceipt(run) }
func (c *Client) Worker(feature string) Decision {
	if c.env.switchedOff(feature) {
		return Decision{Decision: flags.Decision{Reason: ReasonSwitchedOff}}
	}
	return c.Decide(feature, cmp.Or(c.env["TENANT_ID"], "public"), workerUser)
}

// SwitchedOff reports whether the environment switches a feature off for workers:
// RECEIPTS_ENABLED, and its like for any feature, is set to anything but true. A
// worker that asks before [Open] needs no Redis when it is.
func SwitchedOff(feature string) bool {
	name := envName(feature) + "_ENABLED"
	value, set := os.LookupEnv(name)
	return set && environment{name: value}.switchedOff(feature)
}

func (e environment) switchedOff(feature string) bool {
	value, set := e[envName(feature)+"_ENABLED"]
	return set && !strings.EqualFold(value, "true")
}
