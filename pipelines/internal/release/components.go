package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

// The names of all tarballs have this prefix and this suffix.
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

// setIn finds the tarballs of a set in a folder, in the order of the set, and the
// assets whose tarballs are missing. The error lists these, unless partial tolerates
// them and some tarball is there. It also lists the tarballs that no release on this
// architecture contains or depends on: they may be the missing ones under another name.
func setIn(dir string, assets *catalog.Catalog, set catalog.Set, arch catalog.Arch, partial bool) (there []archive.Component, missing []string, err error) {
	names, err := set.On(arch)
	if err != nil {
		return nil, nil, err
	}
	there, missing, irregular := tarballsIn(dir, names)
	extra, err := extras(dir, assets, arch)
	problems := []error{irregular, err}
	if len(missing) > 0 && (!partial || len(there) == 0) {
		problems = append(problems, fmt.Errorf("%d of %d components are missing in %s: build them (`pipelines build-asset %s`), "+
			"take them from the caches (no --from), or leave them out (--without)", len(missing), len(names), dir, strings.Join(missing, " ")))
		for _, name := range missing {
			problems = append(problems, fmt.Errorf("missing: %s%s", build.TarballName(name), nearest.Hint(name, extra)))
		}
	}
	for _, name := range extra {
		problems = append(problems, fmt.Errorf("extra: %s belongs to no release set of %s, nor to the dependencies of one: remove it, or add it to %s",
			filepath.Join(dir, build.TarballName(name)), arch, catalog.SetsFile))
	}
	return there, missing, errors.Join(problems...)
}

// tarballsIn returns the tarballs of assets that a folder has, and the assets that it
// lacks. The error lists the tarballs that are not regular files.
func tarballsIn(dir string, names []string) (there []archive.Component, missing []string, err error) {
	for _, name := range names {
		path := filepath.Join(dir, build.TarballName(name))
		info, failed := os.Stat(path)
		switch {
		case errors.Is(failed, fs.ErrNotExist):
			missing = append(missing, name)
		case failed != nil:
			return nil, nil, fmt.Errorf("looking for the components: %w", failed)
		case !info.Mode().IsRegular():
			err = errors.Join(err, fmt.Errorf("%s is not a regular file: remove it", path))
		default:
			there = append(there, archive.Component{Name: name, Path: path})
		}
	}
	return there, missing, err
}

// released matches the rest of a name that begins with tarballPrefix if the file is a
// release's own.
var released = regexp.MustCompile(`^[0-9]+\..*-(amd64|arm64|s390x|ppc64le|riscv64)$`)

// extras returns the assets, sorted, of the tarballs in a folder that the release sets
// of an architecture neither contain nor depend on. Secondary outputs of components and
// of their dependencies are not extra.
func extras(dir string, assets *catalog.Catalog, arch catalog.Arch) (extra []string, err error) {
	closure, err := assets.Closure(Names(assets, arch), arch)
	if err != nil {
		return nil, err
	}
	accounted := map[string]bool{}
	for _, asset := range closure {
		accounted[asset.Name] = true
		for _, output := range asset.Outputs {
			accounted[asset.Name+"-"+output] = true
		}
	}
	there, err := fs.Glob(os.DirFS(dir), build.TarballName("*"))
	for _, file := range there {
		name := strings.TrimSuffix(strings.TrimPrefix(file, tarballPrefix), tarballSuffix)
		if !accounted[name] && !released.MatchString(name) {
			extra = append(extra, name)
		}
	}
	return extra, err
}
