package release

import (
	"context"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Chart packages the chart of a tree with the shims that assets/shims.yaml lists.
func Chart(ws *workspace.Workspace, o chart.Options) (*chart.Chart, error) {
	shims, err := ws.Catalog.LoadShims(ws.Files())
	if err != nil {
		return nil, err
	}
	if o.Shims, err = shims.JSON(); err != nil {
		return nil, err
	}
	return chart.Package(ws.Files(), o)
}

// ChartImage returns a chart as registries keep it.
func ChartImage(c *chart.Chart, labels payload.Labels) (*payload.Image, error) {
	labels.Title, labels.Description, labels.Version = chart.Name, c.Description, c.Version
	image, err := payload.Artifact{
		ConfigType: chart.ConfigType, Type: chart.LayerType, Config: c.Config, Content: c.Data, Labels: labels,
	}.Image()
	if err != nil {
		return nil, fmt.Errorf("making the chart %s: %w", c.File(), err)
	}
	return image, nil
}

// ChartName is the name of the chart among the images of a release.
const ChartName = "chart"

// pushChart pushes the chart. It installs the images of the first repository: those of the
// others have the same digests.
func (r *run) pushChart(ctx context.Context, to *payload.Repository) (payload.Pushed, error) {
	if r.chart == nil {
		o := chart.Options{Version: r.job.Version, Image: r.index(""), Kubectl: r.index("kubectl"), Shims: r.job.Shims}
		var err error
		if r.chart, err = chart.Package(r.job.Tree, o); err != nil {
			return payload.Pushed{}, err
		}
	}
	image, err := ChartImage(r.chart, r.job.Labels)
	if err != nil {
		return payload.Pushed{}, err
	}
	return to.Push(ctx, image, payload.PushOptions{})
}

// index returns the reference of the first index of a name that was pushed, or "".
func (r *run) index(name string) string {
	for _, image := range r.released.Images {
		if image.Name == name && image.GoArch == "" {
			return image.Reference
		}
	}
	return ""
}
