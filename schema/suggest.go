package schema

import "strings"

// synonyms are names that other flag systems use for ours.
var synonyms = map[string]string{
	"percent": "pct", "percentage": "pct", "ramp_pct": "pct", "rollout": "pct", "rollout_pct": "pct",
	"users": "cohorts", "members": "cohorts", "cohort": "cohorts", "allow": "cohorts", "allowlist": "cohorts",
	"active": "enabled", "on": "enabled", "disabled": "enabled", "state": "enabled",
	"flags": "features", "flag": "features", "toggles": "features",
	"overrides": "tenants", "customers": "tenants", "env": "environment", "seed": "salt", "desc": "description",
	"public_key": "key", "can": "may", "allowed": "may", "permissions": "may",
}

// suggest says what to write instead of an unknown name.
func suggest(name string, known []string) string {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return "names keep to upper and lower case: did you mean \"" + k + "\"?"
		}
	}
	if s := synonyms[strings.ToLower(name)]; s != "" {
		for _, k := range known {
			if k == s {
				return "did you mean \"" + s + "\"?"
			}
		}
	}
	best, least := "", max(1, min(len(name), 24)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), k, least); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return "did you mean \"" + best + "\"?"
	}
	if len(known) == 0 {
		return ""
	}
	return "known here are " + strings.Join(known, ", ")
}

// distance is the number of letters to add, drop, change or swap with the next
// to get from a to b; most or more is as good as most.
func distance(a, b string, most int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	var rows [3][65]int
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	before, prev, cur := &rows[2], &rows[0], &rows[1]
	for i := range len(a) {
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j]+cost, prev[j+1]+1, cur[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				cur[j+1] = min(cur[j+1], before[j-1]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return min(prev[len(b)], most)
}
