package gitrepo

import (
	"fmt"
	"regexp"
	"strings"
)

var revertLine = regexp.MustCompile(`(?m)^This reverts commit ([0-9a-f]{40}|[0-9a-f]{64})\b`)

// Reverts lists the commits that a message says it reverts, in the form that
// git revert writes. It is what the message claims: compare contents to know.
func Reverts(message string) []string {
	var out []string
	for _, m := range revertLine.FindAllStringSubmatch(message, -1) {
		out = append(out, m[1])
	}
	return out
}

// RevertMessage is the message that git revert gives to the revert of a commit
// with this subject.
func RevertMessage(subject, hash string) string {
	verb, rest := "Revert", subject
	if inner, ok := strings.CutPrefix(subject, `Revert "`); ok && !strings.HasPrefix(inner, `Revert "`) {
		verb, rest = "Reapply", strings.TrimSuffix(inner, `"`)
	}
	return fmt.Sprintf("%s \"%s\"\n\nThis reverts commit %s.\n", verb, rest, hash)
}

// Trailers reads the trailers of a message's last paragraph, such as
// "Ramp-Decision: up". A name that stands twice keeps its values in order.
func Trailers(message string) map[string][]string {
	paragraphs := strings.Split(strings.TrimRight(strings.ReplaceAll(message, "\r\n", "\n"), "\n"), "\n\n")
	out := map[string][]string{}
	if len(paragraphs) < 2 {
		return out
	}
	for _, line := range strings.Split(paragraphs[len(paragraphs)-1], "\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			continue
		}
		out[name] = append(out[name], strings.TrimSpace(value))
	}
	return out
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimSuffix(s, "\r")
}
