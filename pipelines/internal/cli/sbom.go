package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func sbomCmd(a *app) *cobra.Command {
	var arch string
	cmd := &cobra.Command{
		Use:   "sbom NAME",
		Short: "Print what an asset is made of, as an SPDX document",
		Long: `Print what the artifact that the caches have for the key of an asset is made of, as an
SPDX 2.3 document: the files of its tarball, the sources with hashes, places and
licenses, crates and Go modules, and the packages of its builder and root filesystem.
Nothing is scanned: the document says what the recipe, the record of the build and the
lock say, and is the same wherever it is made.

A push attaches the document to the artifact, and "release" publishes one for each
tarball.`,
		Example: `  pipelines sbom kernel-debug > kernel-debug.spdx.json
  pipelines sbom rootfs-image --arch arm64 --cache ghcr.io/example/kata`,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			asset, arch, err := ws.One(args[0], arch)
			if err != nil {
				return err
			}
			artifact, err := ws.Artifact(ctx, asset.Name, arch)
			if err != nil {
				return err
			}
			document, err := ws.Contents().Asset(ctx, artifact)
			if err != nil {
				return err
			}
			data, err := document.JSON()
			if err == nil {
				_, err = a.Stdout.Write(data)
			}
			return err
		}),
	}
	archFlag(cmd.Flags(), &arch)
	a.cacheFlag(cmd.Flags())
	return cmd
}
