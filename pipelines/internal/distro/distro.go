// Package distro reads what the root filesystems of guests are made of: a file for each
// distribution, with its releases and the packages of each part of a guest, and the locks,
// which name every package of a root by version and hash.
//
// It reads data only. Package recipe puts it into the key, and package engine installs
// the packages.
package distro

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// Distribution is the content of assets/<family>/<name>.yaml.
type Distribution struct {
	Name string `yaml:"-"`
	// Manager installs packages: one of Managers.
	Manager string `yaml:"manager"`
	// Epoch is raised by hand to install newer packages where there is no lock.
	Epoch    int                `yaml:"epoch"`
	Releases map[string]Release `yaml:"releases"`
	Parts    map[string]Part    `yaml:"parts"`
	// Remove are packages that only an installation needs: a root has them only if a part
	// names them.
	Remove []string `yaml:"remove"`

	root strictyaml.Node `yaml:"-"`
}

// Release is a release of a distribution.
type Release struct {
	// Image is the base by digest, or Unknown.
	Image string `yaml:"image"`
}

// Part is what a guest needs for one purpose.
type Part struct {
	// Packages can have the pins of the asset, ${PIN}, and a version, NAME=${PIN}.
	Packages []string `yaml:"packages"`
	// Arches are further packages on some architectures.
	Arches map[catalog.Arch][]string `yaml:"arches"`
	// Repository has packages of the part, next to those of the distribution.
	Repository *Repository `yaml:"repository"`
}

// Repository is a repository of packages for apt, whose packages come before those of the
// distribution.
type Repository struct {
	// Address is the variable of the asset's pins that holds the address.
	Address string `yaml:"address"`
	// Keyring is the source of the asset that is a package with the keys of the repository.
	Keyring string `yaml:"keyring"`
}

// Unknown is the image of a release whose digest has not been found.
const Unknown = "unknown"

// Managers are the package managers.
var Managers = []string{"apk", "apt", "tdnf"}

var (
	imageName   = regexp.MustCompile(`^[^@\s]+@sha256:[0-9a-f]{64}$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9+._-]*(\$\{[A-Z0-9_]+\})?(=\$\{[A-Z0-9_]+\})?$`)
)

// Load reads the file of a distribution in a folder of the tree. The error suggests a name
// for one that has no file.
func Load(tree fs.FS, folder, name string) (Distribution, error) {
	d := Distribution{Name: name}
	root, err := strictyaml.ReadFile(tree, path.Join(folder, name+".yaml"), &d)
	if errors.Is(err, fs.ErrNotExist) {
		return d, fmt.Errorf("no file %s/%s.yaml declares the distribution %s: write it, or choose another one%s",
			folder, name, name, nearest.Hint(name, names(tree, folder)))
	}
	if err != nil {
		return d, err
	}
	d.root = root
	d.check()
	return d, root.Err()
}

// names returns the names of the distributions of a folder.
func names(tree fs.FS, folder string) []string {
	found, _ := fs.Glob(tree, path.Join(folder, "*.yaml")) // The pattern is a constant.
	var names []string
	for _, name := range found {
		if base := path.Base(name); base != catalog.FileName {
			names = append(names, strings.TrimSuffix(base, ".yaml"))
		}
	}
	return names
}

func (d Distribution) check() {
	if !slices.Contains(Managers, d.Manager) {
		d.root.At("manager").Problem("manager is %q: want one of %s%s", d.Manager, strings.Join(Managers, ", "), nearest.Hint(d.Manager, Managers))
	}
	if d.Epoch < 1 {
		d.root.At("epoch").Problem("epoch is %d: it starts at 1", d.Epoch)
	}
	if len(d.Releases) == 0 {
		d.root.At("releases").Problem("%s has no releases", d.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Releases)) {
		if image := d.Releases[name].Image; image != Unknown && !imageName.MatchString(image) {
			d.root.At("releases", name, "image").Problem("image %q: want NAME:TAG@sha256:<64 hex digits>, or %s", image, Unknown)
		}
	}
	packages(d.root.At("remove"), d.Remove)
	for _, name := range slices.Sorted(maps.Keys(d.Parts)) {
		at := d.root.At("parts", name)
		if repository := d.Parts[name].Repository; repository != nil && (d.Manager != "apt" || repository.Address == "" || repository.Keyring == "") {
			at.At("repository").Problem("a repository is for apt, and needs an address and a keyring")
		}
		packages(at.At("packages"), d.Parts[name].Packages)
		for _, arch := range slices.Sorted(maps.Keys(d.Parts[name].Arches)) {
			if !slices.Contains(catalog.Arches(), arch) {
				at.At("arches", string(arch)).Problem("unknown architecture %q", arch)
			}
			packages(at.At("arches", string(arch)), d.Parts[name].Arches[arch])
		}
	}
}

func packages(at strictyaml.Node, names []string) {
	for i, name := range names {
		if !packageName.MatchString(name) {
			at.At(i).Problem("package %q: want the name of a package, with a version only as NAME=${PIN}", name)
		}
		if slices.Contains(names[:i], name) {
			at.At(i).Problem("duplicate package %s", name)
		}
	}
}

// Release returns a release by name.
func (d Distribution) Release(name string) (Release, error) {
	release, found := d.Releases[name]
	if !found {
		known := slices.Sorted(maps.Keys(d.Releases))
		return release, fmt.Errorf("%s: %s has no release %q: add it, or choose one of %s%s",
			d.root.At("releases").Pos(), d.Name, name, strings.Join(known, ", "), nearest.Hint(name, known))
	}
	return release, nil
}

// Pos is the place of the declaration of a release, "<file>:<line>".
func (d Distribution) Pos(release string) string { return d.root.At("releases", release).Pos() }

// Packages returns the sorted packages of parts on an architecture, and the repository of
// the last part that has one. The values are those of the pins.
func (d Distribution) Packages(parts []string, arch catalog.Arch, values map[string]string) (list []string, repository *Repository, err error) {
	list = []string{}
	for _, name := range parts {
		part, found := d.Parts[name]
		if !found {
			known := slices.Sorted(maps.Keys(d.Parts))
			return nil, nil, fmt.Errorf("%s: %s has no part %q: add it, or choose one of %s%s",
				d.root.At("parts").Pos(), d.Name, name, strings.Join(known, ", "), nearest.Hint(name, known))
		}
		list = append(append(list, part.Packages...), part.Arches[arch]...)
		repository = cmp.Or(part.Repository, repository)
	}
	for i, name := range list {
		list[i] = os.Expand(name, func(pin string) string {
			if values[pin] == "" {
				err = fmt.Errorf("%s: package %s: the asset has no pin %s", d.root.At("parts").Pos(), name, pin)
			}
			return strings.TrimPrefix(values[pin], "v")
		})
	}
	slices.Sort(list)
	return slices.Compact(list), repository, err
}
