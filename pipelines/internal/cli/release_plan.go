package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
)

// errRefused ends a dry run that found reasons not to release; they are printed.
var errRefused = errors.New("this would not be released, for the problems above")

// plan prints what a release would do.
func (r *releasing) plan(ctx context.Context) error {
	planned, err := r.job.Plan(ctx, r.find)
	if err != nil {
		return err
	}
	if r.dirty != nil {
		planned.Problems = append(planned.Problems, fmt.Sprintf("refusing to release uncommitted changes: %v", r.dirty))
	}
	for _, problem := range r.problems() {
		planned.Problems = append(planned.Problems, problem.Error())
	}
	if r.pushing && !planned.Finished {
		planned.Cache = r.options.registry
	}
	if r.job.GitHub != nil && !r.job.GitHub.Authorized() {
		planned.Problems = append(planned.Problems, "no token: set GH_TOKEN or GITHUB_TOKEN; whether there is a draft cannot be seen without")
	}
	if r.options.json {
		err = printJSON(r.app.Stdout, planned)
	} else {
		err = printReleasePlan(r.app.Stdout, planned)
	}
	if err == nil && len(planned.Problems) > 0 {
		err = errRefused
	}
	return err
}

// find looks up assets, and what must be built for them.
func (r *releasing) find(ctx context.Context, names []string, arch catalog.Arch) ([]release.PlannedAsset, error) {
	plan, err := planner(ctx, r.ws, r.ws.Sources).Plan(ctx, names, arch)
	if err != nil {
		return nil, err
	}
	var assets []release.PlannedAsset
	for _, s := range plan.Steps {
		// What is in no set matters where it has to be built.
		if slices.Contains(names, s.Asset) || s.State != build.Hit {
			asset := release.PlannedAsset{
				Asset: s.Asset, Arch: s.Arch, State: string(s.State), Where: s.Where, Why: s.Why, Key: s.Key, Digest: s.Digest, Size: s.Size,
			}
			for _, absent := range s.Absent {
				if !absent.Pinned {
					asset.Problems = append(asset.Problems, absent.String())
				}
			}
			assets = append(assets, asset)
		}
	}
	return assets, nil
}

// printReleasePlan writes a plan for a person, in the order in which things would
// be done.
func printReleasePlan(w io.Writer, p release.Planned) error {
	var text strings.Builder
	of := "no commit"
	if p.Commit != "" {
		of = "commit " + p.Commit
	}
	fmt.Fprintf(&text, "release %s of %s\n", p.Version, of)
	if p.Finished {
		fmt.Fprintf(&text, "nothing to do: it is published, with all its files: %s\n", p.URL)
	}
	if err := errors.Join(printPlannedAssets(&text, p), printPlannedFiles(&text, p)); err != nil {
		return err
	}
	if p.Cache != "" {
		fmt.Fprintf(&text, "push the assets to the cache %s, those that it lacks\n", p.Cache)
	}
	for _, image := range p.Images {
		what := "the image for " + image.GoArch
		if image.GoArch == "" {
			what = "the index of all images"
		}
		fmt.Fprintf(&text, "push %s to %s: %s", what, image.Repository, strings.Join(image.Tags, ", "))
		if len(image.There) > 0 {
			fmt.Fprintf(&text, " (there already, of this commit: %s)", strings.Join(image.There, ", "))
		}
		fmt.Fprintln(&text)
	}
	switch p.Page {
	case "create":
		fmt.Fprintf(&text, "create a draft release on GitHub, unless there is one that the token does not show\n")
	case "change":
		fmt.Fprintf(&text, "bring the draft release up to date: %s\n", p.URL)
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

func printPlannedAssets(w io.Writer, p release.Planned) error {
	if len(p.Assets) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ASSET\tARCH\tSTATE\tWHERE\tSIZE\tWHY")
	for _, a := range p.Assets {
		size := "-"
		if a.Size > 0 {
			size = progress.Size(a.Size)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", a.Asset, a.Arch, a.State, orDash(a.Where), size, a.Why)
	}
	return table.Flush()
}

func printPlannedFiles(w io.Writer, p release.Planned) error {
	if len(p.Files) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FILE\tSIZE\tON GITHUB")
	for _, f := range p.Files {
		size := "-"
		switch {
		case f.Exact:
			size = progress.Size(f.Size)
		case f.Unknown > 0 && f.Size > 0:
			size = fmt.Sprintf("%s and %d unknown", progress.Size(f.Size), f.Unknown)
		case f.Size > 0:
			size = "about " + progress.Size(f.Size)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Name, size, orDash(string(f.Action)))
	}
	return table.Flush()
}
