package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	engine    engineOptions
	registry  string
	push      pushFlag
	arches    []string
	without   []string
	output    string
	github    string
	api       string
	images    []string
	base      string
	installer string
	offline   bool
	draft     bool
	strict    bool
	force     bool
	dryRun    bool
	json      bool
}

func releaseCmd(a *app) *cobra.Command {
	var o releaseOptions
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Make the release that the file VERSION names, and publish it",
		Long: `Make the release that the file VERSION names, of the commit that is checked out:
take the assets of the release sets from the caches or build them, merge them for
each architecture, push the kata-deploy images and the index of them, and upload the
tarballs, their size reports, versions.yaml and SHA256SUMS to a draft release on
GitHub. What users see comes last: the tags of the images, then the release's page.

Every step does only what is missing, so a run that broke off or was killed is
finished by the next one. What is published is not changed without --force.

The token is that of $GH_TOKEN or $GITHUB_TOKEN and needs to write contents; who may
push images is in the docker config. In GitHub Actions the release is that of
$GITHUB_REPOSITORY, and of Kata's CI it knows $KATA_DEPLOY_REGISTRIES.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runRelease(cmd.Context(), a, o) },
	}
	o.flags(cmd.Flags(), a)
	return cmd
}

func (o *releaseOptions) flags(flags *pflag.FlagSet, a *app) {
	o.engine.flags(flags)
	cacheFlag(flags, a, &o.registry)
	o.push.add(flags, "push assets to the registry of --cache that it lacks")
	flags.StringSliceVar(&o.arches, "arch", nil, "architectures of the release (default: all that a release set has assets for)")
	flags.StringSliceVar(&o.without, "without", nil, "assets to leave out of the release sets")
	flags.StringVarP(&o.output, "output", "o", "", "folder for what is released (default: build/release in the root of the repository)")
	flags.StringVar(&o.github, "github", a.Getenv("GITHUB_REPOSITORY"), "repository to release in, OWNER/NAME, or none (default: $GITHUB_REPOSITORY)")
	flags.StringVar(&o.api, "github-api", a.Getenv("GITHUB_API_URL"), "address of GitHub's API (default: $GITHUB_API_URL, or "+github.DefaultAPI+")")
	flags.StringSliceVar(&o.images, "image", strings.Fields(a.Getenv("KATA_DEPLOY_REGISTRIES")), "repositories for the kata-deploy image, HOST/PATH, or none (default: $KATA_DEPLOY_REGISTRIES)")
	flags.StringVar(&o.base, "base", "", "image to begin with, NAME@sha256:..., or scratch (default: that of "+catalog.ShimsFile+")")
	flags.StringVar(&o.installer, "installer", "", "folder with a static program for each architecture, kata-deploy-GOARCH, that the images run, or none (needed for --image)")
	flags.BoolVar(&o.offline, "offline", false, "take what builds need from the caches alone: the local one, and the registry of --cache")
	flags.BoolVar(&o.draft, "draft", false, "do not publish: leave the release a draft, and the images without its tags")
	flags.BoolVar(&o.strict, "strict", false, "fail where a component is over its budget")
	flags.BoolVar(&o.force, "force", false, "change what is published already")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say all that would be done, and change nothing anywhere")
	flags.BoolVar(&o.json, "json", false, "print the result, or the plan, as JSON")
	// The texts say where these come from.
	flags.Lookup("github").DefValue, flags.Lookup("github-api").DefValue, flags.Lookup("image").DefValue = "", "", "[]"
}

func runRelease(ctx context.Context, a *app, o releaseOptions) error {
	ws, err := a.open(ctx, o.registry)
	if err != nil {
		return err
	}
	defer ws.Close()
	r, err := o.releasing(ctx, a, ws)
	if err != nil {
		return err
	}
	if o.dryRun {
		return r.plan(ctx)
	}
	if r.dirty != nil {
		return fmt.Errorf("refusing to release uncommitted changes: %w", r.dirty)
	}
	if err := errors.Join(r.problems()...); err != nil {
		return err
	}
	released, err := r.job.Run(ctx)
	if err != nil {
		return err
	}
	return r.print(released)
}

// releasing is a release that is about to be made.
type releasing struct {
	payloads
	options releaseOptions
	pushing bool
	job     *release.Job
}

// releasing puts together what a release needs.
func (o releaseOptions) releasing(ctx context.Context, a *app, ws *workspace.Workspace) (*releasing, error) {
	r := &releasing{options: o, payloads: payloads{app: a, ws: ws}}
	pushing, err := o.push.wanted(ws)
	if err != nil {
		return nil, err
	}
	r.pushing = pushing
	assets, err := ws.CatalogWithout(o.without)
	if err != nil {
		return nil, err
	}
	arches, err := r.chosen(assets)
	if err != nil {
		return nil, err
	}
	version, err := ws.Version()
	if err != nil {
		return nil, err
	}
	if err := r.of(ctx, assets, arches); err != nil {
		return nil, err
	}
	if r.options.output == "" {
		r.options.output = filepath.Join(ws.Root, "build", "release")
	}
	if r.options.output, err = filepath.Abs(r.options.output); err != nil {
		return nil, err
	}
	pins, err := os.ReadFile(filepath.Join(ws.Root, "versions.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the pins: %w", err)
	}
	r.job = &release.Job{
		Version: version, Commit: r.commit, Arches: arches, Catalog: assets, Pins: pins, Versions: ws.Resolver.Versions,
		Output: r.options.output, Cache: ws.Cache,
		Tarballs: r.tarballs, Image: r.image, PayloadSet: payloadSet,
		Labels: payload.Labels{Version: version, Revision: r.commit, Created: r.created, Source: sourceAddress},
		Strict: o.strict, Force: o.force, KeepDraft: o.draft, Report: ws.Report,
	}
	return r, r.targets()
}

// chosen returns the architectures of the release, in a fixed order.
func (r *releasing) chosen(assets *catalog.Catalog) ([]catalog.Arch, error) {
	has := func(arch catalog.Arch) bool {
		return slices.ContainsFunc(assets.Sets, func(set catalog.Set) bool { return len(set.Components[arch]) > 0 })
	}
	wanted := map[catalog.Arch]bool{}
	for _, name := range r.options.arches {
		arch, err := catalog.ParseArch(strings.TrimSpace(name))
		if err != nil {
			return nil, usage(fmt.Errorf("--arch: %w", err))
		}
		if !has(arch) {
			return nil, usage(fmt.Errorf("--arch %s: no release set has assets on it", arch))
		}
		wanted[arch] = true
	}
	var arches []catalog.Arch
	for _, arch := range catalog.Arches() {
		if has(arch) && (wanted[arch] || len(r.options.arches) == 0) {
			arches = append(arches, arch)
		}
	}
	if len(arches) == 0 {
		return nil, fmt.Errorf("nothing to release: %s has no assets in any set", catalog.SetsFile)
	}
	return arches, nil
}

// of finds the commit that everything is of: the assets, and what says what is made
// of them.
func (r *releasing) of(ctx context.Context, assets *catalog.Catalog, arches []catalog.Arch) error {
	names := map[catalog.Arch][]string{}
	for _, arch := range arches {
		for _, set := range assets.Sets {
			names[arch] = append(names[arch], set.Components[arch]...)
		}
	}
	return r.findCommit(ctx, names)
}

// print writes the result: the page, the files, the images.
func (r *releasing) print(released release.Released) error {
	if r.options.json {
		return printJSON(r.app.Stdout, released)
	}
	var text strings.Builder
	switch {
	case released.Finished:
		r.ws.Report.Note("release", released.Version+" is published already, with all its files: nothing to do")
	case released.Draft:
		r.ws.Report.Note("release", released.Version+" is a draft: run it again without --draft to publish it")
	}
	if released.URL != "" {
		fmt.Fprintln(&text, released.URL)
	}
	for _, file := range released.Files {
		fmt.Fprintln(&text, workspace.Relative(file.Path))
	}
	for _, image := range released.Images {
		fmt.Fprintln(&text, strings.Join(append([]string{image.Reference}, image.Tags...), " "))
	}
	if _, err := io.WriteString(r.app.Stdout, progress.PrintableLines(text.String())+"\n"); err != nil {
		return err
	}
	return r.summarize(released)
}

// summarize adds the notes to the summary of a step of GitHub Actions.
func (r *releasing) summarize(released release.Released) error {
	if released.Finished || r.app.Getenv("GITHUB_STEP_SUMMARY") == "" {
		return nil
	}
	notes, err := os.ReadFile(filepath.Join(r.options.output, release.NotesName))
	if err != nil {
		return fmt.Errorf("reading the notes: %w", err)
	}
	return r.app.summarize(string(notes))
}
