package tarball

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Traces are texts that a build leaves in files: paths of its folders, and the names of
// its machine.
type Traces []trace

// trace is a text, after and before which a longer path or name would continue.
type trace struct {
	text string
	// whole says that the text must also end there.
	whole bool
}

// NewTraces returns the traces of the container that steps run in, and of this machine.
// A name that could be an ordinary word is not looked for.
func NewTraces(machine string) Traces {
	const shortest, container = 6, "buildkitsandbox"
	// Tools keep what they fetch and compile in the home folder.
	traces := Traces{{text: container, whole: true}, {text: recipe.HomeFolder + "/go/"}, {text: recipe.HomeFolder + "/."}}
	for _, folder := range []string{recipe.BuildFolder, recipe.FilesFolder, recipe.SourcesFolder, recipe.DependenciesFolder} {
		traces = append(traces, trace{text: folder + "/"})
	}
	if len(machine) >= shortest && strings.ContainsAny(machine, "-0123456789") {
		traces = append(traces, trace{text: machine, whole: true})
	}
	return traces
}

const (
	// window is how much of a file is searched at a time, and shown how much of what
	// follows a trace is reported.
	window = 256 << 10
	shown  = 120
	// mostTraces is how many traces of one file are reported.
	mostTraces = 3
)

// search copies a file, and returns the first traces in it with what follows them, each
// once. Memory does not depend on the size of the file.
func (traces Traces) search(from io.Reader, to io.Writer) (found []string, err error) {
	buffer, kept := make([]byte, window), 0
	for end := false; !end; {
		n, err := io.ReadFull(from, buffer[kept:])
		end = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return nil, err
		}
		data := buffer[:kept+n]
		if _, err := to.Write(data[kept:]); err != nil {
			return nil, err
		}
		// The next window also has the last byte of this one before what is left to search.
		limit, next := len(data), len(data)
		if !end {
			limit, next = len(data)-shown, len(data)-shown-1
		}
		for _, t := range traces {
			found = t.find(data, min(kept, 1), limit, found)
		}
		kept = copy(buffer, data[next:])
	}
	return found, nil
}

// find adds the occurrences of a trace that begin in data[from:limit].
func (t trace) find(data []byte, from, limit int, found []string) []string {
	for at := from; len(found) < mostTraces; at++ {
		i := bytes.Index(data[at:], []byte(t.text))
		if at += i; i < 0 || at >= limit {
			break
		}
		end := at + len(t.text)
		if at > 0 && inName(data[at-1]) || t.whole && end < len(data) && inName(data[end]) {
			continue
		}
		if text := printable(data[at:min(at+shown, len(data))]); !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	return found
}

// inName reports whether a path or a name could have this character.
func inName(c byte) bool {
	return c >= 0x80 || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/._-%$]})", c) >= 0
}

// printable returns the beginning of data up to the first blank or unprintable byte.
func printable(data []byte) string {
	if end := bytes.IndexFunc(data, func(c rune) bool { return c <= ' ' || c > '~' }); end >= 0 {
		data = data[:end]
	}
	return string(data)
}
