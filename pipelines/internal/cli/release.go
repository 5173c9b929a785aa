package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type releaseOptions struct {
	release.Options
	push   workspace.Switch
	hub    hubOptions
	images []string
	dryRun bool
}

func releaseCmd(a *app) *cobra.Command {
	var o releaseOptions
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Publish the release that the file VERSION names",
		Long: `Publish the release that the file VERSION names, made from the commit that is
checked out: merge the assets of the release sets for each architecture, push the
kata-deploy images and their index, and upload the tarballs, their size reports and
contents, the proofs, versions.yaml and SHA256SUMS to a draft release on GitHub. What users see changes last:
the tags of the images, then the release's page.

Nothing is built: every asset must be in the caches, and have a proof of
` + "`pipelines verify`" + ` that passed. All problems are listed at once.
Every step does only what is missing, so the next run finishes one that was killed.
What is published is not changed without --force.

The token in $GH_TOKEN or $GITHUB_TOKEN must be allowed to write contents; credentials
for registries are in the docker config. In GitHub Actions, $GITHUB_REPOSITORY names
the repository, and in Kata's CI, $KATA_DEPLOY_REGISTRIES those of the images.`,
		Example: `  # Show what would be released, and everything that prevents it.
  pipelines release --dry-run --github kata-containers/kata-containers --image none
  # Upload everything, but leave the release a draft.
  pipelines release --draft --github kata-containers/kata-containers --image quay.io/kata-containers/kata-deploy
  # Write the files of the release to build/release only.
  pipelines release --github none --image none`,
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error { return runRelease(ctx, a, ws, o) }),
	}
	o.flags(cmd.Flags(), a)
	return cmd
}

func (o *releaseOptions) flags(flags *pflag.FlagSet, a *app) {
	a.cacheFlag(flags)
	a.pushFlag(flags, &o.push, "push assets that the registry of --cache lacks, and tag them there as released")
	signFlag(flags)
	flags.StringSliceVar(&o.Only, "arch", nil, "architectures of the release (default: all that a release set has assets for)")
	flags.StringSliceVar(&o.Without, "without", nil, "assets to leave out of the release sets")
	flags.StringVarP(&o.Output, "output", "o", "", "folder for the files of the release (default: build/release in the root of the repository)")
	o.hub.flags(flags, a)
	flags.StringSliceVar(&o.images, "image", strings.Fields(a.Getenv("KATA_DEPLOY_REGISTRIES")), "repositories for the kata-deploy image, HOST/PATH, or none (default: $KATA_DEPLOY_REGISTRIES)")
	flags.StringVar(&o.Base, "base", "", "image to begin with, NAME@sha256:..., or scratch (default: that of "+catalog.ShimsFile+")")
	flags.StringVar(&o.Installer, "installer", "", "folder with a static program for each architecture, kata-deploy-GOARCH, that the images run, or none (default: that of the asset kata-deploy)")
	flags.BoolVar(&o.KeepDraft, "draft", false, "do not publish: leave the release a draft, and the images without its tags")
	flags.BoolVar(&o.Strict, "strict", false, "fail if a component exceeds its budget")
	flags.BoolVar(&o.Force, "force", false, "change what is published already")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the plan, and change nothing anywhere except the local cache")
	flags.BoolVar(&o.BeforeBuild, "before-build", false, "with --dry-run: accept assets that are still to be built or verified")
	a.jsonFlag(flags)
	flags.Lookup("image").DefValue = "[]"
}

// hubOptions name a repository on GitHub.
type hubOptions struct{ repository, api string }

func (o *hubOptions) flags(flags *pflag.FlagSet, a *app) {
	flags.StringVar(&o.repository, "github", a.Getenv("GITHUB_REPOSITORY"), "repository of the release, OWNER/NAME, or none (default: $GITHUB_REPOSITORY)")
	flags.StringVar(&o.api, "github-api", a.Getenv("GITHUB_API_URL"), "address of GitHub's API (default: $GITHUB_API_URL, or "+github.DefaultAPI+")")
	// The texts already name these defaults.
	flags.Lookup("github").DefValue, flags.Lookup("github-api").DefValue = "", ""
}

func (o hubOptions) open(a *app, ws *workspace.Workspace) (*github.Client, error) {
	token := cmp.Or(a.Getenv("GH_TOKEN"), a.Getenv("GITHUB_TOKEN"))
	hub, err := github.New(github.Options{API: o.api, Repository: o.repository, Token: token, Report: ws.Report})
	if err != nil {
		return nil, usage(fmt.Errorf("--github: %w", err))
	}
	return hub, nil
}

func runRelease(ctx context.Context, a *app, ws *workspace.Workspace, o releaseOptions) error {
	job, err := o.job(ctx, a, ws)
	if err != nil {
		return err
	}
	plan, err := job.Plan(ctx)
	if err != nil {
		return err
	}
	if o.dryRun {
		err := a.print(plan, releaseText(plan))
		if err == nil && plan.Err() != nil {
			err = errRefused
		}
		return err
	}
	released, err := plan.Execute(ctx)
	if err != nil {
		return err
	}
	switch {
	case released.Finished:
		ws.Report.Note("release", released.Version+" is already published, with all its files: nothing to do")
	case released.Draft:
		ws.Report.Note("release", released.Version+" is a draft: run this again without --draft to publish it")
	}
	if err := a.print(released, releasedText(released)); err != nil {
		return err
	}
	if a.json || released.Finished || a.Getenv("GITHUB_STEP_SUMMARY") == "" {
		return nil
	}
	notes, err := os.ReadFile(filepath.Join(job.Output, release.NotesName))
	if err != nil {
		return fmt.Errorf("reading the notes: %w", err)
	}
	return a.summarize(string(notes))
}

// nowhere means no destination in --github, --image and --installer.
const nowhere = "none"

// job returns what is released, and where.
func (o releaseOptions) job(ctx context.Context, a *app, ws *workspace.Workspace) (job *release.Job, err error) {
	switch {
	case o.BeforeBuild && !o.dryRun:
		return nil, usage(errors.New("--before-build: only a plan can be made before everything is built: add --dry-run"))
	case o.hub.repository == "" || len(o.images) == 0:
		return nil, usage(errors.New("say where to publish: --github OWNER/NAME and --image HOST/PATH, or none for either"))
	}
	if push, err := pushes(ws, o.push); err != nil {
		return nil, err
	} else if push {
		o.PushTo = ws.Registry
	}
	o.Remote = remote(a, ws)
	for _, name := range o.images {
		if name == nowhere {
			continue
		}
		repository, err := payload.OpenRepository(name, o.Remote)
		if err != nil {
			return nil, usage(fmt.Errorf("--image: %w (the release decides the tags)", err))
		}
		o.Repositories = append(o.Repositories, repository)
	}
	if o.hub.repository != nowhere {
		if o.GitHub, err = o.hub.open(a, ws); err != nil {
			return nil, err
		}
	}
	return release.New(ctx, ws, o.Options)
}

// releasedText lists the page, the files and the images of a release.
func releasedText(released release.Released) string {
	var lines []string
	if released.URL != "" {
		lines = append(lines, released.URL)
	}
	for _, file := range released.Files {
		lines = append(lines, workspace.Relative(file.Path))
	}
	for _, image := range released.Images {
		lines = append(lines, strings.Join(append([]string{image.Reference}, image.Tags...), " "))
	}
	return progress.PrintableLines(strings.Join(lines, "\n")) + "\n"
}

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
	switch {
	case image.Name == release.ChartName:
		what = "the chart"
	case image.GoArch != "":
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
