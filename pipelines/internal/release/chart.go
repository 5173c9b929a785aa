package release

import (
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
	labels.Version = c.Version
	image, err := payload.Artifact{
		Title: chart.Name, Description: c.Description, ConfigType: chart.ConfigType, Type: chart.LayerType, Config: c.Config, Content: c.Data, Labels: labels,
	}.Image()
	if err != nil {
		return nil, fmt.Errorf("making the chart %s: %w", c.File(), err)
	}
	return image, nil
}
