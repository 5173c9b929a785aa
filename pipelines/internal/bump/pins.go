package bump

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// editPins writes the new version into the pins of an entry that have the old one.
func editPins(d *document, e versions.Entry, moved *Moved) error {
	steps := strings.Split(e.Pin, ".")
	parent := steps[:len(steps)-1]
	mapping := d.root.At(anys(parent)...).Node
	var changed []*yaml.Node
	for _, name := range []string{"version", "tag", "ref"} {
		key, value := pair(mapping, name)
		if value == nil || value.Value != e.Version || value.Value == moved.To {
			continue
		}
		if err := d.set(value, moved.To); err != nil {
			return err
		}
		changed = append(changed, key)
		moved.Pins = append(moved.Pins, strings.Join(append(slices.Clone(parent), name), "."))
	}
	if err := d.differ(mapping, changed, e.Version, moved.To); err != nil {
		return err
	}
	if moved.Rule == "" {
		moved.Rule = d.rule(parent)
	}
	return nil
}

// differ keeps Kata's value of the changed pins below differs: a pin that was Kata's now
// differs, and one that has Kata's value again does not.
func (d *document) differ(mapping *yaml.Node, changed []*yaml.Node, from, to string) error {
	if len(changed) == 0 {
		return nil
	}
	key, differs := pair(mapping, "differs")
	if differs != nil && (lastLine(differs) != key.Line || differs.Style&yaml.FlowStyle == 0) {
		return fmt.Errorf("line %d: write differs on one line, {pin: \"value\"}", key.Line)
	}
	text := differences(differs, changed, from, to)
	if differs != nil {
		return d.replaceField(mapping, key, text)
	}
	if text == "" {
		return nil
	}
	last := changed[0]
	for _, pin := range changed {
		if pin.Line >= last.Line && pin.Column >= last.Column {
			last = pin
		}
	}
	edit := d.line(last.Line - 1)
	if mapping.Style&yaml.FlowStyle == 0 {
		edit.after = append(edit.after, strings.Repeat(" ", last.Column-1)+text+"\n")
		return nil
	}
	_, value := pair(mapping, last.Value)
	_, end := d.span(value)
	edit.words = append(edit.words, word{end, end, ", " + text})
	return nil
}

// differences returns the field differs after a change of pins, "" if nothing differs.
func differences(differs *yaml.Node, changed []*yaml.Node, from, to string) string {
	var fields []string
	add := func(pin, kata string) {
		if kata != to || !slices.ContainsFunc(changed, func(c *yaml.Node) bool { return c.Value == pin }) {
			fields = append(fields, fmt.Sprintf("%s: %q", pin, kata))
		}
	}
	for i := 0; differs != nil && i+1 < len(differs.Content); i += 2 {
		add(differs.Content[i].Value, differs.Content[i+1].Value)
	}
	for _, pin := range changed {
		if _, known := pair(differs, pin.Value); known == nil {
			add(pin.Value, from)
		}
	}
	if len(fields) == 0 {
		return ""
	}
	return "differs: {" + strings.Join(fields, ", ") + "}"
}

func anys(list []string) (all []any) {
	for _, one := range list {
		all = append(all, one)
	}
	return all
}

var comment = regexp.MustCompile(`(^|\s)#.*$`)

// rule returns the comment "Bump: ..." above an entry, or above the one around it.
func (d *document) rule(steps []string) string {
	for ; len(steps) > 0; steps = steps[:len(steps)-1] {
		var lines []string
		for i := d.root.At(anys(steps)...).Line() - 2; i >= 0 && strings.HasPrefix(strings.TrimSpace(d.lines[i]), "#"); i-- {
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(d.lines[i]), "#")))
		}
		slices.Reverse(lines)
		if _, rule, ok := strings.Cut(strings.Join(lines, " "), "Bump: "); ok {
			return rule
		}
	}
	return ""
}

// stale returns a note for each comment near an edit that names the old version.
func (d *document) stale(old string) (notes []string) {
	if old == "" {
		return nil
	}
	for i, line := range d.lines {
		if strings.Contains(comment.FindString(strings.TrimSuffix(line, "\n")), old) && d.near(i) {
			notes = append(notes, fmt.Sprintf("%s: the comment names %s: read it again", strings.Replace(d.root.Pos(), ":"+strconv.Itoa(d.root.Line()), ":"+strconv.Itoa(i+1), 1), old))
		}
	}
	return notes
}

// near reports whether a line is in the paragraph of an edit.
func (d *document) near(i int) bool {
	for ; i < len(d.lines) && strings.TrimSpace(d.lines[i]) != ""; i++ {
		if d.edits[i] != nil {
			return true
		}
	}
	return false
}

// pins returns the pins that only the lock has for the new version: the commit of its tag.
// One that cannot be asked for is "", which the program refuses to build.
func (m *move) pins(ctx context.Context, moved *Moved) (map[string]string, error) {
	pins := map[string]string{}
	for name, old := range m.entry.Pins {
		if name != "commit" {
			return nil, fmt.Errorf("%s has the pin %s for %s, and only commits can be looked up: write the new version by hand", versions.LockFile, name, m.from)
		}
		url, err := m.Bumper.pins.Pin(m.entry.Path + ".url")
		if err != nil {
			return nil, err
		}
		tags, err := m.tags(ctx, url)
		if err == nil && tags[m.to.String()] == "" {
			err = fmt.Errorf("%s has no tag %s", url, m.to)
		}
		today := tags[m.from.String()]
		switch {
		case today != "" && old != "" && today != old:
			return nil, &MovedTagError{m.from.String(), url, old, today}
		case err == nil:
			pins[name] = tags[m.to.String()]
		case m.from.compare(m.to) == 0:
			pins[name] = old
			moved.Left = append(moved.Left, Silent{Place: "pin " + name, Why: err.Error()})
		default:
			return nil, fmt.Errorf("looking up the pin %s of %s: %w", name, m.to, err)
		}
	}
	return pins, nil
}
