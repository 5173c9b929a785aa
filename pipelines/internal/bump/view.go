package bump

import (
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/markdown"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Note says in a few words what a person should know about a pin.
func (s Status) Note() string {
	var parts []string
	if s.Why != "" {
		parts = append(parts, s.Why)
	}
	if s.Beyond != "" {
		parts = append(parts, fmt.Sprintf("%s is outside the series %s", s.Beyond, s.Series))
	}
	for _, silent := range s.Silent {
		parts = append(parts, silent.Source+" from "+silent.Place+" did not answer")
	}
	return strings.Join(parts, "; ")
}

// StatusMarkdown returns a table of pins.
func StatusMarkdown(list []Status) string {
	var text strings.Builder
	markdown.Table(&text, "pin", "version", "newest", "from", "note")
	for _, s := range list {
		markdown.Row(&text, markdown.Code(s.Pin), markdown.Code(s.Version), markdown.Code(s.Newest), markdown.Plain(strings.Join(s.Places, ", ")), markdown.Plain(s.Note()))
	}
	return text.String()
}

func (t Taken) remark() string {
	if t.Checked == "" {
		return "checked against nothing"
	}
	return "checked: " + t.Checked
}

func (s Silent) where() string { return strings.TrimSpace(s.Source + " " + s.Place) }

// Text returns what became of pins.
func Text(list []Moved) string {
	var text strings.Builder
	for _, m := range list {
		if m.Refused != "" {
			fmt.Fprintf(&text, "%s: stays at %s: %s\n", m.Pin, m.From, m.Refused)
			continue
		}
		fmt.Fprintf(&text, "%s: %s -> %s\n", m.Pin, m.From, m.To)
		for _, t := range m.Places {
			fmt.Fprintf(&text, "  %s from %s: %s, %s\n", t.Source, t.Place, t.Hash, t.remark())
		}
		for _, left := range m.Left {
			fmt.Fprintf(&text, "  left out: %s: %s\n", left.where(), left.Why)
		}
		for _, note := range m.Notes {
			fmt.Fprintf(&text, "  %s\n", note)
		}
		if m.Rule != "" {
			fmt.Fprintf(&text, "  rule: %s\n", m.Rule)
		}
	}
	return text.String()
}

// Markdown returns what became of pins, as the text of a pull request.
func Markdown(list []Moved) string {
	var text strings.Builder
	markdown.Table(&text, "pin", "from", "to")
	var details, refused strings.Builder
	for _, m := range list {
		if m.Refused != "" {
			fmt.Fprintf(&refused, "- %s at %s: %s\n", markdown.Code(m.Pin), markdown.Code(m.From), markdown.Plain(m.Refused))
			continue
		}
		markdown.Row(&text, markdown.Code(m.Pin), markdown.Code(m.From), markdown.Code(m.To))
		fmt.Fprintf(&details, "\n### %s\n\n", markdown.Plain(m.Pin))
		if m.Rule != "" {
			fmt.Fprintf(&details, "%s\n\n", markdown.Plain(m.Rule))
		}
		for _, t := range m.Places {
			fmt.Fprintf(&details, "- %s from %s: %s, %s\n", markdown.Plain(t.Source), markdown.Plain(t.Place), markdown.Code(t.Hash), markdown.Plain(t.remark()))
		}
		for _, left := range m.Left {
			fmt.Fprintf(&details, "- left out: %s: %s\n", markdown.Plain(left.where()), markdown.Plain(left.Why))
		}
		for _, note := range m.Notes {
			fmt.Fprintf(&details, "- %s\n", markdown.Plain(note))
		}
	}
	text.WriteString(details.String())
	if refused.Len() > 0 {
		fmt.Fprintf(&text, "\n### Not moved\n\n%s", refused.String())
	}
	return text.String()
}

// Behind returns an error that counts the pins that are behind, or nil.
func Behind(list []Status) error {
	behind := 0
	for _, s := range list {
		if s.Behind {
			behind++
		}
	}
	if behind == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d pins are behind: move them with `pipelines bump`, which edits versions.yaml and %s", behind, len(list), versions.LockFile)
}
