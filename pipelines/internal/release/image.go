package release

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Scratch is the name of the empty base.
const Scratch = "scratch"

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
		err = errors.Join(err, Unproven(found), PubliclySigned(found))
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
