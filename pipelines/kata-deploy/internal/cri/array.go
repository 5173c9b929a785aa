package cri

import (
	"bytes"
	"regexp"
	"strings"
)

// array is the array of imports in the text of a configuration.
type array struct {
	data []byte
	// start is the offset of its line, end that behind its last token before the closing
	// bracket, close that of the bracket.
	start, end, close int
	entries           []span
}

// span is a string in the text, with its quotes.
type span struct{ start, end int }

var importsKey = regexp.MustCompile(`(?m)^[ \t]*imports[ \t]*=[ \t]*\[`)

// findImports finds the array in the text. A word in a string or a comment could be taken
// for it, so callers verify what they edit.
func findImports(data []byte) (array, bool) {
	key := importsKey.FindIndex(data)
	if key == nil {
		return array{}, false
	}
	a := array{data: data, start: key[0], end: key[1]}
	for i := key[1]; i < len(data); i++ {
		switch c := data[i]; c {
		case '#':
			for i+1 < len(data) && data[i+1] != '\n' {
				i++
			}
		case '"', '\'':
			begin := i
			for i++; i < len(data) && data[i] != c; i++ {
				if c == '"' && data[i] == '\\' {
					i++
				}
			}
			a.entries, a.end = append(a.entries, span{begin, i + 1}), i+1
		case ',':
			a.end = i + 1
		case ']':
			a.close = i
			return a, true
		}
	}
	return array{}, false
}

// lastByte is the last one of the last token.
func (a array) lastByte() byte { return a.data[a.end-1] }

// line returns the lines of the array.
func (a array) line() (start, end int) {
	end = len(a.data)
	if i := bytes.IndexByte(a.data[a.close:], '\n'); i >= 0 {
		end = a.close + i + 1
	}
	return a.start, end
}

// entry returns the text of an entry with its comma: the one behind it, if the entry before
// has its own, or the one before it.
func (a array) entry(value string) (start, end int) {
	for i, e := range a.entries {
		if strings.Trim(string(a.data[e.start:e.end]), `"'`) != value {
			continue
		}
		switch {
		case i > 0 && e.end < len(a.data) && a.data[e.end] == ',':
			before := a.entries[i-1].end
			return before + bytes.IndexByte(a.data[before:], ',') + 1, e.end + 1
		case i > 0:
			return a.entries[i-1].end, e.end
		case len(a.entries) > 1:
			return e.start, a.entries[1].start
		}
		return e.start, a.end
	}
	return a.end, a.end
}
