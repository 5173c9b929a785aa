// Package build brings assets into being: for each asset, dependencies first,
// it looks the key up in the store, builds what is missing, and puts the
// tarball where the caller wants it.
package build

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Builder builds one recipe. Dependencies maps the name of each dependency to
// its tarball, and "<name>-<output>" to each secondary one.
type Builder interface {
	Build(ctx context.Context, plan recipe.Plan, dependencies map[string]string) (Built, error)
}

// Built is what a Builder made: files in a folder that Discard removes.
type Built struct {
	Tarball string
	// Outputs are the secondary tarballs by name.
	Outputs map[string]string
	// Record says, in JSON, what the key leaves open: versions of packages,
	// places of sources, the base and engine that were used.
	Record  []byte
	Discard func() error
}

// Store keeps artifacts by key; see package store.
type Store interface {
	Get(ctx context.Context, ref store.Ref) (store.Artifact, error)
	Put(ctx context.Context, put store.Put) (store.Artifact, error)
	Export(ctx context.Context, artifact store.Artifact, output, path string) (changed bool, err error)
	Lock(ctx context.Context, ref store.Ref) (unlock func() error, err error)
}

// Scheduler builds assets of a catalog.
type Scheduler struct {
	Catalog  *catalog.Catalog
	Resolver recipe.Resolver
	Store    Store
	Builder  Builder
	// Rebuild, where it is set, builds each of the assets asked for once more,
	// without any cache, and Build compares: see Difference.
	Rebuild Builder
	// Publish, where it is set, gets the artifact of each asset, dependencies
	// included, once it is in place.
	Publish func(ctx context.Context, artifact store.Artifact) error
	// Parallel is how many builds may run at once; less than 1 counts as 1.
	Parallel int
	// Output is the folder for the tarballs of the assets asked for.
	Output string
	// Scratch is the folder for the tarballs of their dependencies.
	Scratch string
}

// Result is one asset that is in place.
type Result struct {
	Asset  string `json:"asset"`
	Arch   string `json:"arch"`
	Key    string `json:"key"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Path is the tarball, and Changed is false where it and the secondary ones
	// were there already.
	Path    string `json:"path"`
	Changed bool   `json:"changed"`
	// Outputs are the paths of the secondary tarballs, by name.
	Outputs map[string]string `json:"outputs,omitempty"`
	// Cached is true where nothing was built.
	Cached bool `json:"cached"`
	// Reproduced is true where a rebuild gave the same bytes.
	Reproduced bool `json:"reproduced,omitempty"`
}

// TarballName returns the file name of an asset's tarball.
func TarballName(asset string) string { return "kata-static-" + asset + ".tar.zst" }

// OutputName returns the file name of a secondary tarball of an asset.
func OutputName(asset, output string) string { return TarballName(asset + "-" + output) }

// Build puts the tarballs of the named assets into Output, building them and
// what they depend on where the store has no artifact. Assets that do not
// depend on each other are looked up, pulled and built side by side. It stops
// at the first failure, whose error names the asset; the results are those
// assets that are in place.
func (s *Scheduler) Build(ctx context.Context, names []string, arch catalog.Arch) (results []Result, err error) {
	closure, err := s.Catalog.Closure(names, arch)
	if err != nil {
		return nil, err
	}
	schedule := newSchedule(s, closure, names, arch)
	defer func() { err = errors.Join(err, schedule.scratch.remove()) }()
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range schedule.nodes {
		group.Go(func() error { return schedule.settle(ctx, n) })
	}
	err = group.Wait()
	for _, asset := range closure {
		if n := schedule.nodes[asset.Name]; n.asked && n.result.Path != "" {
			results = append(results, n.result)
		}
	}
	return results, err
}
