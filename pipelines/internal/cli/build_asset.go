package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/planview"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type buildAssetOptions struct {
	engine     engineOptions
	selection  workspace.Selection
	push       workspace.Switch
	allowDirty bool
	output     string
	place      string
	sources    map[string]string
	offline    bool
	rebuild    bool
	maxSize    budget
}

func buildAssetCmd(a *app) *cobra.Command {
	var o buildAssetOptions
	cmd := &cobra.Command{
		Use:   "build-asset NAME...|--set SET|--all",
		Short: "Build or import assets, or take them from the cache",
		Long: `Put kata-static-NAME.tar.zst into the output folder: from the local cache or the
registry of --cache if one has an artifact of the same inputs, or else built in a
Dagger engine or imported from a published archive. Before it fetches or builds anything, it checks all that it has to
build for missing secrets, sources without a pin, disk space and an engine. Prints
the path of each tarball.

It reads these variables of Kata's CI: ARTEFACT_REGISTRY, ARTEFACT_REPOSITORY,
ARTEFACT_REGISTRY_USERNAME, ARTEFACT_REGISTRY_PASSWORD, PUSH_TO_REGISTRY, USE_CACHE
(no: build everything), TARGET_BRANCH and RELEASE.`,
		Example: `  pipelines build-asset kernel-debug
  pipelines build-asset --set kata-static --arch arm64 --cache ghcr.io/me/cache --push
  pipelines build-asset qemu --rebuild-check`,
		Args: selected(&o.selection, false),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			limit, err := o.maxSize.Bytes()
			if err != nil {
				return err
			}
			results, err := o.build(ctx, a, ws)
			text := ""
			for _, result := range results {
				ws.Report.Note(result.Asset, planview.Result(result))
				text += workspace.Relative(result.Path) + "\n"
			}
			return errors.Join(err, fit(ctx, ws, limit), a.print(results, text), a.summarize(planview.ResultsMarkdown(results)))
		}),
	}
	flags := cmd.Flags()
	selectionFlags(flags, &o.selection)
	o.engine.flags(flags)
	a.cacheFlag(flags)
	a.pushFlag(flags, &o.push, "push to the registry of --cache what it lacks")
	allowDirtyFlag(flags, &o.allowDirty)
	flags.StringVarP(&o.output, "output", "o", "", "folder for the tarballs and logs/ (default: build in the root of the repository)")
	flags.StringVar(&o.place, "place", "", "take sources only from the place of this name")
	sourceFlag(flags, &o.sources)
	flags.BoolVar(&o.offline, "offline", false, "take what a build needs only from the caches: the local one, and the registry of --cache")
	flags.BoolVar(&o.rebuild, "rebuild-check", false, "build again without any cache and compare the bytes")
	a.maxSizeFlag(flags, &o.maxSize)
	a.jsonFlag(flags)
	return cmd
}

// build plans the selected assets and executes the plan. It is the one place that
// assembles what builds need.
func (o buildAssetOptions) build(ctx context.Context, a *app, ws *workspace.Workspace) ([]build.Result, error) {
	names, arch, err := ws.Select(o.selection)
	if err != nil {
		return nil, err
	}
	if err := ws.CheckSources(names, arch, nil, o.place); err != nil {
		return nil, err
	}
	ws.Sources.Offline, ws.Sources.Place = o.offline, o.place
	if err := give(ctx, ws, names, arch, o.sources); err != nil {
		return nil, err
	}
	plan, err := planner(ctx, ws).Plan(ctx, names, arch)
	if err != nil {
		return nil, err
	}
	for _, step := range plan.Steps {
		for _, name := range step.PublicKeys() {
			a.warning(fmt.Sprintf("%s signs modules with the key of %s, which is public: release refuses them (assets/kernel/README.md says how to replace the key)", step.Asset, name))
		}
	}
	output, err := filepath.Abs(cmp.Or(o.output, filepath.Join(ws.Root, "build")))
	if err != nil {
		return nil, err
	}
	container := o.container(a, ws, plan, filepath.Join(output, "logs"))
	executor := build.Executor{Store: ws.Contents(), Builder: container, Parallel: parallel(a), Output: output}
	if executor.Push, err = pushes(ws, o.push); err != nil {
		return nil, err
	}
	if executor.Push {
		container.Builders.Push = true
		moving, err := ws.Moving(ctx, names, arch, o.allowDirty)
		if err != nil {
			return nil, err
		}
		executor.Tags = moving.Tags(string(arch))
	}
	if o.rebuild {
		again := *container
		again.Nonce, again.Logs = rand.Text(), filepath.Join(container.Logs, "rebuild")
		executor.Rebuild = &again
	}
	return executor.Execute(ctx, plan)
}

// container builds in an engine.
func (o buildAssetOptions) container(a *app, ws *workspace.Workspace, plan build.Plan, logs string) *build.Container {
	container := &build.Container{
		Engine: o.engine.finder(a, ws.Folders, ws.Report), Sources: ws.Sources,
		Bases:    &debian.Bootstrapper{Dir: filepath.Join(ws.Cache, "bases")},
		Builders: &store.Builders{Local: ws.Store.Local, Registry: ws.Store.Registry},
		Secrets:  map[string]string{}, Offline: o.offline,
		Work: filepath.Join(ws.Cache, "work"), Logs: logs, Report: ws.Report,
	}
	for _, name := range plan.Secrets() {
		container.Secrets[name] = a.Getenv(name)
	}
	if ws.Store.Fresh {
		container.Nonce = rand.Text() // The engine has a cache of its own.
	}
	return container
}

// parallel is how many builds run at once: one for every eight processors, because
// each keeps all the processors busy most of the time. The folding groups of GitHub
// Actions cannot show two at once.
func parallel(a *app) int {
	if a.mode() == progress.GitHub {
		return 1
	}
	return max(1, runtime.NumCPU()/8)
}
