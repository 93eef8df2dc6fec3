package cli

import "strings"

// Nearest is the name that someone who typed word most likely meant, or "" when none is near: a
// name that begins with word or differs from it by a slip or two.
func Nearest(word string, names []string) string {
	word = strings.ToLower(word)
	best, bestDistance := "", 3
	if len(word) < 4 {
		bestDistance = 2 // everything is near a short word
	}
	for _, name := range names {
		d := distance(word, strings.ToLower(name))
		if len(word) >= 2 && strings.HasPrefix(strings.ToLower(name), word) {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that turn a into
// b (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
