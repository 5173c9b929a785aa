// Package nearest finds the word that a user most likely meant, for the hint of an
// error message.
package nearest

import "github.com/agnivade/levenshtein"

// Of returns the candidate with the smallest edit distance to word, the first of
// several equals, or "" if none is near: at most a third of word's letters, or two
// of a short word, may differ.
func Of(word string, candidates []string) string {
	best, bestDistance := "", max(2, len(word)/3)+1
	for _, candidate := range candidates {
		if d := levenshtein.ComputeDistance(word, candidate); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// Hint returns `; did you mean "x"?` for the nearest candidate, or "".
func Hint(word string, candidates []string) string {
	if near := Of(word, candidates); near != "" {
		return `; did you mean "` + near + `"?`
	}
	return ""
}
