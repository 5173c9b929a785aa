// Package nearest finds the word that a user most likely meant, for the hint of an
// error message.
package nearest

// Of returns the candidate with the smallest edit distance to word, the first of
// several equals, or "" if none is near: at most a third of word's letters, or two
// of a short word, may differ.
func Of(word string, candidates []string) string {
	best, bestDistance := "", max(2, len(word)/3)+1
	for _, candidate := range candidates {
		if d := distance(word, candidate); d < bestDistance {
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

// distance is the Levenshtein distance in bytes: names here are ASCII.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
