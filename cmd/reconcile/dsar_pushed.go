package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// pushed is what was pushed to the reconciler about a tenant that is the subject, nil where nothing was.
func (src dsarSource) pushed(forms []string) (*pushedData, error) {
	text, err := os.ReadFile(filepath.Join(src.state, pushedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all pushedData
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was pushed: %w", err)
	}
	mine := &pushedData{Format: all.Format, Coverage: map[string]pushedValue{}, Ramp: map[string]map[string]pushedValue{}, Decisions: map[string]decision{}}
	found := false
	for _, form := range forms {
		if v, ok := all.Coverage[form]; ok {
			mine.Coverage[form], found = v, true
		}
		if v, ok := all.Ramp[form]; ok {
			mine.Ramp[form], found = v, true
		}
		for key, d := range all.Decisions {
			if d.Tenant == form {
				mine.Decisions[key], found = d, true
			}
		}
	}
	if !found {
		return nil, nil
	}
	return mine, nil
}
