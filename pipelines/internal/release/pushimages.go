package release

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sbom"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// pushImages pushes the images, the indexes and the charts, without the tags of the
// release: a run that fails later must not leave those.
func (r *run) pushImages(ctx context.Context) error {
	built := map[string]*payload.Image{}
	for _, options := range r.job.Images {
		if len(r.plan.Images) == 0 {
			break
		}
		var err error
		if built[options.Name+"/"+options.GoArch], err = r.build(ctx, options); err != nil {
			return fmt.Errorf("making the image %s for %s: %w", cmp.Or(options.Name, chart.Name), options.GoArch, err)
		}
	}
	var parts []payload.IndexImage
	for _, image := range r.plan.Images {
		o := payload.PushOptions{Tags: image.only(ofCommit)}
		what := strings.TrimSpace(image.Name + " " + cmp.Or(image.GoArch, "index"))
		var there payload.Pushed
		var err error
		switch {
		case image.Name == ChartName:
			what = image.Name
			there, err = r.pushChart(ctx, image.repository)
		case image.GoArch != "":
			there, err = image.repository.Push(ctx, built[image.Name+"/"+image.GoArch], o)
			if err == nil {
				err = r.describe(ctx, image, built[image.Name+"/"+image.GoArch])
			}
			parts = append(parts, payload.IndexImage{GoArch: image.GoArch, Reference: there.Reference})
		default:
			there, err = image.repository.PushIndex(ctx, payload.IndexOptions{Images: parts, Labels: r.job.labels(image.Name), PushOptions: o})
			parts = nil
		}
		if err != nil {
			return fmt.Errorf("pushing the image (%s): %w", what, err)
		}
		text := fmt.Sprintf("%s: sent %s, had %s", what, progress.Size(there.Sent), progress.Size(there.There+there.Mounted))
		if !there.Changed {
			text = what + ": everything is there already"
		}
		r.job.Report.Note(image.Repository, text)
		r.released.Images = append(r.released.Images, ReleasedImage{image.Name, image.GoArch, there})
	}
	return nil
}

// describe attaches to an image the document about what is in it.
func (r *run) describe(ctx context.Context, planned PlannedImage, image *payload.Image) error {
	if r.job.Contents == nil {
		return nil
	}
	about := sbom.Merged{
		Name: cmp.Or(planned.Name, chart.Name) + "-" + planned.GoArch, Version: r.job.Version, Digest: image.Digest(), Purpose: "CONTAINER",
	}
	document, err := r.contents(ctx, about, r.inImages[planned.Name+"/"+planned.GoArch])
	if err != nil {
		return err
	}
	data, err := document.JSON()
	if err != nil {
		return err
	}
	return planned.repository.Describe(ctx, image, string(store.SBOM), data)
}

// build builds the image of an architecture.
func (r *run) build(ctx context.Context, o payload.Options) (*payload.Image, error) {
	arch, err := catalog.ParseArch(o.GoArch)
	if err != nil {
		return nil, err
	}
	set := catalog.Set{Components: map[catalog.Arch][]string{arch: o.Assets()}}
	if len(o.Programs) == 0 {
		set, err = r.job.Catalog.FindSet(workspace.PayloadSet)
		set = catalog.Set{Components: map[catalog.Arch][]string{arch: WithInstaller(r.job.Catalog, set.Components[arch], r.job.Installer, arch)}}
	}
	if err != nil {
		return nil, err
	}
	components := r.job.of(set, arch)
	r.inImages[o.Name+"/"+o.GoArch] = components
	if o.Components, err = Tarballs(ctx, r.job.Store, components); err != nil {
		return nil, err
	}
	o.Labels = r.job.labels(o.Name)
	return payload.Build(ctx, o)
}
