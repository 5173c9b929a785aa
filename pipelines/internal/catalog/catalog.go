// Package catalog reads the assets that can be built or imported, as data: each
// assets/<family>/assets.yaml declares the builder of a family, the steps that
// build it, and its assets with their pins, sources, options and dependencies, or the
// members of a published archive that they are. The release sets and runtime classes
// refer to these assets.
//
// It decodes strictly: a field that the Go types do not have is an error, so a
// misspelt one never changes a build silently. Pins and kernel fragments are only named
// here; packages versions and kconfig read them.
package catalog

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// FileName is the file, in the folder of a family, that declares its assets.
const FileName = "assets.yaml"

// Catalog is every asset of the tree, by name.
type Catalog struct {
	// Assets are sorted by name; names are unique.
	Assets []Asset
	// Sets are the release sets, sorted by name.
	Sets []Set
}

// Asset is one thing that can be built or imported.
type Asset struct {
	// Name is also the name of the tarball, kata-static-<name>.tar.zst.
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	Arches      []Arch `yaml:"arches"`
	// Pins maps a variable of the steps to the path of its value in versions.yaml. In
	// these paths and those of Sources, On replaces ${ARCH} and ${KERNEL_ARCH}.
	Pins map[string]string `yaml:"pins"`
	// Sources maps a file name below $SOURCES to a source of assets/sources.yaml.
	Sources map[string]string `yaml:"sources"`
	// Options are further environment variables of the steps.
	Options map[string]string `yaml:"options"`
	// Files are files and folders of the family's folder for the steps.
	Files []string `yaml:"files"`
	// Go is the folder of a Go program of this repository, "" for none. The steps get its
	// source, with that of all packages of the repository that it imports.
	Go string `yaml:"go"`
	// Dependencies are assets whose tarballs the steps find in $DEPENDENCIES.
	Dependencies []string `yaml:"dependencies"`
	// ArchDependencies are further ones on some architectures, which On adds.
	ArchDependencies map[Arch][]string `yaml:"arch_dependencies"`
	// Packages are installed in addition to those of the builder.
	Packages []string `yaml:"packages"`
	// Outputs are the names of secondary tarballs, out of $OUTPUTS/<output>.
	Outputs []string `yaml:"outputs"`
	// Images are the disk images in the tarball, by their paths, which can have the values
	// of pins. The steps leave only the filesystem there: see package guestimage.
	Images map[string]Image `yaml:"images"`
	// Secrets maps a variable of the steps, whose value comes from the caller's
	// environment, to the public certificate that represents it in the key: a PEM
	// file in the family's folder.
	Secrets map[string]string `yaml:"secrets"`
	// Verify is the kind of checks that `verify` runs in addition to the common ones, one
	// of Kinds: "" for none, and for guest kernels, which have their own.
	Verify string `yaml:"verify"`
	// Extends is the asset with the image that an extension boots with in its checks; the
	// option EXTENSION has its name in the guest. It is not in the key.
	Extends string `yaml:"extends"`
	// Unreleasable is why no release may have what is built with the asset, "" if it may. It is
	// not in the key.
	Unreleasable string `yaml:"unreleasable"`
	// Checks adapt the common checks. Those of the family come first.
	Checks Checks `yaml:"checks"`
	// Kernel is set only for guest kernels.
	Kernel *Kernel `yaml:"kernel"`
	// Root is set only for the root filesystems of guests.
	Root *Root `yaml:"root"`
	// Import is set only for imported assets, which have no builder and no steps. On adds
	// its source to Sources, unless content of the caller's replaces the asset.
	Import *Import `yaml:"import"`
	// Program is where, in the tarball, a program of the caller's belongs that replaces the
	// asset (--source); "" if only folders and archives do. It is not in the key.
	Program string `yaml:"program"`
	// Disk is the free space that a build needs, in GiB.
	Disk int64 `yaml:"disk"`
	// Budget is the largest size of the tarball, 0 for any. It is not in the key.
	Budget Bytes `yaml:"budget"`

	// Steps are the asset's own, instead of those of its family.
	Steps []Step `yaml:"steps"`

	// Family and Builder are those of the asset's file; Builder includes the
	// asset's packages.
	Family  string  `yaml:"-"`
	Builder Builder `yaml:"-"`
	// Folder and Pos are the place of the declaration: Pos is "<file>:<line>".
	Folder string `yaml:"-"`
	Pos    string `yaml:"-"`
}

// Builder declares the container that the steps of a family run in.
type Builder struct {
	// Distribution is "debian", the only one so far.
	Distribution string `yaml:"distribution"`
	// Suite is the release of the distribution: "trixie".
	Suite string `yaml:"suite"`
	// Image is the base image by digest. Without a container registry the same suite
	// is bootstrapped from the distribution's packages.
	Image string `yaml:"image"`
	// Epoch is raised by hand to build again with newer packages.
	Epoch int `yaml:"epoch"`
	// Packages are installed into the base, without recommended packages. As for apt,
	// NAME/SUITE is one of another suite, and NAME:ARCH one of another architecture, by
	// Debian's name of it.
	Packages []string `yaml:"packages"`
	// Cross are additional packages for building for an architecture on another one.
	// An architecture without an entry is built natively only.
	Cross map[Arch][]string `yaml:"cross"`
	// Ccache keeps $CCACHE_DIR between builds. The package ccache is declared among
	// the others, and the steps call it. It is not in the key.
	Ccache bool `yaml:"ccache"`
}

// Step is one script that runs in the builder; the steps of an asset run in order
// in one container. Steps must not use the network, because what they fetch would
// not be in the key; nothing enforces that.
type Step struct {
	Name string `yaml:"name"`
	// Script is a file in the family's folder.
	Script string `yaml:"script"`
	// Config is the path in the container of the final kernel configuration that
	// the step leaves for the check of requested options, or "".
	Config string `yaml:"config"`
	// Alone limits what the step sees to its script, Files, the sources and the pins,
	// so that an engine runs it once for all assets that share these. Such steps come
	// first and write to $BUILD.
	Alone bool `yaml:"alone"`
	// Files are files and folders in the family's folder for a step with Alone;
	// they need not exist.
	Files []string `yaml:"files"`
}

// Kinds are the values of Asset.Verify.
var Kinds = []string{"cloud-hypervisor", "firecracker", "nydus", "ovmf", "qemu", "rootfs", "virtiofsd"}

// Kernel says how a guest kernel is configured.
type Kernel struct {
	// Configs are folders of kernel-configs, in addition to that of the architecture.
	Configs []string `yaml:"configs"`
	// ArchConfigs are further folders on some architectures.
	ArchConfigs map[Arch][]string `yaml:"arch_configs"`
	// Suffix ends the names of the installed files, "" for the main kernel.
	Suffix string `yaml:"suffix"`
	// Version is the variable of Pins that holds the kernel's version.
	Version string `yaml:"version"`
}

// Root says which distribution the root filesystem of a guest is made of. The steps see
// the file tree of a container with its packages.
type Root struct {
	// Distribution and Release are the variables of Pins that hold the names of the
	// distribution, declared in a file of that name in the family's folder, and of its release.
	Distribution string `yaml:"distribution"`
	Release      string `yaml:"release"`
	// Parts are the lists of packages, by their names in the file of the distribution.
	Parts []string `yaml:"parts"`

	// Arch is set by On.
	Arch Arch `yaml:"-"`
}

// Load reads assets/*/assets.yaml and the release sets below the root of a tree. It
// reports all problems, joined, each with file and line.
func Load(tree fs.FS) (*Catalog, error) {
	entries, err := fs.ReadDir(tree, "assets")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var assets []Asset
	var problems []error
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			continue
		}
		family, err := loadFamily(tree, path.Join("assets", entry.Name(), FileName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
		assets = append(assets, family...)
	}
	if len(assets)+len(problems) == 0 {
		return nil, errors.New("no assets/*/assets.yaml: is this the root of the repository?")
	}
	slices.SortStableFunc(assets, func(a, b Asset) int { return strings.Compare(a.Name, b.Name) })
	c := &Catalog{Assets: assets}
	problems = append(problems, c.checkNames()...)
	problems = append(problems, c.checkDependencies()...)
	problems = append(problems, c.checkExtends()...)
	if len(problems) == 0 { // Otherwise sets could name assets of unreadable files.
		problems = append(problems, c.loadSets(tree))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return c, nil
}

// On returns the asset on an architecture: with the paths of its pins and sources there,
// and the exceptions of its checks.
func (a Asset) On(arch Arch) Asset {
	names := strings.NewReplacer("${ARCH}", string(arch), "${GOARCH}", arch.GoArch(), "${KERNEL_ARCH}", arch.Kernel())
	if a.Import != nil && a.Import.Source != "" && len(a.Sources) == 0 {
		a.Sources = map[string]string{a.Import.Name(): a.Import.Source}
		a.Import = a.Import.on(names)
	}
	a.Dependencies, a.ArchDependencies = slices.Concat(a.Dependencies, a.ArchDependencies[arch]), nil
	images := a.Images
	a.Images = maps.Clone(images)
	for path, image := range images {
		delete(a.Images, path)
		a.Images[names.Replace(path)] = image
	}
	for _, paths := range []*map[string]string{&a.Pins, &a.Sources} {
		*paths = maps.Clone(*paths)
		for name, path := range *paths {
			(*paths)[name] = names.Replace(path)
		}
	}
	if a.Root != nil {
		root := *a.Root
		root.Arch = arch
		a.Root = &root
	}
	a.Checks = a.Checks.on(arch)
	return a
}

// Folders returns the folders of kernel-configs for a kernel on an architecture, in
// addition to that of the architecture itself.
func (k Kernel) Folders(arch Arch) []string { return slices.Concat(k.Configs, k.ArchConfigs[arch]) }

// ScriptPath returns the path of the step's script below the root of the tree.
func (a Asset) ScriptPath(step Step) string { return path.Join(a.Folder, step.Script) }
