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

// setIn finds the tarballs of a set in a folder, in its order, and the assets whose
// tarballs are missing there. The error lists these, unless partial tolerates them and
// there are others, and the tarballs that no release on this architecture contains or is
// made from: they may be what is missing, under another name.
func setIn(dir string, assets *catalog.Catalog, set catalog.Set, arch catalog.Arch, partial bool) (there []archive.Component, missing []string, err error) {
	names, err := set.On(arch)
	if err != nil {
		return nil, nil, err
	}
	there, missing, irregular := tarballsIn(dir, names)
	extra, err := extras(dir, assets, arch)
	problems := []error{irregular, err}
	if len(missing) > 0 && (!partial || len(there) == 0) {
		problems = append(problems, fmt.Errorf("%d of %d components are missing in %s: build them (`pipelines build-asset %s`), take them from the caches (no --from), or leave them out (--without)",
			len(missing), len(names), dir, strings.Join(missing, " ")))
		for _, name := range missing {
			problems = append(problems, fmt.Errorf("missing: %s%s", build.TarballName(name), nearest.Hint(name, extra)))
		}
	}
	for _, name := range extra {
		problems = append(problems, fmt.Errorf("extra: %s belongs to no release set of %s, nor to what one is made from: remove it, or add it to %s",
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

// released matches what follows the prefix in the name of a release's own file.
var released = regexp.MustCompile(`^[0-9]+\..*-(amd64|arm64|s390x|ppc64le|riscv64)$`)

// extras returns the assets of other tarballs in a folder than those that the release
// sets of an architecture contain or are made from, sorted: components, their
// dependencies, and the secondary outputs of both.
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
