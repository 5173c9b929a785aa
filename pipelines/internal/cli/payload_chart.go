package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// unreleased begins the versions of charts that are no releases, whose tags move.
const unreleased = "0.0.0-"

type chartOptions struct {
	chart.Options
	output     string
	allowDirty bool
}

// packagedChart is what `payload chart` wrote, and where it was pushed to.
type packagedChart struct {
	Version string `json:"version"`
	File    string `json:"file"`
	// Reference and Tags are those in the registry; without one they are missing.
	Reference string   `json:"reference,omitempty"`
	Tags      []string `json:"tags,omitempty"`
}

func payloadChartCmd(a *app) *cobra.Command {
	var o chartOptions
	cmd := &cobra.Command{
		Use:   "chart [REPOSITORY]",
		Short: "Package the Helm chart that installs an image",
		Long: `Package the Helm chart in ` + chart.Dir + ` with the image that it installs and
the shims of ` + catalog.ShimsFile + `, and push it to REPOSITORY/kata-deploy, as helm push does,
if one is named. Helm installs the file, or oci://REPOSITORY/kata-deploy.

Its version begins with ` + unreleased + `, and the tag of such a version moves. The chart of a
release is made by ` + "`pipelines release`" + `.`,
		Example: `  pipelines payload chart --image ghcr.io/OWNER/kata-deploy@sha256:...
  pipelines payload chart ghcr.io/OWNER/kata-deploy-charts --image ghcr.io/OWNER/kata-deploy:nightly`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			return runPayloadChart(ctx, a, ws, o, args)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Image, "image", "", "image to install, NAME@sha256:... or NAME:TAG")
	flags.StringVar(&o.Kubectl, "kubectl-image", "", "image of the chart's jobs (default: that of the chart's values)")
	flags.StringVar(&o.Version, "version", unreleased+"dev", "version of the chart")
	flags.StringVarP(&o.output, "output", "o", "", "file for the chart (default: build/kata-deploy-VERSION.tgz in the root of the repository)")
	allowDirtyFlag(flags, &o.allowDirty)
	a.jsonFlag(flags)
	return cmd
}

func runPayloadChart(ctx context.Context, a *app, ws *workspace.Workspace, o chartOptions, args []string) error {
	if !strings.HasPrefix(o.Version, unreleased) {
		return usage(fmt.Errorf("--version %s: want one that begins with %s: only `pipelines release` makes the chart of a release", o.Version, unreleased))
	}
	to, err := payload.ParseDestination(o.Image)
	if err == nil && to.Tag == "" && to.Digest == "" {
		err = errors.New("name the image to install: NAME@sha256:... or NAME:TAG")
	}
	if err != nil {
		return usage(fmt.Errorf("--image: %w", err))
	}
	var repository *payload.Repository
	if len(args) > 0 {
		if repository, err = payload.OpenRepository(args[0]+"/"+chart.Name, remote(a, ws)); err != nil {
			return usage(err)
		}
	}
	c, err := release.Chart(ws, o.Options)
	if err != nil {
		return fmt.Errorf("packaging the chart: %w", err)
	}
	if o.output == "" {
		o.output = filepath.Join(ws.Root, "build", c.File())
	}
	if err := files.Write(o.output, c.Data, 0o644); err != nil {
		return err
	}
	result := packagedChart{Version: c.Version, File: o.output}
	text := workspace.Relative(o.output) + "\n"
	if repository != nil {
		pushed, err := o.push(ctx, ws, c, repository)
		if err != nil {
			return fmt.Errorf("pushing the chart: %w", err)
		}
		result.Reference, result.Tags = pushed.Reference, pushed.Tags
		text += strings.Join(append([]string{pushed.Reference}, pushed.Tags...), "\ntag ") + "\n"
	}
	return a.print(result, text)
}

func (o chartOptions) push(ctx context.Context, ws *workspace.Workspace, c *chart.Chart, to *payload.Repository) (payload.Pushed, error) {
	labels, dirty, err := release.Labels(ctx, ws, nil)
	if err == nil {
		_, err = ws.Release(false, dirty, o.allowDirty)
	}
	if err != nil {
		return payload.Pushed{}, err
	}
	image, err := release.ChartImage(c, labels)
	if err != nil {
		return payload.Pushed{}, err
	}
	return to.Push(ctx, image, payload.PushOptions{Tags: []payload.Tag{{Name: c.Tag()}}})
}
