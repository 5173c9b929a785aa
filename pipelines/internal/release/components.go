package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

// The names of all tarballs begin and end alike.
const (
	tarballPrefix = "kata-static-"
	tarballSuffix = ".tar.zst"
)

// MergedFile returns the file name of a merged release set: kata-static.tar.zst,
// kata-tools-static.tar.zst.
func MergedFile(set string) string { return sizes.MergedName(set) + tarballSuffix }

// PublishedFile returns the name that the merged tarball of a set has in a release:
// kata-static-3.28.0-amd64.tar.zst.
func PublishedFile(set, version string, arch catalog.Arch) string {
	return sizes.MergedName(set) + "-" + version + "-" + arch.GoArch() + tarballSuffix
}

// Found is what a folder has of a release set.
type Found struct {
	// Dir is the folder, Arch the architecture that it was searched for.
	Dir  string
	Arch catalog.Arch
	// Components are those of the set that are there, in its order.
	Components []archive.Component
	// Missing are the assets of the set that are not there.
	Missing []string
	// Extra are the assets of other tarballs, sorted, that no release on this
	// architecture contains or is made from: they were forgotten in the folder, or in
	// the set.
	Extra []string
}

// FindComponents looks for the tarballs of a set in a folder. A missing tarball is not
// an error: see Check.
func FindComponents(dir string, assets *catalog.Catalog, set catalog.Set, arch catalog.Arch) (Found, error) {
	names, err := set.On(arch)
	if err != nil {
		return Found{}, err
	}
	found := Found{Dir: dir, Arch: arch}
	if found.Components, found.Missing, err = tarballsIn(dir, names); err != nil {
		return Found{}, err
	}
	accounted, err := accounted(assets, arch)
	if err != nil {
		return Found{}, err
	}
	there, err := fs.Glob(os.DirFS(dir), build.TarballName("*"))
	for _, file := range there {
		name := strings.TrimSuffix(strings.TrimPrefix(file, tarballPrefix), tarballSuffix)
		if !slices.Contains(names, name) && !slices.Contains(accounted, name) && !released.MatchString(name) {
			found.Extra = append(found.Extra, name)
		}
	}
	return found, err
}

// tarballsIn returns the tarballs of assets that a folder has, and the assets that it
// lacks.
func tarballsIn(dir string, names []string) (there []archive.Component, missing []string, err error) {
	for _, name := range names {
		path := filepath.Join(dir, build.TarballName(name))
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, name)
			continue
		case err != nil:
			return nil, nil, fmt.Errorf("looking for the components: %w", err)
		case !info.Mode().IsRegular():
			return nil, nil, fmt.Errorf("%s is not a regular file: remove it", path)
		}
		there = append(there, archive.Component{Name: name, Path: path})
	}
	return there, missing, nil
}

// released matches what follows the prefix in the name of a release's own file.
var released = regexp.MustCompile(`^[0-9]+\..*-(amd64|arm64|s390x|ppc64le|riscv64)$`)

// accounted returns the names of all tarballs that the release sets of an architecture
// contain or are made from: components, their dependencies, and the secondary outputs
// of both.
func accounted(assets *catalog.Catalog, arch catalog.Arch) ([]string, error) {
	var components, names []string
	for _, set := range assets.Sets {
		components = append(components, set.Components[arch]...)
	}
	closure, err := assets.Closure(components, arch)
	if err != nil {
		return nil, err
	}
	for _, asset := range closure {
		names = append(names, asset.Name)
		for _, output := range asset.Outputs {
			names = append(names, asset.Name+"-"+output)
		}
	}
	return names, nil
}

// Check returns an error for everything that is missing, and for everything that does
// not belong to the set: it may be what is missing, under another name. Partial
// tolerates missing components if any is there.
func (f Found) Check(partial bool) error {
	var problems []error
	if len(f.Missing) > 0 && (!partial || len(f.Components) == 0) {
		problems = append(problems, fmt.Errorf("%d of %d components are missing in %s: build them (`pipelines build-asset %s`), take them from the caches (no --from), or leave them out (--without)",
			len(f.Missing), len(f.Missing)+len(f.Components), f.Dir, strings.Join(f.Missing, " ")))
		for _, name := range f.Missing {
			problems = append(problems, fmt.Errorf("missing: %s%s", build.TarballName(name), nearest.Hint(name, f.Extra)))
		}
	}
	for _, name := range f.Extra {
		problems = append(problems, fmt.Errorf("extra: %s belongs to no release set of %s, nor to what one is made from: remove it, or add it to %s",
			filepath.Join(f.Dir, build.TarballName(name)), f.Arch, catalog.SetsFile))
	}
	return errors.Join(problems...)
}
