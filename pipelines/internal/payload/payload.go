// Package payload makes the kata-deploy image: a small base, one layer for each
// component with its unchanged tarball, and one with the files that tell an installer
// what to do with them. It pushes images and the index of several architectures, and
// writes them as OCI layouts and as archives that `docker load` takes.
//
// The digest of an image depends only on Options. A component's layer depends only on
// its name and its bytes, so an image differs from its predecessor only in the layers
// of the components that changed, and only those are pushed.
//
// An image is a value: the bytes of its manifest and its configuration, and layers that
// can be read from any offset. Types and names come from go-containerregistry, images
// do not: that library reads them without a context and only from the start, and its
// layout writer neither compares digests nor syncs.
package payload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// Root is the folder of the image that installers look into, without a leading
// slash.
const Root = "opt/kata-artifacts"

// Installer is the path in an image of the program that installs the payload.
const Installer = "usr/bin/kata-deploy"

// InstallerAsset is the component whose program an image runs: the image has only that
// program of it.
const InstallerAsset = "kata-deploy"

// installerMember is the program in the component.
const installerMember = "./opt/kata/bin/kata-deploy"

// File is a small file of a payload, below Root.
type File struct {
	Name    string
	Content []byte
}

// Program is an executable file of an image.
type Program struct {
	// Path is that in the image, without a leading slash.
	Path string
	// Component and Member say where it is; without a component it has the Content.
	Component, Member string
	Content           []byte
}

// Options say what is in an image.
type Options struct {
	// Name is the name of the image, "" for kata-deploy.
	Name string
	// GoArch is the architecture: "amd64".
	GoArch string
	// Base is the image to begin with, by digest, or "" for an empty one.
	Base string
	// RequireBase makes it an error if no registry answers for the base. Otherwise the
	// image then starts from an empty one, with a note.
	RequireBase bool
	// Components may have any order; each appears once.
	Components []archive.Component
	// Files are those of Root: shim-components.json, versions.yaml.
	Files []File
	// Installer is a static program that the image runs, or "" for that of the component
	// InstallerAsset, if there is one.
	Installer string
	// Programs are all files of an image that installs nothing: then the components are
	// only read. Entrypoint and Command are what it runs.
	Programs            []Program
	Entrypoint, Command []string
	// Labels describe the image.
	Labels Labels
	// Remote says how to get the base.
	Remote RemoteOptions
}

// Build builds an image.
func Build(ctx context.Context, o Options) (*Image, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	base, err := findBase(ctx, o)
	if err != nil {
		return nil, err
	}
	layers, err := o.layers()
	if err != nil {
		return nil, err
	}
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i := range layers {
		group.Go(func() error { return layers[i].hash(inGroup) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return assemble(o, base, layers)
}

func (o *Options) check() error {
	if len(o.Components)+len(o.Programs) == 0 {
		return errors.New("a payload without components: name at least one")
	}
	o.Components = slices.Clone(o.Components)
	slices.SortFunc(o.Components, func(a, b archive.Component) int { return cmp.Compare(a.Name, b.Name) })
	for i, c := range o.Components {
		if i > 0 && o.Components[i-1].Name == c.Name {
			return fmt.Errorf("duplicate component %q: %s and %s", c.Name, o.Components[i-1].Path, c.Path)
		}
	}
	if err := CheckBase(o.Base); err != nil {
		return err
	}
	if o.Installer != "" {
		return CheckInstaller(o.Installer, o.GoArch)
	}
	return nil
}

// layers makes all layers except those of the base. What rarely changes comes first:
// runtimes unpack in order.
func (o Options) layers() (layers []Layer, err error) {
	add := func(component, title string, entries ...entry) {
		l, failed := newLayer(component, title, entries...)
		layers, err = append(layers, l), errors.Join(err, failed)
	}
	if o.installs() {
		program, err := o.installer()
		if err != nil {
			return nil, err
		}
		add("", Installer, program)
	}
	if len(o.Programs) > 0 {
		entries, err := o.programs()
		add("", "programs of "+o.Name, entries...)
		return layers, err
	}
	for _, c := range o.Components {
		if c.Name == InstallerAsset {
			continue
		}
		name := path.Join(Root, "tarballs", "kata-static-"+c.Name+".tar.zst")
		tarball, err := file(name, 0o644, c.Path)
		if err != nil {
			return nil, err
		}
		add(c.Name, path.Base(name), tarball)
		if c.Name == nydus {
			entries, err := nydusEntries(c.Path)
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", c.Path, err)
			}
			add(nydus, "files of "+nydus, entries...)
		}
	}
	if len(o.Files) > 0 {
		var entries []entry
		var names []string
		for _, f := range slices.SortedFunc(slices.Values(o.Files), func(a, b File) int { return cmp.Compare(a.Name, b.Name) }) {
			entries, names = append(entries, text(path.Join(Root, f.Name), f.Content)), append(names, f.Name)
		}
		add("", strings.Join(names, ", "), entries...)
	}
	return layers, err
}
