package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
)

// tarballs takes assets from the caches, or builds them, as build-asset does.
func (r *releasing) tarballs(ctx context.Context, names []string, arch catalog.Arch, dir string) ([]release.Tarball, error) {
	o := buildAssetOptions{engine: r.options.engine, push: r.options.push, output: dir, offline: r.options.offline}
	results, err := o.execute(ctx, r.app, r.ws, names, arch)
	if err != nil {
		return nil, err
	}
	var tarballs []release.Tarball
	for _, result := range results {
		r.ws.Report.Note(result.Asset, describe(result))
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
	return p.build(ctx)
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
	shims, err := r.ws.Catalog.LoadShims(r.ws.Files())
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
