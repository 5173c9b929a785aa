// Package payload makes the kata-deploy image: a small base, one layer for each
// component with its tarball as it is, and one with what tells an installer what
// to do with them. It pushes images and the index of several architectures, and
// writes them as OCI layouts and as archives that `docker load` takes.
//
// # Determinism
//
// The digest of an image depends on nothing but Options. A component's layer
// depends on its name and its bytes only, so that an image differs from its
// predecessor by the layers of what changed: only those are pushed.
package payload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// Root is the folder of the image that installers look into, without a leading
// slash.
const Root = "opt/kata-artifacts"

// Installer is where an image has the program that installs the payload.
const Installer = "usr/bin/kata-deploy"

// Component is an asset of a payload.
type Component struct {
	// Name is that of the asset, Path the file of its tarball.
	Name, Path string
}

// File is a small file of a payload, below Root.
type File struct {
	Name    string
	Content []byte
}

// Options say what is in an image.
type Options struct {
	// GoArch is the architecture: "amd64".
	GoArch string
	// Base is the image to begin with, by digest, or "" for an empty one.
	Base string
	// RequireBase makes it an error that the base cannot be had; else the image is
	// then made from an empty one, and Note says so.
	RequireBase bool
	// Components are sorted by name here, and each appears once.
	Components []Component
	// Files are those of Root: shim-components.json, versions.yaml.
	Files []File
	// Installer is a static program that the image runs, or "" for none.
	Installer string
	// Labels describe the image.
	Labels Labels
	// Scratch is a folder for what is unpacked until the image is closed.
	Scratch string
	// Remote says how to get the base.
	Remote RemoteOptions
}

// Image is an image that was put together, and not written to anywhere. What it
// is made of is read when it is written.
type Image struct {
	image   v1.Image
	digest  v1.Hash
	goarch  string
	variant string
	// origin is where the image itself was found, the zero value for one that was
	// put together here.
	origin origin
	// from is the repository of layers that another one has.
	from    map[v1.Hash]origin
	layers  []LayerInfo
	base    string
	scratch string
}

// LayerInfo is a layer of an image.
type LayerInfo struct {
	// Component is the asset that it holds, "" for others; Title is for people.
	Component string `json:"component,omitempty"`
	Title     string `json:"title"`
	Digest    string `json:"digest"`
	// Size is that of the blob, in bytes.
	Size int64 `json:"size"`
}

// Digest returns that of the manifest: "sha256:...".
func (i *Image) Digest() string { return i.digest.String() }

// GoArch returns the architecture.
func (i *Image) GoArch() string { return i.goarch }

// Base returns the reference of the base, or "" where there is none.
func (i *Image) Base() string { return i.base }

// Layers returns the layers, lowest first.
func (i *Image) Layers() []LayerInfo { return slices.Clone(i.layers) }

// Size returns the bytes of all layers.
func (i *Image) Size() (size int64) {
	for _, l := range i.layers {
		size += l.Size
	}
	return size
}

// Close removes what was unpacked; the image cannot be written any more.
func (i *Image) Close() error {
	if i.scratch == "" {
		return nil
	}
	return os.RemoveAll(i.scratch)
}

// Build puts an image together. The caller closes it.
func Build(ctx context.Context, o Options) (image *Image, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Scratch, 0o755); err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp(o.Scratch, "payload-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(scratch))
		}
	}()
	base, err := findBase(ctx, o)
	if err != nil {
		return nil, err
	}
	layers, err := o.layers(ctx, scratch)
	if err != nil {
		return nil, err
	}
	image, err = assemble(o, base, layers)
	if err != nil {
		return nil, err
	}
	image.scratch = scratch
	return image, nil
}

// validName is the name of an asset, and of a file.
var validName = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)

func (o *Options) check() error {
	if len(o.Components) == 0 {
		return errors.New("a payload without components: name at least one")
	}
	o.Components = slices.Clone(o.Components)
	slices.SortFunc(o.Components, func(a, b Component) int { return cmp.Compare(a.Name, b.Name) })
	for i, c := range o.Components {
		if !validName.MatchString(c.Name) {
			return fmt.Errorf("component %q: want the name of an asset", c.Name)
		}
		if i > 0 && o.Components[i-1].Name == c.Name {
			return fmt.Errorf("duplicate component %q: %s and %s", c.Name, o.Components[i-1].Path, c.Path)
		}
	}
	for _, f := range o.Files {
		if !validName.MatchString(f.Name) {
			return fmt.Errorf("file %q: want a plain name, below /%s", f.Name, Root)
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

// layers makes all layers but those of the base, as many at once as there are
// processors. What rarely changes comes first: runtimes unpack in order.
func (o Options) layers(ctx context.Context, scratch string) ([]*layer, error) {
	makers := []func(context.Context) (*layer, error){}
	if o.Installer != "" {
		makers = append(makers, func(ctx context.Context) (*layer, error) {
			return newLayer(ctx, "", Installer, []entry{{name: Installer, mode: 0o755, path: o.Installer}})
		})
	}
	for _, c := range o.Components {
		makers = append(makers, func(ctx context.Context) (*layer, error) {
			name := path.Join(Root, "tarballs", "kata-static-"+c.Name+".tar.zst")
			return newLayer(ctx, c.Name, path.Base(name), []entry{{name: name, mode: 0o644, path: c.Path}})
		})
		if c.Name == nydus {
			makers = append(makers, func(ctx context.Context) (*layer, error) { return nydusLayer(ctx, c.Path, scratch) })
		}
	}
	if len(o.Files) > 0 {
		makers = append(makers, o.filesLayer)
	}
	layers := make([]*layer, len(makers))
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, make := range makers {
		group.Go(func() (err error) {
			layers[i], err = make(inGroup)
			return err
		})
	}
	return layers, group.Wait()
}

func (o Options) filesLayer(ctx context.Context) (*layer, error) {
	files := slices.SortedFunc(slices.Values(o.Files), func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	var entries []entry
	title := ""
	for _, f := range files {
		entries = append(entries, entry{name: path.Join(Root, f.Name), mode: 0o644, content: f.Content})
		if title != "" {
			title += ", "
		}
		title += f.Name
	}
	return newLayer(ctx, "", title, entries)
}
