package catalog

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// ImagesFile declares the images of a release other than kata-deploy. It is optional.
const ImagesFile = "assets/images.yaml"

// ProgramImage is an image of programs.
type ProgramImage struct {
	// Name is the last part of its repository.
	Name        string `yaml:"-"`
	Description string `yaml:"description"`
	// Base is the base image, NAME@sha256:<64 hex digits>.
	Base   string `yaml:"base"`
	Arches []Arch `yaml:"arches"`
	// Programs are paths in the image, with the assets that have them. Files are paths
	// in the image, with those in the tree.
	Programs map[string]Program `yaml:"programs"`
	Files    map[string]string  `yaml:"files"`
	// Entrypoint and Command are what the image runs; arguments replace the latter.
	Entrypoint []string `yaml:"entrypoint"`
	Command    []string `yaml:"command"`
	// Pos is the place of the declaration.
	Pos string `yaml:"-"`
}

// Program is a file of an asset.
type Program struct {
	Asset string `yaml:"asset"`
	// Path is the path in the tarball, "opt/kata/bin/kubectl".
	Path string `yaml:"path"`
}

// Assets returns the assets that the programs come from, sorted.
func (i ProgramImage) Assets() []string {
	var names []string
	for _, program := range i.Programs {
		names = append(names, program.Asset)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// LoadImages reads assets/images.yaml below the root of a tree, and returns the images
// sorted by name. It reports all problems, joined, each with file and line.
func (c *Catalog) LoadImages(tree fs.FS) (images []ProgramImage, err error) {
	var file map[string]ProgramImage
	root, err := strictyaml.ReadFile(tree, ImagesFile, &file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	check := checker{Node: root, tree: tree, folder: "."}
	for _, name := range slices.Sorted(maps.Keys(file)) {
		image := file[name]
		image.Name, image.Pos = name, check.at(name).Pos()
		check.at(name).programImage(c, image)
		images = append(images, image)
	}
	return images, root.Err()
}

// programImage checks an image.
func (c checker) programImage(assets *Catalog, image ProgramImage) {
	c.name("image", image.Name, plainName)
	c.at("base").name("base", image.Base, imageName)
	if len(image.Arches) == 0 || len(image.Entrypoint)+len(image.Command) == 0 || len(image.Programs)+len(image.Files) == 0 {
		c.Problem("%s needs arches, an entrypoint or a command, and programs or files", image.Name)
	}
	for i, arch := range image.Arches {
		c.at("arches", i).arch(arch)
		for _, name := range image.Assets() {
			if _, err := assets.Find(name, arch); err != nil {
				c.At("programs").Problem("%w", err)
			}
		}
	}
	for _, to := range slices.Concat(slices.Sorted(maps.Keys(image.Programs)), slices.Sorted(maps.Keys(image.Files))) {
		if !fs.ValidPath(to) || path.Dir(to) == "." {
			c.Problem("%s: want a path in a folder of the image, without a leading slash", to)
		}
	}
	for to, program := range image.Programs {
		if !fs.ValidPath(program.Path) || strings.HasSuffix(program.Path, "/") {
			c.At("programs", to).Problem("path %q: want that of a file in the tarball of %s", program.Path, program.Asset)
		}
	}
	for to, from := range image.Files {
		c.at("files", to).path("file", from)
	}
}
