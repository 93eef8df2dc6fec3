package main

import (
	"fmt"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

// planMark begins the comment that shows a plan, so that a later run finds it and takes its place.
const planMark = "<!-- rampart:plan -->"

const (
	maxRows    = 100    // of a table, before the rest is only counted
	maxComment = 60_000 // bytes: GitHub takes 65,536 characters
)

// markdown is the difference as a pull request's comment.
func (d difference) markdown() string {
	var b strings.Builder
	b.WriteString(planMark + "\n")
	if len(d.changes) == 0 {
		fmt.Fprintf(&b, "### Flags: no change\n\nThe spec says the same as before (%s).\n", mdCode(d.versions()))
		return b.String()
	}
	sum := sumUp(d.effects)
	fmt.Fprintf(&b, "### Flags: %s\n\n%s %s.\n\n", counted(len(d.changes), "change", "changes"), mdCode(d.versions()), sum)
	if sum.Rebuckets > 0 {
		fmt.Fprintf(&b, "> [!CAUTION]\n> %s people anew: who was on may be off, and the other way round.\n\n", counted(sum.Rebuckets, "entry deals", "entries deal"))
	}
	d.mdChanges(&b)
	d.mdEffects(&b)
	b.WriteString("\nWhat a spec does to people is computed from the entries themselves, tenants and segments resolved.\n")
	return b.String()
}

func (d difference) mdChanges(b *strings.Builder) {
	b.WriteString("| | Feature | Tenant | Change | From | To |\n|---|---|---|---|---|---|\n")
	for i, c := range d.changes {
		if i == maxRows || b.Len() > maxComment/2 {
			fmt.Fprintf(b, "\n… and %s.\n", counted(len(d.changes)-i, "more change", "more changes"))
			return
		}
		mark := ""
		switch {
		case c.Kind == flags.Salt:
			mark = "🔴"
		case c.Rises:
			mark = "▲"
		case c.Kind == flags.FeatureRemove || c.Kind == flags.RampDown || c.Kind == flags.Disable || c.Kind == flags.CohortRemove:
			mark = "▼"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", mark, mdCode(c.Feature), mdCode(tenantName(c.Tenant)),
			mdText(strings.TrimSpace(string(c.Kind)+" "+c.Field)), mdCode(c.From), mdCode(c.To))
	}
}

func (d difference) mdEffects(b *strings.Builder) {
	rows := 0
	for i, e := range d.effects {
		if e.none() {
			continue
		}
		if rows == 0 {
			b.WriteString("\n#### Who is turned on or off\n\n| Feature | Tenant | |\n|---|---|---|\n")
		}
		if rows == maxRows || b.Len() > maxComment {
			fmt.Fprintf(b, "\n… and up to %s.\n", counted(len(d.effects)-i, "more entry", "more entries"))
			return
		}
		rows++
		fmt.Fprintf(b, "| %s | %s | %s |\n", mdCode(e.Feature), mdCode(tenantName(e.Tenant)), mdText(e.String()))
	}
	if rows == 0 {
		b.WriteString("\nNobody is turned on or off.\n")
	}
}

// tenantName is a tenant for people: those without an entry of their own follow the feature's.
func tenantName(tenant string) string {
	if tenant == flags.DefaultTenant {
		return "all others"
	}
	return tenant
}

// mdCode is s as inline code in a table cell, whatever s holds. Nothing is no code at all.
func mdCode(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ReplaceAll(cli.Printable(s), "\n", " ")
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	pad := ""
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		pad = " "
	}
	return fence + pad + strings.ReplaceAll(s, "|", `\|`) + pad + fence
}

// mdText is s as plain text in a table cell: nothing in it is markup, a mention or a link.
func mdText(s string) string {
	s = strings.ReplaceAll(cli.Printable(s), "\n", " ")
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\`*_{}[]<>()#+!|~&$", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		if r == '@' || r == '#' {
			b.WriteString("\u200b") // @name would call somebody, #1 would link
		}
	}
	return b.String()
}
