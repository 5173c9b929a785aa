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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

// The names of tarballs begin and end alike, components' and others.
const (
	tarballPrefix = "kata-static-"
	tarballSuffix = ".tar.zst"
)

// ComponentFile returns the file name of an asset's tarball.
func ComponentFile(asset string) string { return tarballPrefix + asset + tarballSuffix }

// MergedFile returns the file name of a merged release set:
// kata-static.tar.zst, kata-tools-static.tar.zst.
func MergedFile(set string) string { return sizes.MergedName(set) + tarballSuffix }

// PublishedFile returns the name that the merged tarball of a set has in a release:
// kata-static-3.28.0-amd64.tar.zst.
func PublishedFile(set, version string, arch catalog.Arch) string {
	return sizes.MergedName(set) + "-" + version + "-" + arch.GoArch() + tarballSuffix
}

// Found is what a folder has for a release set.
type Found struct {
	// Dir is the folder, Arch the architecture it was looked into for.
	Dir  string
	Arch catalog.Arch
	// Components are those of the set that are there, in its order.
	Components []archive.Component
	// Missing are the assets of the set that are not there.
	Missing []string
	// Extra are the assets that other tarballs would be of, sorted, of which nothing
	// of a release on this architecture is, or is made: somebody forgot to put one
	// into a set, or to remove it.
	Extra []string
}

// FindComponents looks into a folder for the tarballs of a set. An architecture
// that the set is not made for is an error, a missing tarball is not: see Check.
func FindComponents(dir string, assets *catalog.Catalog, set catalog.Set, arch catalog.Arch) (Found, error) {
	names, err := set.On(arch)
	if err != nil {
		return Found{}, err
	}
	found := Found{Dir: dir, Arch: arch}
	for _, name := range names {
		path := filepath.Join(dir, ComponentFile(name))
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found.Missing = append(found.Missing, name)
			continue
		case err != nil:
			return Found{}, fmt.Errorf("looking for the components: %w", err)
		case !info.Mode().IsRegular():
			return Found{}, fmt.Errorf("%s is no file: remove it", path)
		}
		found.Components = append(found.Components, archive.Component{Name: name, Path: path})
	}
	accounted, err := accounted(assets, arch)
	if err != nil {
		return Found{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Found{}, fmt.Errorf("looking for the components: %w", err)
	}
	for _, entry := range entries {
		name, is := componentOf(entry.Name())
		if is && !slices.Contains(names, name) && !slices.Contains(accounted, name) {
			found.Extra = append(found.Extra, name)
		}
	}
	return found, nil
}

// released is what follows the prefix in the name of a release's own file.
var released = regexp.MustCompile(`^[0-9]+\..*-(amd64|arm64|s390x|ppc64le|riscv64)$`)

// componentOf returns the asset that a file is named after.
func componentOf(file string) (string, bool) {
	name, prefix := strings.CutPrefix(file, tarballPrefix)
	name, suffix := strings.CutSuffix(name, tarballSuffix)
	return name, prefix && suffix && !released.MatchString(name)
}

// accounted returns the names of all tarballs that the release sets of an
// architecture are, or are made of: components, all they depend on, and the
// secondary outputs of these.
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

// Check reports all that is missing, and all that is there beyond the set, which may
// be it under another name. Partial excuses what is missing, if anything is there.
func (f Found) Check(partial bool) error {
	var problems []error
	if len(f.Missing) > 0 && (!partial || len(f.Components) == 0) {
		problems = append(problems, fmt.Errorf("%d of %d components are missing in %s: build them (`pipelines build-asset %s`), take them from the caches (no --from), or leave them out (--without)",
			len(f.Missing), len(f.Missing)+len(f.Components), f.Dir, strings.Join(f.Missing, " ")))
		for _, name := range f.Missing {
			problems = append(problems, fmt.Errorf("missing: %s%s", ComponentFile(name), nearest.Hint(name, f.Extra)))
		}
	}
	for _, name := range f.Extra {
		problems = append(problems, fmt.Errorf("extra: %s is in no release set of %s, and nothing of one is made of it: remove it, or add it to %s",
			filepath.Join(f.Dir, ComponentFile(name)), f.Arch, catalog.SetsFile))
	}
	return errors.Join(problems...)
}
