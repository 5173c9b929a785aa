package release

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// PinChange is a pin that differs between two versions.yaml.
type PinChange struct {
	// Path is that of the pin, "assets.kernel.version".
	Path string
	// Before and After are its values, "" if it is missing.
	Before, After string
}

// ComparePins returns the pins that differ, sorted by path.
func ComparePins(before, after *versions.File) []PinChange {
	paths := append(before.Pins(), after.Pins()...)
	slices.Sort(paths)
	var changes []PinChange
	for _, path := range slices.Compact(paths) {
		// A missing pin is the error, and its value is "".
		was, wasErr := before.Pin(path)
		is, isErr := after.Pin(path)
		if was != is || (wasErr == nil) != (isErr == nil) {
			changes = append(changes, PinChange{Path: path, Before: was, After: is})
		}
	}
	return changes
}

// The comments around the generated part of a release's text. GitHub does not show
// them.
const (
	notesBegin = "<!-- generated: what is between these lines is written anew -->"
	notesEnd   = "<!-- end of what is generated -->"
)

// SpliceNotes puts a generated text into that of a release, in place of an
// earlier one. Text that people wrote before and after it stays. Without an earlier one
// it comes last.
func SpliceNotes(there, generated string) string {
	// GitHub's editor ends lines as Windows does.
	there = strings.ReplaceAll(there, "\r\n", "\n")
	block := notesBegin + "\n\n" + strings.Trim(generated, "\n") + "\n\n" + notesEnd
	before, rest, found := strings.Cut(there, notesBegin)
	_, after, ended := strings.Cut(rest, notesEnd)
	if found && ended {
		return before + block + after
	}
	if there = strings.TrimRight(there, "\n"); there != "" {
		there += "\n\n"
	}
	return there + block + "\n"
}

// Sums returns the content of SHA256SUMS, as `sha256sum --check` reads it, sorted by
// name.
func Sums(files []File) []byte {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	var text strings.Builder
	for _, file := range files {
		fmt.Fprintf(&text, "%s  %s\n", strings.TrimPrefix(file.Digest, "sha256:"), file.Name)
	}
	return []byte(text.String())
}
