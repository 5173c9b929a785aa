package bump

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// document edits a YAML file at the positions of its nodes, so that comments, quotes and
// layout stay: encoding it again would lose them.
type document struct {
	root  strictyaml.Node
	lines []string
	// edits are by lines, counted from 0.
	edits map[int]*lineEdit
}

// lineEdit is what becomes of a line.
type lineEdit struct {
	words         []word
	removed       bool
	before, after []string
}

// word replaces a part of a line.
type word struct {
	from, to int
	text     string
}

func openDocument(name string, data []byte) (*document, error) {
	var content any
	root, err := strictyaml.Decode(name, data, &content)
	if err != nil {
		return nil, err
	}
	return &document{root: root, lines: strings.SplitAfter(string(data), "\n"), edits: map[int]*lineEdit{}}, nil
}

func (d *document) line(i int) *lineEdit {
	if d.edits[i] == nil {
		d.edits[i] = &lineEdit{}
	}
	return d.edits[i]
}

func (d *document) set(node *yaml.Node, value string) error {
	from, to := d.span(node)
	if from == to {
		return fmt.Errorf("line %d: %q is not written on one line; write it so", node.Line, node.Value)
	}
	text := value
	switch {
	case node.Style&yaml.DoubleQuotedStyle != 0:
		text = strconv.Quote(value)
	case node.Style&yaml.SingleQuotedStyle != 0:
		text = "'" + strings.ReplaceAll(value, "'", "''") + "'"
	}
	edit := d.line(node.Line - 1)
	edit.words = append(edit.words, word{from, to, text})
	return nil
}

// span returns where a scalar is in its line, with its quotes, in bytes. It is empty if the
// scalar does not end there.
func (d *document) span(node *yaml.Node) (from, to int) {
	line := []rune(d.lines[node.Line-1])
	at := node.Column - 1
	from = len(string(line[:at]))
	return from, from + len(string(line[at:at+quoted(line[at:], node)]))
}

// replaceField replaces a field whose value is between braces, with the text of another or,
// with "", of none.
func (d *document) replaceField(mapping, key *yaml.Node, text string) error {
	edit := d.line(key.Line - 1)
	if text == "" && mapping.Style&yaml.FlowStyle == 0 {
		edit.removed = true
		return nil
	}
	line := d.lines[key.Line-1]
	from, _ := d.span(key)
	to := from + strings.IndexByte(line[from:], '}') + 1
	if text == "" {
		from = len(strings.TrimRight(line[:from], ", "))
	}
	edit.words = append(edit.words, word{from, to, text})
	return nil
}

// quoted returns how many characters of a line a scalar takes with its quotes, 0 if it does
// not end there.
func quoted(line []rune, node *yaml.Node) int {
	switch {
	case node.Style&yaml.DoubleQuotedStyle != 0:
		for i := 1; i < len(line); i++ {
			switch line[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
	case node.Style&yaml.SingleQuotedStyle != 0:
		if end := slices.Index(line[1:], '\''); end >= 0 {
			return end + 2
		}
	case strings.HasPrefix(string(line), node.Value):
		return len([]rune(node.Value))
	}
	return 0
}

// lastLine returns the last line of a node, counted from 1.
func lastLine(node *yaml.Node) int {
	last := node.Line
	for _, child := range node.Content {
		last = max(last, lastLine(child))
	}
	return last
}

// pair returns the key and the value of a field, or nil.
func pair(node *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; node != nil && node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}

// setField sets a field of a block mapping: it replaces its value, or adds a line after
// the last one of the mapping. The value "" removes the line.
func (d *document) setField(node *yaml.Node, name, value, formatted string) error {
	key, old := pair(node, name)
	switch {
	case old != nil && value == "" && node.Style&yaml.FlowStyle == 0:
		d.line(key.Line - 1).removed = true
	case old != nil && old.Value != value:
		return d.set(old, value)
	case old == nil && value != "" && node.Style&yaml.FlowStyle == 0:
		indent := strings.Repeat(" ", node.Content[0].Column-1)
		edit := d.line(lastLine(node) - 1)
		edit.after = append(edit.after, indent+name+": "+formatted+"\n")
	case old == nil && value != "", old != nil && value == "":
		return fmt.Errorf("line %d: %s cannot be changed in a mapping between braces; write one field a line", node.Line, name)
	}
	return nil
}

// remove removes the lines of nodes, with the comments right above them.
func (d *document) remove(from, to *yaml.Node) {
	first := from.Line - 1
	for first > 0 && strings.HasPrefix(strings.TrimSpace(d.lines[first-1]), "#") {
		first--
	}
	for i := first; i < lastLine(to); i++ {
		d.line(i).removed = true
	}
}

// keep puts a copy of lines, counted from 1, in front of themselves.
func (d *document) keep(from, to int) {
	edit := d.line(from - 1)
	edit.before = append(edit.before, d.lines[from-1:to]...)
	if last := &edit.before[len(edit.before)-1]; !strings.HasSuffix(*last, "\n") {
		*last += "\n"
	}
}

func (d *document) bytes() []byte {
	var out strings.Builder
	for i, line := range d.lines {
		edit := d.edits[i]
		if edit == nil {
			out.WriteString(line)
			continue
		}
		slices.SortFunc(edit.words, func(a, b word) int { return b.from - a.from })
		for _, w := range edit.words {
			line = line[:w.from] + w.text + line[w.to:]
		}
		if len(edit.after) > 0 && !strings.HasSuffix(line, "\n") {
			line += "\n"
		}
		for _, text := range edit.before {
			out.WriteString(text)
		}
		if !edit.removed {
			out.WriteString(line)
		}
		for _, text := range edit.after {
			out.WriteString(text)
		}
	}
	return []byte(out.String())
}
