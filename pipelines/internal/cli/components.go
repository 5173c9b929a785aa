package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// defaultSet is the release set of verbs that are told none.
const defaultSet = "kata-static"

// setOptions say what is merged, and what its size is held against.
type setOptions struct {
	registry string
	arch     string
	from     string
	without  []string
	partial  bool
	strict   bool
	previous string
	limit    string
	// given are the flags, which know whether --cache is among them.
	given *pflag.FlagSet
}

func (o *setOptions) flags(flags *pflag.FlagSet, a *app) {
	o.given = flags
	flags.StringVar(&o.arch, "arch", "", "architecture of the release, such as x86_64 or arm64 (default: this machine's)")
	flags.StringVar(&o.from, "from", "", "folder of the tarballs, kata-static-NAME.tar.zst (default: the caches, by the keys of the tree)")
	flags.StringSliceVar(&o.without, "without", nil, "assets to leave out of the release set")
	cacheFlag(flags, a, &o.registry)
	flags.StringVar(&o.previous, "previous", "", "compare with this: a merged tarball, or the JSON of a report")
	flags.StringVar(&o.limit, "limit", "", "size that the tarball must stay below (default: 2 GiB, GitHub's for a file of a release)")
	flags.BoolVar(&o.strict, "strict", false, "fail where a component is over its budget")
}

// merging is a merge that was looked into.
type merging struct {
	ws   *workspace.Workspace
	plan *release.MergePlan
}

// prepare finds the components of a set, plans their merge and compares its size.
// The size itself is not checked.
func (o *setOptions) prepare(ctx context.Context, a *app, name string, run func(merging) error) error {
	if o.from != "" && o.given.Changed("cache") {
		return usage(errors.New("give --from or --cache, not both: the components come from a folder or from the caches"))
	}
	limit, err := o.parseLimit()
	if err != nil {
		return err
	}
	if o.from != "" {
		o.registry = "" // No registry is asked that is not needed.
	}
	ws, err := a.open(ctx, o.registry)
	if err != nil {
		return err
	}
	defer ws.Close()
	set, arch, err := findSet(ws, name, o.arch, o.without)
	if err != nil {
		return err
	}
	found, err := o.find(ctx, ws, set, arch)
	if err != nil {
		return err
	}
	m, err := o.merge(ws, set, arch, found, limit)
	if err != nil {
		return err
	}
	stage := ws.Report.Stage(set.Name, "check")
	plan, err := m.Plan(ctx)
	stage.End(err, "")
	if err != nil {
		return err
	}
	if o.previous != "" {
		previous, err := sizes.ReadPrevious(o.previous)
		if err != nil {
			return err
		}
		if err := plan.Report.Compare(previous); err != nil {
			return err
		}
	}
	return run(merging{ws, plan})
}

func (o *setOptions) parseLimit() (int64, error) {
	if o.limit == "" {
		return sizes.Limit, nil
	}
	limit, err := catalog.ParseBytes(o.limit)
	if err != nil {
		return 0, usage(fmt.Errorf("--limit: %w", err))
	}
	return int64(limit), nil
}

// findSet resolves the name of a release set, of which assets can be left out, and
// of an architecture.
func findSet(ws *workspace.Workspace, name, arch string, without []string) (catalog.Set, catalog.Arch, error) {
	parsed, err := workspace.Arch(arch)
	if err != nil {
		return catalog.Set{}, "", err
	}
	set, err := ws.Set(name, without)
	if err != nil {
		return catalog.Set{}, "", err
	}
	if _, err := set.On(parsed); err != nil {
		return catalog.Set{}, "", usage(err)
	}
	return set, parsed, nil
}

// find brings the components together. A missing one is an error, unless a partial
// report is wanted.
func (o *setOptions) find(ctx context.Context, ws *workspace.Workspace, set catalog.Set, arch catalog.Arch) (release.Found, error) {
	if o.from == "" {
		return o.export(ctx, ws, set, arch)
	}
	found, err := release.FindComponents(workspace.Relative(o.from), ws.Catalog, set, arch)
	if err != nil {
		return release.Found{}, err
	}
	return found, found.Check(o.partial)
}

// export puts the components that the caches have under their keys into a folder of
// the cache, which keeps them for the next time.
func (o *setOptions) export(ctx context.Context, ws *workspace.Workspace, set catalog.Set, arch catalog.Arch) (release.Found, error) {
	names, err := set.On(arch)
	if err != nil {
		return release.Found{}, err
	}
	plan, err := planner(ctx, ws, nil).Plan(ctx, names, arch)
	if err != nil {
		return release.Found{}, err
	}
	dir := filepath.Join(ws.Cache, "components", string(arch))
	found := release.Found{Dir: dir}
	var problems []error
	for _, name := range names {
		step := plan.Step(name)
		path := filepath.Join(dir, release.ComponentFile(name))
		digest, err := exportOne(ctx, ws, step, path)
		switch {
		case store.IsNotFound(err):
			found.Missing = append(found.Missing, name)
			problems = append(problems, fmt.Errorf("missing: %s: %s", name, missed(step, err)))
		case err != nil:
			return release.Found{}, fmt.Errorf("taking %q from the cache: %w", name, err)
		default:
			found.Components = append(found.Components, archive.Component{Name: name, Path: path, Digest: digest})
		}
	}
	if len(problems) == 0 || o.partial && len(found.Components) > 0 {
		return found, nil
	}
	missing := fmt.Errorf("%d of %d components are missing in the caches: build them (`pipelines build-asset --arch %s %s`)",
		len(found.Missing), len(names), arch, strings.Join(found.Missing, " "))
	return release.Found{}, errors.Join(append([]error{missing}, problems...)...)
}

// exportOne returns the sha256 in hex of the tarball that it puts at path.
func exportOne(ctx context.Context, ws *workspace.Workspace, step build.Step, path string) (string, error) {
	if step.State != build.Hit {
		return "", fmt.Errorf("%s is not in the cache: %w", step.Asset, store.ErrNotFound)
	}
	artifact, err := ws.Store.Get(ctx, store.Ref{Asset: step.Asset, Arch: step.Arch, Key: step.Key})
	if err != nil {
		return "", err
	}
	_, err = ws.Store.Export(ctx, artifact, "", path)
	return strings.TrimPrefix(artifact.Digest, "sha256:"), err
}

// missed says why there is no artifact.
func missed(step build.Step, err error) string {
	switch step.State {
	case build.Hit:
		return err.Error()
	case build.Pending:
		return "its key is pending on " + strings.Join(step.PendingOn, ", ")
	}
	return fmt.Sprintf("no cache has the key %s", shortKey(step.Key))
}

// merge puts together what decides the merged tarball.
func (o *setOptions) merge(ws *workspace.Workspace, set catalog.Set, arch catalog.Arch, found release.Found, limit int64) (release.Merge, error) {
	version, err := ws.Version()
	if err != nil {
		return release.Merge{}, err
	}
	pins, err := os.ReadFile(ws.Pins)
	if err != nil {
		return release.Merge{}, fmt.Errorf("reading the pins: %w", err)
	}
	return release.Merge{
		Merge: sizes.Merge{Set: set.Name, Arch: arch, Version: version, Catalog: ws.Catalog, Limit: limit, Missing: found.Missing},
		Pins:  pins, Components: found.Components, Cache: ws.Cache,
	}, nil
}

// check says which components are over their budgets, and returns what is wrong
// with the size.
func (o *setOptions) check(a *app, m merging) error {
	if !o.strict {
		for _, text := range m.plan.Report.OverBudget() {
			a.warning(text)
		}
	}
	return m.plan.Report.Check(o.strict)
}
