package release

import (
	"fmt"
	"slices"
	"strings"
)

// SumsName is the file of a release that has the SHA-256 of the others.
const SumsName = "SHA256SUMS"

// Sums returns the content of SHA256SUMS, as `sha256sum --check` reads it, sorted
// by name. The names have no line breaks.
func Sums(files []NotedFile) []byte {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b NotedFile) int { return strings.Compare(a.Name, b.Name) })
	var text strings.Builder
	for _, file := range files {
		fmt.Fprintf(&text, "%s  %s\n", strings.TrimPrefix(file.Digest, "sha256:"), file.Name)
	}
	return []byte(text.String())
}
