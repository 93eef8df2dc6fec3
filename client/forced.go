package client

import (
	"fmt"
	"log/slog"
	"strings"
)

// forced are the features that a developer's own environment decides:
// RAMPART_FORCE_<FEATURE>=on|off, the name in upper case and everything but
// letters and digits as an underscore. nil when there are none.
type forced map[string]bool

const forcePrefix = "RAMPART_FORCE_"

func (e environment) forced() (forced, error) {
	var f forced
	for name, value := range e {
		feature, ok := strings.CutPrefix(name, forcePrefix)
		if !ok {
			continue
		}
		if f == nil {
			f = forced{}
		}
		switch strings.ToLower(value) {
		case "on":
			f[feature] = true
		case "off":
			f[feature] = false
		default:
			return nil, fmt.Errorf("%s=%q: want on or off", name, value)
		}
	}
	return f, nil
}

func (f forced) of(feature string) (on, ok bool) {
	on, ok = f[envName(feature)]
	return on, ok
}

// shout tells the log about each of them, loudly: a forgotten one makes a
// service differ from what everybody believes is live.
func (f forced) shout(log *slog.Logger) {
	for feature, on := range f {
		log.Warn("a feature is FORCED in this process, whatever the flags say",
			slog.String("setting", forcePrefix+feature), slog.Bool("on", on))
	}
}

// envName is a feature's name as it stands in the name of an environment
// variable.
func envName(feature string) string {
	b := []byte(feature)
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z':
			b[i] = c - 'a' + 'A'
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
		default:
			b[i] = '_'
		}
	}
	return string(b)
}
