package release

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/markdown"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Notes hold the data of the text of a release.
type Notes struct {
	Released
	// Components are the assets in the release, of all architectures.
	Components []Component
	// Previous is the release before, "" for none; Pins are the changes since then,
	// or PinsUnknown says why they are not known.
	Previous    string
	Pins        []PinChange
	PinsUnknown string
}

// Markdown returns the text: the files, images and components with sizes and
// digests, and the pins that changed.
func (n Notes) Markdown() string {
	var text strings.Builder
	if n.Commit != "" {
		fmt.Fprintf(&text, "Kata Containers %s, built from commit %s.\n", n.Version, n.Commit)
	} else {
		fmt.Fprintf(&text, "Kata Containers %s.\n", n.Version)
	}
	n.files(&text)
	n.images(&text)
	n.components(&text)
	n.differences(&text)
	n.pins(&text)
	return text.String()
}

func (n Notes) files(text *strings.Builder) {
	if len(n.Files) == 0 {
		return
	}
	text.WriteString("\n### Files\n\n`sha256sum --check --ignore-missing SHA256SUMS` checks what was downloaded.\n\n")
	markdown.Table(text, "file", "size", "sha256")
	for _, file := range n.Files {
		markdown.Row(text, markdown.Code(file.Name), progress.Size(file.Size), markdown.Code(strings.TrimPrefix(file.Digest, "sha256:")))
	}
}

// images has a row for the index of each repository.
func (n Notes) images(text *strings.Builder) {
	var arches []string
	for _, image := range n.Images {
		if image.GoArch != "" && !slices.Contains(arches, image.GoArch) {
			arches = append(arches, image.GoArch)
		}
	}
	if len(n.Images) == 0 {
		return
	}
	text.WriteString("\n### Images\n\n")
	markdown.Table(text, "image", "architectures", "digest")
	for _, image := range n.Images {
		name, _, _ := strings.Cut(image.Reference, "@")
		switch {
		case image.Name == ChartName:
			markdown.Row(text, markdown.Code("oci://"+name+" --version "+n.Version), "Helm chart", markdown.Code(image.Digest))
		case image.GoArch == "":
			markdown.Row(text, markdown.Code(name+":"+n.Version), strings.Join(arches, ", "), markdown.Code(image.Digest))
		}
	}
}

// components has one table for each architecture: one for all would be too wide to
// read.
func (n Notes) components(text *strings.Builder) {
	components := slices.Clone(n.Components)
	slices.SortStableFunc(components, func(a, b Component) int {
		return cmp.Or(strings.Compare(a.Arch.GoArch(), b.Arch.GoArch()), strings.Compare(a.Asset, b.Asset))
	})
	for i, component := range components {
		if i == 0 {
			text.WriteString("\n### Components\n")
		}
		if i == 0 || component.Arch != components[i-1].Arch {
			if i > 0 {
				text.WriteString("\n</details>\n")
			}
			fmt.Fprintf(text, "\n<details><summary>%s</summary>\n\n", component.Arch.GoArch())
			markdown.Table(text, "component", "version", "size", "sha256", "key")
		}
		markdown.Row(text, markdown.Code(component.Asset), markdown.Plain(component.Version), progress.Size(component.Size),
			markdown.Code(strings.TrimPrefix(component.Digest, "sha256:")), markdown.Code(fmt.Sprintf("%.12s", component.Key)))
	}
	if len(components) > 0 {
		text.WriteString("\n</details>\n")
	}
}

// differences has a row for each pin of a component that is not Kata's.
func (n Notes) differences(text *strings.Builder) {
	var all []versions.Difference
	assets := map[string][]string{}
	for _, c := range n.Components {
		for _, d := range c.Differs {
			if !slices.Contains(assets[d.Pin], c.Asset) {
				assets[d.Pin] = append(assets[d.Pin], c.Asset)
			}
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return
	}
	text.WriteString("\n### Not the versions that Kata Containers pins\n\n")
	markdown.Table(text, "pin", "built here", "pinned by Kata", "components")
	slices.SortFunc(all, func(a, b versions.Difference) int { return strings.Compare(a.Pin, b.Pin) })
	for _, d := range slices.Compact(all) {
		markdown.Row(text, markdown.Code(d.Pin), markdown.Code(d.Value), markdown.Code(d.Kata), strings.Join(slices.Sorted(slices.Values(assets[d.Pin])), ", "))
	}
}

func (n Notes) pins(text *strings.Builder) {
	if n.Previous == "" {
		return
	}
	fmt.Fprintf(text, "\n### Changes in versions.yaml since %s\n\n", n.Previous)
	switch {
	case n.PinsUnknown != "":
		fmt.Fprintf(text, "Not known: %s.\n", markdown.Plain(n.PinsUnknown))
		return
	case len(n.Pins) == 0:
		text.WriteString("None.\n")
		return
	}
	markdown.Table(text, "pin", n.Previous, n.Version)
	for _, change := range n.Pins {
		markdown.Row(text, markdown.Code(change.Path), markdown.Code(change.Before), markdown.Code(change.After))
	}
}

func (r *run) writeNotes(ctx context.Context) error {
	notes := Notes{Released: r.released, Components: r.job.Components}
	if r.plan.previous != nil {
		notes.Previous = r.plan.previous.Tag
		notes.Pins, notes.PinsUnknown = r.plan.pins(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.notes = notes.Markdown()
	return files.Write(filepath.Join(r.job.Output, NotesName), []byte(r.notes), 0o644)
}

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
		was, _ := before.Pin(path) // The value of a missing pin is "".
		is, _ := after.Pin(path)
		if was != is {
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

// SpliceNotes puts a generated text in the place of the earlier one in the text of a
// release, or at its end if there is none. Text that people wrote before and after it
// stays.
func SpliceNotes(there, generated string) string {
	// GitHub's editor ends lines with CRLF.
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
