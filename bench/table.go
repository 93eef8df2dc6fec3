package main

import (
	"fmt"
	"strings"
	"time"
)

// size writes bytes as people read them.
func size(b float64) string {
	for _, u := range []string{"B", "KB", "MB", "GB", "TB"} {
		if b < 1000 || u == "TB" {
			return number(b) + " " + u
		}
		b /= 1000
	}
	return ""
}

// number has three significant digits and no more than it needs.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func seconds(s float64) string {
	switch {
	case s >= 120:
		return number(s/60) + " min"
	case s >= 1:
		return number(s) + " s"
	case s >= 1e-3:
		return number(s*1e3) + " ms"
	}
	return number(s*1e6) + " µs"
}

func count(n float64) string {
	text := fmt.Sprintf("%.0f", n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func cores(c float64) string { return fmt.Sprintf("%.3f", c) }

// rows are what a page and a terminal show of answers.
var rows = []struct {
	name string
	of   func(r Answer) string
}{
	{"entries", func(r Answer) string { return count(r.Load.Entries) }},
	{"environments", func(r Answer) string { return count(r.Load.Environments) }},
	{"evaluators", func(r Answer) string { return count(r.Load.Evaluators) }},
	{"changes a day", func(r Answer) string { return count(r.Load.Changes) }},
	{"one spec", func(r Answer) string { return size(r.SpecBytes) + map[bool]string{true: ", too large"}[r.TooLarge] }},
	{"Redis: memory", func(r Answer) string { return size(r.RedisBytes) }},
	{"Redis: nodes", nodes},
	{"Redis: cores, steadily", func(r Answer) string { return cores(r.RedisCPU) }},
	{"Redis: bytes out a second, steadily", func(r Answer) string { return size(r.SteadyNetwork) }},
	{"Redis: bytes out for one change", func(r Answer) string { return size(r.ChangeBytes) }},
	{"one environment, filled anew", func(r Answer) string { return seconds(r.ColdSeconds) }},
	{"all of them, filled anew", func(r Answer) string { return seconds(r.AllColdSeconds) }},
	{"one client: memory", func(r Answer) string { return size(r.ClientBytes) }},
	{"reconciler: memory for specs", func(r Answer) string { return size(r.ReconcilerBytes) }},
	{"reconciler: cores, steadily", func(r Answer) string { return cores(r.ReconcilerCPU) }},
	{"ledger, a year", func(r Answer) string { return size(r.LedgerBytes) }},
	{"a change: fetched until live in Redis", func(r Answer) string { return seconds(r.LiveSeconds) }},
	{"a change: live until the last client has it", func(r Answer) string { return seconds(r.TellSeconds) }},
}

func nodes(r Answer) string {
	if r.OverNode != "" {
		return "one environment is too much: " + r.OverNode
	}
	return fmt.Sprintf("%s (%s)", count(r.RedisNodes), r.NodesFor)
}

func table(all []Answer) string {
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "%-46s", row.name)
		for _, r := range all {
			fmt.Fprintf(&b, "%22s", row.of(r))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func markdown(b *strings.Builder, head []string, all []Answer) {
	fmt.Fprintf(b, "| | %s |\n|---|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |", row.name)
		for _, r := range all {
			fmt.Fprintf(b, " %s |", row.of(r))
		}
		b.WriteByte('\n')
	}
}

func short(d time.Duration) string { return seconds(d.Seconds()) }
