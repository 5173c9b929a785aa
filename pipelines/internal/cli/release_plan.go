package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
)

// errRefused ends a dry run that found problems; they are printed.
var errRefused = errors.New("this would not be released because of the problems above")

// print writes a plan. Its problems are an error.
func (o releaseOptions) print(w io.Writer, plan *release.Plan) (err error) {
	if o.json {
		err = printJSON(w, plan)
	} else {
		err = printReleasePlan(w, plan)
	}
	if err == nil && plan.Err() != nil {
		err = errRefused
	}
	return err
}

// printReleasePlan writes a plan for a person, in the order in which things are done.
func printReleasePlan(w io.Writer, p *release.Plan) error {
	var text strings.Builder
	of := "no commit"
	if p.Commit != "" {
		of = "commit " + p.Commit
	}
	fmt.Fprintf(&text, "release %s of %s\n", p.Version, of)
	if p.Finished {
		fmt.Fprintf(&text, "nothing to do: it is published, with all its files: %s\n", p.URL)
	}
	if err := errors.Join(printComponents(&text, p), printFiles(&text, p)); err != nil {
		return err
	}
	if p.Cache != "" {
		fmt.Fprintf(&text, "push the assets that the registry %s lacks, and tag them\n", p.Cache)
	}
	for _, image := range p.Images {
		what := "the image for " + image.GoArch
		if image.GoArch == "" {
			what = "the index of all images"
		}
		fmt.Fprintf(&text, "push %s to %s: %s", what, image.Repository, strings.Join(image.Tags, ", "))
		if len(image.There) > 0 {
			fmt.Fprintf(&text, " (already there: %s)", strings.Join(image.There, ", "))
		}
		fmt.Fprintln(&text)
	}
	switch p.Page {
	case "create":
		fmt.Fprintf(&text, "create a draft release on GitHub\n")
	case "change":
		fmt.Fprintf(&text, "update the draft release: %s\n", p.URL)
	}
	switch {
	case p.Publish && p.Latest:
		fmt.Fprintf(&text, "publish it, as the latest release\n")
	case p.Publish && p.Page != "":
		fmt.Fprintf(&text, "publish it, not as the latest release\n")
	}
	for _, problem := range p.Problems {
		fmt.Fprintf(&text, "problem: %s\n", problem)
	}
	_, err := io.WriteString(w, progress.PrintableLines(text.String())+"\n")
	return err
}

func printComponents(w io.Writer, p *release.Plan) error {
	if len(p.Components) == 0 {
		return nil
	}
	return printList(w, false, p.Components, "ASSET\tARCH\tSTATE\tWHERE\tSIZE\tPROOF", func(c release.Component) string {
		size, proof := "-", "-"
		if c.Size > 0 {
			size, proof = progress.Size(c.Size), "passed"
		}
		if c.Unproven != "" {
			proof = "missing"
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", c.Asset, c.Arch, c.State, orDash(c.Where), size, proof)
	})
}

func printFiles(w io.Writer, p *release.Plan) error {
	if len(p.Files) == 0 {
		return nil
	}
	return printList(w, false, p.Files, "FILE\tSIZE\tON GITHUB", func(f release.File) string {
		size := "-"
		switch {
		case f.Exact:
			size = progress.Size(f.Size)
		case f.Size > 0:
			size = "about " + progress.Size(f.Size)
		}
		return fmt.Sprintf("%s\t%s\t%s", f.Name, size, orDash(string(f.Action)))
	})
}
