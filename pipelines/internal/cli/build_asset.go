package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

type buildAssetOptions struct {
	*treeOptions
	engineOptions
	cacheOptions
	pushOptions
	arch    string
	set     string
	without []string
	output  string
	place   string
	sources map[string]string
	offline bool
	rebuild bool
	json    bool
}

func buildAssetCmd(process Process, tree *treeOptions) *cobra.Command {
	o := buildAssetOptions{treeOptions: tree}
	cmd := &cobra.Command{
		Use:   "build-asset NAME...|--set SET",
		Short: "Build assets, or take them from the cache",
		Long: `Put kata-static-NAME.tar.zst into the output folder: from the cache where an
artifact of the same inputs is in it, the local one or the registry of --cache,
else built in a Dagger engine. Prints the path of each tarball.

Of Kata's CI it knows the variables ARTEFACT_REGISTRY, ARTEFACT_REPOSITORY,
ARTEFACT_REGISTRY_USERNAME, ARTEFACT_REGISTRY_PASSWORD, PUSH_TO_REGISTRY,
USE_CACHE (no: build everything anew), TARGET_BRANCH and RELEASE.`,
		Args: arguments(func(cmd *cobra.Command, args []string) error {
			switch {
			case o.set == "" && len(o.without) > 0:
				return errors.New("--without leaves assets out of a set: give it with --set")
			case o.set == "":
				return cobra.MinimumNArgs(1)(cmd, args)
			case len(args) > 0:
				return errors.New("give names or --set, not both")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error { return runBuildAsset(cmd.Context(), process, o, args) },
	}
	flags := cmd.Flags()
	archFlag(flags, &o.arch)
	o.engineOptions.flags(flags)
	o.cacheOptions.flags(flags, process)
	o.pushOptions.flags(flags)
	flags.StringVar(&o.set, "set", "", "build the assets of this release set")
	flags.StringSliceVar(&o.without, "without", nil, "assets to leave out of the release set")
	flags.StringVarP(&o.output, "output", "o", "", "folder for the tarballs and logs/ (default: build in the root of the repository)")
	flags.StringVar(&o.place, "place", "", "take sources from the place of this name alone")
	sourceFlag(flags, &o.sources)
	flags.BoolVar(&o.offline, "offline", false, "take what a build needs from the caches alone: the local one, and the registry of --cache")
	flags.BoolVar(&o.rebuild, "rebuild-check", false, "build again without any cache and compare the bytes")
	flags.BoolVar(&o.json, "json", false, "print the results as JSON")
	return cmd
}

func runBuildAsset(ctx context.Context, process Process, o buildAssetOptions, names []string) error {
	tree, err := o.load(process.Stderr)
	if err != nil {
		return err
	}
	arch, err := tree.find(names, o.arch)
	if err == nil && o.set != "" {
		names, err = tree.assetsOf(o.set, arch, o.without)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(checkSources(tree, names, arch, o.sources), checkPlace(tree, names, arch, o.place)); err != nil {
		return err
	}
	if o.output == "" {
		o.output = filepath.Join(tree.root, "build")
	}
	if o.output, err = filepath.Abs(o.output); err != nil {
		return err
	}
	cache, err := o.cacheDir()
	if err != nil {
		return err
	}
	report := process.reporter()
	defer report.Close()
	tiered, err := o.tiered(process, cache, report)
	if err != nil {
		return err
	}
	publish, err := o.publisher(ctx, process, tree, names, arch, tiered)
	if err != nil {
		return err
	}
	builder := &builder{options: o, process: process, root: tree.root, cache: cache, report: report, tiered: tiered, pushing: publish != nil}
	nonce := ""
	if tiered.Fresh {
		nonce = rand.Text() // the engine has a cache of its own
	}
	scheduler := build.Scheduler{
		Catalog:  tree.catalog,
		Resolver: tree.resolver,
		Store:    tiered,
		Builder:  builder.container(nonce, "logs"),
		Publish:  publish,
		Parallel: parallel(process),
		Output:   o.output,
		Scratch:  filepath.Join(cache, "work"),
	}
	if o.rebuild {
		scheduler.Rebuild = builder.container(rand.Text(), filepath.Join("logs", "rebuild"))
	}
	results, err := scheduler.Build(ctx, names, arch)
	for _, result := range results {
		report.Note(result.Asset, describe(result))
	}
	return errors.Join(err, printResults(process.Stdout, results, o.json), summarize(process.Getenv("GITHUB_STEP_SUMMARY"), results))
}

// assetsOf returns the assets of a release set on an architecture, but for some.
func (t *tree) assetsOf(name string, arch catalog.Arch, without []string) ([]string, error) {
	reduced, err := t.catalogWithout(without)
	if err != nil {
		return nil, err
	}
	set, err := reduced.FindSet(name)
	if err != nil {
		return nil, usage(err)
	}
	names, err := set.On(arch)
	return names, usage(err)
}

// parallel is how many builds run at once: one for every eight processors, since
// each of them uses all it gets for most of its time. The folding groups of
// GitHub Actions cannot show two at once.
func parallel(process Process) int {
	if process.mode() == progress.GitHub {
		return 1
	}
	return max(1, runtime.NumCPU()/8)
}

// checkSources refuses a --source that no asset of the build has, or whose file
// cannot be read.
func checkSources(tree *tree, names []string, arch catalog.Arch, sources map[string]string) error {
	closure, err := tree.catalog.Closure(names, arch)
	if err != nil {
		return usage(err)
	}
	var known []string
	for _, asset := range closure {
		known = slices.AppendSeq(known, maps.Keys(asset.Sources))
	}
	slices.Sort(known)
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		if !slices.Contains(known, name) {
			return usage(fmt.Errorf("--source %s: the build has no source of that name%s; it has %s",
				name, nearest.Hint(name, known), dash(slices.Compact(known))))
		}
		if _, err := os.Stat(sources[name]); err != nil {
			return usage(fmt.Errorf("--source %s: %w", name, err))
		}
	}
	return nil
}

// summarize appends the results to the summary of a step of GitHub Actions.
func summarize(path string, results []build.Result) error {
	if path == "" || len(results) == 0 {
		return nil
	}
	var text strings.Builder
	text.WriteString("| asset | arch | result | size | sha256 | key |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		fmt.Fprintf(&text, "| %s | %s | %s | %s | `%s` | `%s` |\n", r.Asset, r.Arch, how(r), progress.Size(r.Size), strings.TrimPrefix(r.Digest, "sha256:"), r.Key)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("writing the step summary: %w", err)
	}
	_, err = file.WriteString(text.String())
	return errors.Join(err, file.Close())
}

func describe(result build.Result) string {
	return fmt.Sprintf("%s: %s, %s, key %s", how(result), progress.Size(result.Size), result.Digest, result.Key[:12])
}

func how(result build.Result) string {
	text := "built"
	if result.Cached {
		text = "from the cache"
	}
	if !result.Changed {
		text += ", already in place"
	}
	if result.Reproduced {
		text += ", reproduced"
	}
	return text
}

func printResults(w io.Writer, results []build.Result, asJSON bool) error {
	if asJSON {
		return printJSON(w, results)
	}
	for _, result := range results {
		if _, err := fmt.Fprintln(w, relative(result.Path)); err != nil {
			return err
		}
	}
	return nil
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// builder puts together what a build needs.
type builder struct {
	options     buildAssetOptions
	process     Process
	root, cache string
	report      *progress.Reporter
	tiered      *store.Tiered
	pushing     bool
}

// container returns the Builder; see build.Container for the nonce. Logs is a
// folder in that of the outputs.
func (b *builder) container(nonce, logs string) *build.Container {
	sources := newFetcher(b.cache, b.tiered.Registry)
	sources.Offline, sources.Place, sources.Local = b.options.offline, b.options.place, b.options.sources
	bases := &debian.Bootstrapper{Dir: filepath.Join(b.cache, "bases")}
	return &build.Container{
		Sources:  sources,
		Builders: &store.Builders{Local: b.tiered.Local, Registry: b.tiered.Registry, Push: b.pushing},
		Ready: func(ctx context.Context) error {
			return b.options.finder(b.process, b.root, b.cache, io.Discard).Ready(ctx)
		},
		Connect: b.connect,
		Base: func(ctx context.Context, builder recipe.Builder, arch string, log io.Writer) (string, string, error) {
			return bases.Base(ctx, builder.Suite, catalog.Arch(arch).Debian(), builder.Epoch, log)
		},
		Secret: func(name string) (string, bool) {
			value := b.process.Getenv(name)
			return value, value != ""
		},
		Offline: b.options.offline,
		Nonce:   nonce,
		Work:    filepath.Join(b.cache, "work"),
		Logs:    filepath.Join(b.options.output, logs),
		Report:  b.report,
	}
}

// connect opens a session for one build; the first has the engine started.
func (b *builder) connect(ctx context.Context, log io.Writer, note func(string)) (*engine.Session, error) {
	finder := b.options.finder(b.process, b.root, b.cache, log)
	finder.Note, finder.Manager.Note = note, note
	endpoint, err := finder.Find(ctx)
	if err != nil {
		return nil, err
	}
	return engine.Connect(ctx, endpoint)
}

// isRoot says whether the program runs as root.
func isRoot() bool { return os.Geteuid() == 0 }
