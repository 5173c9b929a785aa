package cli

import (
	"context"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// nydus has the snapshotter serve a containerd, unless nothing is to be started.
func (o verifyOptions) nydus(ws *workspace.Workspace, asset catalog.Asset, arch catalog.Arch, boot verify.Boot) (proof, error) {
	version, err := pin(ws, asset, "NYDUS_SNAPSHOTTER_VERSION")
	if err != nil {
		return nil, err
	}
	revision, err := pin(ws, asset, "NYDUS_SNAPSHOTTER_COMMIT")
	if err != nil {
		return nil, err
	}
	snapshotter := verify.Nydus{Asset: asset.Name, Arch: string(arch), Version: version, Revision: revision}
	serving := verify.Serving{
		Skip: boot.Skip, Root: ws.Root, Cache: filepath.Join(ws.Cache, "containerd"),
		LookPath: boot.LookPath, Timeout: boot.Timeout, Note: boot.Note,
	}
	return func(ctx context.Context, tarball string) (*verify.Report, error) {
		return snapshotter.Verify(ctx, tarball, serving)
	}, nil
}
