package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type verifyReleaseOptions struct {
	dir string
	hub hubOptions
}

func verifyReleaseCmd(a *app) *cobra.Command {
	var o verifyReleaseOptions
	cmd := &cobra.Command{
		Use:   "release TAG",
		Short: "Check a published release from outside",
		Long: `Check the files of a published release, as anybody can: their digests against
SHA256SUMS; that a signer whom assets/trust.yaml lets sign releases says of each file
that it is of this release; their sizes against GitHub's limit; that the SPDX document
of each tarball names its digest; and that every asset in it has a proof that passed.

The files are downloaded to a temporary folder, or are those in a folder (--dir).`,
		Example: `  pipelines verify release 3.28.0 --github kata-containers/kata-containers
  pipelines verify release 3.28.0 --dir build/release`,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			return runVerifyRelease(ctx, a, ws, o, args[0])
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.dir, "dir", "", "folder with the files of the release, instead of GitHub")
	o.hub.flags(flags, a)
	a.jsonFlag(flags)
	return cmd
}

func runVerifyRelease(ctx context.Context, a *app, ws *workspace.Workspace, o verifyReleaseOptions, tag string) error {
	if o.dir == "" {
		if o.hub.repository == "" {
			return usage(errors.New("say where the release is: --github OWNER/NAME, or --dir FOLDER"))
		}
		hub, err := o.hub.open(a, ws)
		if err != nil {
			return err
		}
		if o.dir, err = os.MkdirTemp("", "kata-release-"); err != nil {
			return fmt.Errorf("making a folder for the release: %w", err)
		}
		defer os.RemoveAll(o.dir)
		if err := release.Fetch(ctx, hub, tag, o.dir); err != nil {
			return err
		}
	}
	r := release.Verify(ctx, o.dir, tag, ws.Store.Guard.Required())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := errors.Join(a.print(r, reportText(r)), r.Err()); err != nil {
		return fmt.Errorf("verifying the release %q: %w", tag, err)
	}
	return nil
}
