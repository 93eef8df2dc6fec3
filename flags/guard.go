package flags

import (
	"encoding/json"
	"fmt"

	"github.com/rampart-flags/rampart/schema"
)

// checkGuard holds a ramp block, which holds the schema, to the rules between
// its fields.
func checkGuard(m map[string]any, salted bool) []schema.Problem {
	var found []schema.Problem
	say := func(pointer, problem, hint string) {
		found = append(found, schema.Problem{Pointer: "/ramp" + pointer, Problem: problem, Hint: hint})
	}
	pct := func(v any, pointer string) (Pct, bool) {
		n, ok := v.(json.Number)
		if !ok {
			return 0, false
		}
		p, err := ParsePct(n.String())
		if err != nil {
			say(pointer, err.Error(), "")
			return 0, false
		}
		if !p.Whole() && !salted {
			found = append(found, fraction(p, "/ramp"+pointer, "add a salt to the feature, or write a whole number"))
		}
		return p, true
	}
	steps, _ := m["steps"].([]any)
	last := Pct(-1)
	for i, v := range steps {
		pointer := fmt.Sprintf("/steps/%d", i)
		p, ok := pct(v, pointer)
		if ok && p <= last {
			say(pointer, fmt.Sprintf("%v does not follow %v", p, last), "list the steps in rising order")
		}
		last = max(last, p)
	}
	if steps != nil && m["step_up"] != nil {
		say("/step_up", "steps and step_up exclude each other", "keep one of the two")
	}
	for _, name := range []string{"step_up", "step_down"} {
		pct(m[name], "/"+name)
	}
	least, hasMin := pct(m["min"], "/min")
	most, hasMax := pct(m["max"], "/max")
	if hasMin && hasMax && least > most {
		say("/min", fmt.Sprintf("min %v is above max %v", least, most), "")
	}
	gates, _ := m["gates"].([]any)
	for i, v := range gates {
		pct(v, fmt.Sprintf("/gates/%d", i))
	}
	guards, _ := m["guards"].(map[string]any)
	for name, v := range guards {
		if limits, ok := v.(map[string]any); ok {
			checkLimits("/guards/"+escape(name), limits, say)
		}
	}
	return found
}

// checkLimits wants green and red on the right sides of each other.
func checkLimits(pointer string, limits map[string]any, say func(pointer, problem, hint string)) {
	green, hasGreen := limits["green"].(json.Number)
	red, hasRed := limits["red"].(json.Number)
	if !hasGreen || !hasRed {
		return
	}
	g, _ := green.Float64()
	r, _ := red.Float64()
	higher := limits["better"] == "higher"
	if !higher && g > r {
		say(pointer+"/red", fmt.Sprintf("red %v is below green %v", red, green), `where more is better, say "better": "higher"`)
	}
	if higher && g < r {
		say(pointer+"/red", fmt.Sprintf("red %v is above green %v although more is better", red, green), "")
	}
}
