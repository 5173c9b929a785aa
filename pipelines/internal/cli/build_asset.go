package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type buildAssetOptions struct {
	engine     engineOptions
	selection  workspace.Selection
	registry   string
	push       pushFlag
	allowDirty bool
	output     string
	place      string
	sources    map[string]string
	offline    bool
	rebuild    bool
	json       bool
}

func buildAssetCmd(a *app) *cobra.Command {
	var o buildAssetOptions
	cmd := &cobra.Command{
		Use:   "build-asset NAME...|--set SET|--all",
		Short: "Build assets, or take them from the cache",
		Long: `Put kata-static-NAME.tar.zst into the output folder: from the cache where an
artifact of the same inputs is in it, the local one or the registry of --cache,
else built in a Dagger engine. Prints the path of each tarball.

Of Kata's CI it knows the variables ARTEFACT_REGISTRY, ARTEFACT_REPOSITORY,
ARTEFACT_REGISTRY_USERNAME, ARTEFACT_REGISTRY_PASSWORD, PUSH_TO_REGISTRY,
USE_CACHE (no: build everything anew), TARGET_BRANCH and RELEASE.`,
		Args: selected(&o.selection, false),
		RunE: func(cmd *cobra.Command, _ []string) error { return runBuildAsset(cmd.Context(), a, o) },
	}
	flags := cmd.Flags()
	selectionFlags(flags, &o.selection)
	o.engine.flags(flags)
	cacheFlag(flags, a, &o.registry)
	o.push.add(flags, "push to the registry of --cache what it lacks")
	allowDirtyFlag(flags, &o.allowDirty)
	flags.StringVarP(&o.output, "output", "o", "", "folder for the tarballs and logs/ (default: build in the root of the repository)")
	flags.StringVar(&o.place, "place", "", "take sources from the place of this name alone")
	sourceFlag(flags, &o.sources)
	flags.BoolVar(&o.offline, "offline", false, "take what a build needs from the caches alone: the local one, and the registry of --cache")
	flags.BoolVar(&o.rebuild, "rebuild-check", false, "build again without any cache and compare the bytes")
	flags.BoolVar(&o.json, "json", false, "print the results as JSON")
	return cmd
}

func runBuildAsset(ctx context.Context, a *app, o buildAssetOptions) error {
	ws, err := a.open(ctx, o.registry)
	if err != nil {
		return err
	}
	defer ws.Close()
	names, arch, err := ws.Select(o.selection)
	if err != nil {
		return err
	}
	if err := errors.Join(ws.CheckSources(names, arch, o.sources), ws.CheckPlace(names, arch, o.place)); err != nil {
		return err
	}
	if o.output == "" {
		o.output = filepath.Join(ws.Root, "build")
	}
	if o.output, err = filepath.Abs(o.output); err != nil {
		return err
	}
	builder := &builder{app: a, ws: ws, engine: o.engine, output: o.output, place: o.place, sources: o.sources, offline: o.offline}
	if builder.pushing, err = o.push.wanted(ws); err != nil {
		return err
	}
	var publish func(context.Context, store.Artifact) error
	if builder.pushing {
		if publish, err = publisher(ctx, ws, names, arch, o.allowDirty); err != nil {
			return err
		}
	}
	scheduler := builder.scheduler(o.output, publish)
	if o.rebuild {
		scheduler.Rebuild = builder.container(rand.Text(), filepath.Join("logs", "rebuild"))
	}
	results, err := scheduler.Build(ctx, names, arch)
	for _, result := range results {
		ws.Report.Note(result.Asset, describe(result))
	}
	return errors.Join(err, printResults(a.Stdout, results, o.json), a.summarize(resultsMarkdown(results)))
}

// parallel is how many builds run at once: one for every eight processors, since
// each of them uses all it gets for most of its time. The folding groups of
// GitHub Actions cannot show two at once.
func parallel(a *app) int {
	if a.mode() == progress.GitHub {
		return 1
	}
	return max(1, runtime.NumCPU()/8)
}

// resultsMarkdown returns the results for the summary of a step.
func resultsMarkdown(results []build.Result) string {
	if len(results) == 0 {
		return ""
	}
	var text strings.Builder
	text.WriteString("| asset | arch | result | size | sha256 | key |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		fmt.Fprintf(&text, "| %s | %s | %s | %s | `%s` | `%s` |\n", r.Asset, r.Arch, how(r), progress.Size(r.Size), strings.TrimPrefix(r.Digest, "sha256:"), r.Key)
	}
	return text.String()
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
		if _, err := fmt.Fprintln(w, workspace.Relative(result.Path)); err != nil {
			return err
		}
	}
	return nil
}

// builder puts together what builds need.
type builder struct {
	app           *app
	ws            *workspace.Workspace
	engine        engineOptions
	output, place string
	sources       map[string]string
	offline       bool
	pushing       bool
}

// scheduler builds into a folder; publish may be nil.
func (b *builder) scheduler(output string, publish func(context.Context, store.Artifact) error) build.Scheduler {
	nonce := ""
	if b.ws.Store.Fresh {
		nonce = rand.Text() // the engine has a cache of its own
	}
	return build.Scheduler{
		Catalog:  b.ws.Catalog,
		Resolver: b.ws.Resolver,
		Store:    b.ws.Store,
		Builder:  b.container(nonce, "logs"),
		Publish:  publish,
		Parallel: parallel(b.app),
		Output:   output,
		Scratch:  filepath.Join(b.ws.Cache, "work"),
	}
}

// container returns the Builder; see build.Container for the nonce. Logs is a
// folder in that of the outputs.
func (b *builder) container(nonce, logs string) *build.Container {
	sources := *b.ws.Sources
	sources.Offline, sources.Place, sources.Local = b.offline, b.place, b.sources
	bases := &debian.Bootstrapper{Dir: filepath.Join(b.ws.Cache, "bases")}
	return &build.Container{
		Sources:  &sources,
		Builders: &store.Builders{Local: b.ws.Store.Local, Registry: b.ws.Store.Registry, Push: b.pushing},
		Ready: func(ctx context.Context) error {
			return b.engine.finder(b.app, b.ws.Folders, io.Discard).Ready(ctx)
		},
		Connect: b.connect,
		Base: func(ctx context.Context, builder recipe.Builder, arch string, log io.Writer) (string, string, error) {
			return bases.Base(ctx, builder.Suite, catalog.Arch(arch).Debian(), builder.Epoch, log)
		},
		Secret: func(name string) (string, bool) {
			value := b.app.Getenv(name)
			return value, value != ""
		},
		Offline: b.offline,
		Nonce:   nonce,
		Work:    filepath.Join(b.ws.Cache, "work"),
		Logs:    filepath.Join(b.output, logs),
		Report:  b.ws.Report,
	}
}

// connect opens a session for one build; the first has the engine started.
func (b *builder) connect(ctx context.Context, log io.Writer, note func(string)) (*engine.Session, error) {
	finder := b.engine.finder(b.app, b.ws.Folders, log)
	finder.Note, finder.Manager.Note = note, note
	endpoint, err := finder.Find(ctx)
	if err != nil {
		return nil, err
	}
	return engine.Connect(ctx, endpoint)
}

// isRoot says whether the program runs as root.
func isRoot() bool { return os.Geteuid() == 0 }
