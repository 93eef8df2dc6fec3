package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rampart-flags/rampart/internal/wholefile"
)

// purgePushed removes what was pushed to the reconciler, coverage, percentages and the proposer's decisions, from before a
// time, and returns how many values that were. What a hold names stays. A state folder where nothing was pushed has none.
func purgePushed(dir string, before time.Time, held holds, dry bool) (int, error) {
	path := filepath.Join(dir, pushedName)
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var d pushedData
	if err == nil {
		err = json.Unmarshal(src, &d)
	}
	if err != nil {
		return 0, fmt.Errorf("reading what was pushed: %w", err)
	}
	n := 0
	old := func(at time.Time, names ...string) bool {
		for _, name := range names {
			if held[name] {
				return false
			}
		}
		if !at.Before(before) {
			return false
		}
		n++
		return true
	}
	for tenant, v := range d.Coverage {
		if old(v.At, tenant) {
			delete(d.Coverage, tenant)
		}
	}
	for tenant, features := range d.Ramp {
		for feature, v := range features {
			if old(v.At, tenant, feature) {
				delete(features, feature)
			}
		}
		if len(features) == 0 {
			delete(d.Ramp, tenant)
		}
	}
	for key, v := range d.Decisions {
		if old(v.At, v.Tenant, v.Feature) {
			delete(d.Decisions, key)
		}
	}
	if n == 0 || dry {
		return n, nil
	}
	if src, err = json.Marshal(&d); err == nil {
		err = wholefile.Write(path, src, 0o600)
	}
	if err != nil {
		return 0, fmt.Errorf("purging what was pushed: %w", err)
	}
	return n, nil
}
