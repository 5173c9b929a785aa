package release

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Programs returns the options of an image of assets/images.yaml on an architecture,
// without the components.
func Programs(tree fs.FS, image catalog.ProgramImage, arch catalog.Arch) (payload.Options, error) {
	o := payload.Options{
		Name: image.Name, GoArch: arch.GoArch(), Base: image.Base, RequireBase: true, Entrypoint: image.Entrypoint, Command: image.Command,
		Labels: payload.Labels{Title: image.Name, Description: image.Description},
	}
	for to, program := range image.Programs {
		o.Programs = append(o.Programs, payload.Program{Path: to, Component: program.Asset, Member: program.Path})
	}
	for to, from := range image.Files {
		content, err := fs.ReadFile(tree, from)
		if err != nil {
			return o, fmt.Errorf("%s: %s: %w", image.Pos, image.Name, err)
		}
		o.Programs = append(o.Programs, payload.Program{Path: to, Content: content})
	}
	return o, nil
}

// programImages returns the images of the release other than kata-deploy: those that need
// no asset that was left out.
func (j *Job) programImages(ws *workspace.Workspace) ([]catalog.ProgramImage, error) {
	if len(j.Repositories) == 0 {
		return nil, nil
	}
	images, err := ws.Catalog.LoadImages(ws.Files())
	return slices.DeleteFunc(images, func(image catalog.ProgramImage) bool {
		return slices.ContainsFunc(image.Assets(), func(name string) bool { return slices.Contains(j.Without, name) })
	}), err
}

// withPrograms adds the assets of images to names.
func withPrograms(names []string, images []catalog.ProgramImage, arch catalog.Arch) []string {
	for _, image := range images {
		for _, name := range image.Assets() {
			if slices.Contains(image.Arches, arch) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// describePrograms describes images on the architectures of the release.
func (j *Job) describePrograms(tree fs.FS, images []catalog.ProgramImage) error {
	for _, image := range images {
		for _, arch := range j.Arches {
			if !slices.Contains(image.Arches, arch) {
				continue
			}
			o, err := Programs(tree, image, arch)
			if err != nil {
				return err
			}
			o.Remote = j.Remote
			j.Images = append(j.Images, o)
		}
	}
	return nil
}

// labels returns the labels of an image, or of the index of all with its name.
func (j *Job) labels(name string) payload.Labels {
	labels := j.Labels
	if i := slices.IndexFunc(j.Images, func(o payload.Options) bool { return o.Name == name }); i >= 0 {
		labels.Title, labels.Description = j.Images[i].Labels.Title, j.Images[i].Labels.Description
	}
	return labels
}
