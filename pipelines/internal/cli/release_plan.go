package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
)

// errRefused ends a dry run that found problems; they are printed.
var errRefused = errors.New("the problems above prevent this release")

// releaseText describes a plan to a person, in the order of its steps.
func releaseText(p *release.Plan) string {
	var text strings.Builder
	of := "no commit"
	if p.Commit != "" {
		of = "commit " + p.Commit
	}
	fmt.Fprintf(&text, "release %s of %s\n", p.Version, of)
	if p.Finished {
		fmt.Fprintf(&text, "nothing to do: it is published, with all its files: %s\n", p.URL)
	}
	if len(p.Components) > 0 {
		text.WriteString(table(p.Components, "ASSET\tARCH\tSTATE\tWHERE\tSIZE\tPROOF", componentRow))
	}
	if len(p.Files) > 0 {
		text.WriteString(table(p.Files, "FILE\tSIZE\tON GITHUB", fileRow))
	}
	if p.Cache != "" {
		fmt.Fprintf(&text, "push the assets that the registry %s lacks, and tag them\n", p.Cache)
	}
	for _, image := range p.Images {
		text.WriteString(imageText(image))
	}
	switch p.Page {
	case "create":
		fmt.Fprintln(&text, "create a draft release on GitHub")
	case "change":
		fmt.Fprintf(&text, "update the draft release: %s\n", p.URL)
	}
	switch {
	case p.Publish && p.Latest:
		fmt.Fprintln(&text, "publish it, as the latest release")
	case p.Publish && p.Page != "":
		fmt.Fprintln(&text, "publish it, not as the latest release")
	}
	for _, problem := range p.Problems {
		fmt.Fprintf(&text, "problem: %s\n", problem)
	}
	return progress.PrintableLines(text.String()) + "\n"
}

func imageText(image release.PlannedImage) string {
	what, there := "the index of all images", ""
	if image.GoArch != "" {
		what = "the image for " + image.GoArch
	}
	if len(image.There) > 0 {
		there = fmt.Sprintf(" (already there: %s)", strings.Join(image.There, ", "))
	}
	return fmt.Sprintf("push %s to %s: %s%s\n", what, image.Repository, strings.Join(image.Tags, ", "), there)
}

func componentRow(c release.Component) string {
	proof := "-"
	switch {
	case c.Unproven != "":
		proof = "missing"
	case c.Size > 0:
		proof = "passed"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", c.Asset, c.Arch, c.State, dash(c.Where), sizeOrDash(c.Size), proof)
}

func fileRow(f release.File) string {
	about := ""
	if f.Size > 0 && !f.Exact {
		about = "about "
	}
	return fmt.Sprintf("%s\t%s%s\t%s", f.Name, about, sizeOrDash(f.Size), dash(string(f.Action)))
}
