package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
)

// tarballs takes assets from the caches, or builds them, as build-asset does.
func (r *releasing) tarballs(ctx context.Context, names []string, arch catalog.Arch, dir string) ([]release.Tarball, error) {
	cache, err := r.options.cacheDir()
	if err != nil {
		return nil, err
	}
	publish, err := r.options.publisher(ctx, r.process, r.tree, names, arch, r.tiered)
	if err != nil {
		return nil, err
	}
	b := &builder{
		options: buildAssetOptions{treeOptions: r.options.treeOptions, engineOptions: r.options.engineOptions, output: dir, offline: r.options.offline},
		process: r.process, root: r.tree.root, cache: cache, report: r.report, tiered: r.tiered, pushing: publish != nil,
	}
	nonce := ""
	if r.tiered.Fresh {
		nonce = rand.Text() // the engine has a cache of its own
	}
	scheduler := build.Scheduler{
		Catalog: r.tree.catalog, Resolver: r.tree.resolver, Store: r.tiered, Builder: b.container(nonce, "logs"), Publish: publish,
		Parallel: parallel(r.process), Output: dir, Scratch: filepath.Join(cache, "work"),
	}
	results, err := scheduler.Build(ctx, names, arch)
	if err != nil {
		return nil, err
	}
	var tarballs []release.Tarball
	for _, result := range results {
		r.report.Note(result.Asset, describe(result))
		tarballs = append(tarballs, release.Tarball{Asset: result.Asset, Arch: arch, Path: result.Path, Key: result.Key, Digest: result.Digest, Size: result.Size})
	}
	return tarballs, nil
}

// image puts the image of an architecture together. Its base must be there: without
// it a run would make another image than the next one.
func (r *releasing) image(ctx context.Context, arch catalog.Arch, tarballs []release.Tarball) (*payload.Image, error) {
	p := r.payloads
	p.arch, p.base, p.requireBase = arch, r.options.base, true
	for _, tarball := range tarballs {
		p.names = append(p.names, tarball.Asset)
		p.given = append(p.given, payload.Component{Name: tarball.Asset, Path: tarball.Path})
	}
	if len(r.options.without) > 0 {
		p.assets = p.names // Shims that need what was left out are, too.
	}
	p.installer = r.installerFor(arch)
	return p.build(ctx, r.options.treeOptions)
}

// installerFor returns the program that the image of an architecture runs, "" for none.
func (r *releasing) installerFor(arch catalog.Arch) string {
	if r.options.installer == "" || r.options.installer == nowhere {
		return ""
	}
	return filepath.Join(r.options.installer, "kata-deploy-"+arch.GoArch())
}

// problems are the reasons why images could not be made, once all that goes into them
// was built.
func (r *releasing) problems() (problems []error) {
	if len(r.job.Repositories) == 0 {
		return nil
	}
	shims, err := r.tree.catalog.LoadShims(r.tree.files())
	if err != nil {
		return []error{err}
	}
	p := r.payloads
	p.base = r.options.base
	if err := payload.CheckBase(p.baseOf(shims)); err != nil {
		problems = append(problems, err)
	}
	set, err := r.job.Catalog.FindSet(payloadSet)
	if err != nil {
		return append(problems, err)
	}
	for _, arch := range r.job.Arches {
		names := set.Components[arch]
		if len(names) == 0 {
			continue
		}
		if len(r.options.without) == 0 {
			if err := shims.Check(arch, names); err != nil {
				problems = append(problems, err)
			}
		}
		if installer := r.installerFor(arch); installer != "" {
			if err := payload.CheckInstaller(installer, arch.GoArch()); err != nil {
				problems = append(problems, fmt.Errorf("--installer: %w", err))
			}
		}
	}
	return problems
}
