package release

import (
	"context"
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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Scratch is the name of the empty base.
const Scratch = "scratch"

// NoInstaller selects an image that runs nothing.
const NoInstaller = "none"

// WithInstaller adds the asset whose program the image runs to its components, unless
// another program is given or the catalog lacks the asset.
func WithInstaller(assets *catalog.Catalog, names []string, given string, arch catalog.Arch) []string {
	asset, err := assets.Find(payload.InstallerAsset, arch)
	if given != "" || err != nil || slices.Contains(names, asset.Name) {
		return names
	}
	return append(slices.Clone(names), asset.Name)
}

// Describe completes the options of the image of assets on an architecture: its base,
// where "" means that of the shims, and the files that an installer reads. It returns
// all problems that the image would have. If partial is true the caller chose the
// assets: shims that need others are left out.
func Describe(ws *workspace.Workspace, o *payload.Options, arch catalog.Arch, names []string, partial bool) (problems []error) {
	o.GoArch = arch.GoArch()
	shims, err := ws.Catalog.LoadShims(ws.Files())
	if err != nil {
		return []error{err}
	}
	switch o.Base {
	case "":
		o.Base = shims.Base
	case Scratch:
		o.Base = ""
	}
	problems = append(problems, payload.CheckBase(o.Base))
	if o.Installer != "" {
		if err := payload.CheckInstaller(o.Installer, o.GoArch); err != nil {
			problems = append(problems, fmt.Errorf("--installer: %w", err))
		}
	}
	if partial {
		var dropped []string
		if shims, dropped = shims.Without(arch, names); len(dropped) > 0 {
			ws.Report.Note("payload", "leaves out the shims "+strings.Join(dropped, ", ")+": it lacks the assets that they need")
		}
	} else {
		problems = append(problems, shims.Check(arch, names))
	}
	json, err := shims.JSON()
	problems = append(problems, err)
	o.Files = []payload.File{
		{Name: "shim-components.json", Content: json}, {Name: "versions.yaml", Content: ws.Resolver.Versions.Data},
	}
	return slices.DeleteFunc(problems, func(err error) bool { return err == nil })
}

// Components returns the tarballs of assets from the caches, by the keys of the tree. If
// verified is true, each must have a proof that passed, and no module may be signed with a
// public key.
func Components(ctx context.Context, ws *workspace.Workspace, names []string, arch catalog.Arch, verified bool) ([]archive.Component, error) {
	found, err := Find(ctx, ws, names, arch)
	if err == nil {
		err = Missing(found)
	}
	if err == nil && verified {
		err = errors.Join(Prove(ctx, ws.Store, found), CheckKeys(ctx, ws.Store, found))
		err = errors.Join(err, Unproven(found), PubliclySigned(found), Unreleasable(found))
	}
	if err != nil {
		return nil, err
	}
	return Tarballs(ctx, ws.Store, found)
}

// ComponentsIn returns the tarballs of assets in a folder. It vets them; the error
// lists all problems.
func ComponentsIn(ctx context.Context, ws *workspace.Workspace, dir string, names []string, arch catalog.Arch) ([]archive.Component, error) {
	there, missing, err := tarballsIn(dir, names)
	problems := []error{err}
	for _, name := range missing {
		problems = append(problems, fmt.Errorf("component %s: %s lacks %s: run build-asset %s first, or leave out --from to take it from the caches",
			name, dir, build.TarballName(name), name))
	}
	vetted := archive.Verdicts{Dir: filepath.Join(ws.Cache, "vetted")}
	for _, c := range there {
		err := vetted.Vet(ctx, c.Path, "")
		if err == nil {
			err = payload.CheckPrograms(c.Path, arch.GoArch())
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("component %s: %w", c.Name, err))
		}
	}
	return there, errors.Join(problems...)
}

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
