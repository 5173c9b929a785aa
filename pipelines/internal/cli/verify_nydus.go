package cli

import (
	"context"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
)

// nydus has the snapshotter serve a containerd, unless nothing is to be started.
func (o verifyOptions) nydus(t *tree, asset catalog.Asset, arch catalog.Arch, boot verify.Boot) (proof, error) {
	version, err := t.pin(asset, "NYDUS_SNAPSHOTTER_VERSION")
	if err != nil {
		return nil, err
	}
	revision, err := t.pin(asset, "NYDUS_SNAPSHOTTER_COMMIT")
	if err != nil {
		return nil, err
	}
	cache, err := o.cacheDir()
	if err != nil {
		return nil, err
	}
	snapshotter := verify.Nydus{Asset: asset.Name, Arch: string(arch), Version: version, Revision: revision}
	serving := verify.Serving{
		Skip: boot.Skip, Root: t.root, Cache: filepath.Join(cache, "containerd"),
		LookPath: boot.LookPath, Timeout: boot.Timeout, Note: boot.Note,
	}
	return func(ctx context.Context, tarball string) (*verify.Report, error) {
		return snapshotter.Verify(ctx, tarball, serving)
	}, nil
}
