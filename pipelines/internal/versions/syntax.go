package versions

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxSize is far more than any versions.yaml: a bigger file is another one.
const maxSize = 1 << 20

// read returns the content of a file of at most maxSize bytes.
func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, unreadable(file, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, unreadable(file, err)
	}
	return data, nil
}

func unreadable(file string, err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return fmt.Errorf("%s: not readable: %w; give the path of a readable versions.yaml", file, err)
}

// parse returns the one mapping that the data must be. What is wrong goes to
// the problems, and the result is nil.
func (p *problems) parse(data []byte) *yaml.Node {
	if at, text := unfit(data); text != "" {
		*p = append(*p, problem{at.line, at.column, text})
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		*p = append(*p, problem{1, 1, "the file is empty; it needs at least the group assets"})
		return nil
	}
	if err == nil {
		err = decoder.Decode(&second)
	}
	switch {
	case err == nil:
		p.at(&second, "a second document; keep one, without a further --- line")
		return nil
	case !errors.Is(err, io.EOF):
		line, column := broken(data)
		*p = append(*p, problem{line, column, "not YAML: " + syntaxError(err) + "; correct this line or the one before it"})
		return nil
	}
	return document.Content[0]
}

// unfit finds what is wrong with the data before it is read as YAML.
func unfit(data []byte) (position, string) {
	if len(data) > maxSize {
		return position{1, 1}, "the file is larger than 1 MiB; is it a versions.yaml?"
	}
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			return positionOf(data, len(data)-len(rest)), fmt.Sprintf("byte 0x%02x is not UTF-8; save the file as UTF-8", rest[0])
		}
		rest = rest[size:]
	}
	return position{}, ""
}

type position struct{ line, column int }

func positionOf(data []byte, offset int) position {
	before := data[:offset]
	lineStart := bytes.LastIndexByte(before, '\n') + 1
	return position{bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[lineStart:]) + 1}
}

// syntaxError drops the line from the parser's message: it is that of the
// block around the mistake. See broken.
func syntaxError(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if _, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "line ") {
		return rest
	}
	return text
}

// broken finds the line that makes the data unreadable, and the column of its
// first character: the first lines of a YAML file are YAML too, so the line
// after the longest good beginning is the one.
func broken(data []byte) (line, column int) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	good := func(n int) bool {
		decoder := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:n], nil)))
		var err error
		for err == nil {
			err = decoder.Decode(new(yaml.Node))
		}
		return errors.Is(err, io.EOF)
	}
	lo, hi := 0, len(lines)
	for lo+1 < hi {
		if mid := (lo + hi) / 2; good(mid) {
			lo = mid
		} else if end := afterQuote(good, mid, hi); end > 0 {
			lo = end
		} else {
			hi = mid
		}
	}
	text := bytes.TrimRight(lines[lo], "\r\n")
	return lo + 1, len(text) - len(bytes.TrimLeft(text, " \t")) + 1
}

// afterQuote looks for a good beginning a few lines further on, for a string
// in quotes may span several. It returns 0 where there is none.
func afterQuote(good func(int) bool, from, before int) int {
	for n := from + 1; n < min(from+8, before); n++ {
		if good(n) {
			return n
		}
	}
	return 0
}
