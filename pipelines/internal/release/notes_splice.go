package release

import "strings"

// The comments that the generated part of a release's text stands between.
// GitHub does not show them.
const (
	notesBegin = "<!-- generated: what is between these lines is written anew -->"
	notesEnd   = "<!-- end of what is generated -->"
)

// SpliceNotes puts a generated text into that of a release, in the place of an
// earlier one; what somebody has written before and after it stays. Where there
// is none yet it comes last.
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
