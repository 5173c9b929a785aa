package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Scratch is the name of the base that is none.
const Scratch = "scratch"

// Image is the kata-deploy image of an architecture.
type Image struct {
	Arch catalog.Arch
	// Names are the assets in it. Partial is true if they were chosen: then shims that
	// need others are left out.
	Names   []string
	Partial bool
	// Base is as in Options, Installer the program that the image runs, "" for none.
	Base, Installer string
}

// Options returns the image for payload.Build, without its components, and all that
// would be wrong with it.
func (i Image) Options(ws *workspace.Workspace, labels payload.Labels) (o payload.Options, problems []error) {
	o = payload.Options{GoArch: i.Arch.GoArch(), Installer: i.Installer, Labels: labels, Scratch: os.TempDir()}
	shims, err := ws.Catalog.LoadShims(ws.Files())
	if err != nil {
		return o, []error{err}
	}
	switch i.Base {
	case "":
		o.Base = shims.Base
	case Scratch:
	default:
		o.Base = i.Base
	}
	problems = append(problems, payload.CheckBase(o.Base))
	if i.Installer != "" {
		if err := payload.CheckInstaller(i.Installer, o.GoArch); err != nil {
			problems = append(problems, fmt.Errorf("--installer: %w", err))
		}
	}
	if i.Partial {
		var dropped []string
		if shims, dropped = shims.Without(i.Arch, i.Names); len(dropped) > 0 {
			ws.Report.Note("payload", "serves no node that runs "+strings.Join(dropped, ", ")+": it lacks what these need")
		}
	} else {
		problems = append(problems, shims.Check(i.Arch, i.Names))
	}
	json, err := shims.JSON()
	problems = append(problems, err)
	pins, err := os.ReadFile(ws.Pins)
	o.Files = []payload.File{{Name: "shim-components.json", Content: json}, {Name: "versions.yaml", Content: pins}}
	problems = append(problems, err)
	return o, slices.DeleteFunc(problems, func(err error) bool { return err == nil })
}

// Components returns the tarballs that go into the image, from the caches by the keys
// of the tree. If verified is true, each must have a proof that passed.
func (i Image) Components(ctx context.Context, ws *workspace.Workspace, verified bool) (components []payload.Component, err error) {
	found, err := Find(ctx, ws, i.Names, i.Arch)
	if err == nil {
		err = Missing(found)
	}
	if err == nil && verified {
		err = errors.Join(Prove(ctx, ws.Store, found), Unproven(found))
	}
	if err != nil {
		return nil, err
	}
	tarballs, err := Tarballs(ctx, ws.Store, found)
	for _, t := range tarballs {
		components = append(components, payload.Component{Name: t.Name, Path: t.Path})
	}
	return components, err
}

// ComponentsIn returns the tarballs of a folder that go into the image. It vets them,
// and reports all problems.
func (i Image) ComponentsIn(ctx context.Context, ws *workspace.Workspace, dir string) (components []payload.Component, err error) {
	var problems []error
	vetted := archive.Verdicts{Dir: filepath.Join(ws.Cache, "vetted")}
	for _, name := range i.Names {
		path := filepath.Join(dir, build.TarballName(name))
		_, err := os.Stat(path)
		if err != nil {
			err = fmt.Errorf("%w: run build-asset %s first, or leave out --from to take it from the caches", err, name)
		} else if err = vetted.Vet(ctx, path, ""); err == nil {
			err = payload.CheckPrograms(path, i.Arch.GoArch())
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("component %s: %w", name, err))
		}
		components = append(components, payload.Component{Name: name, Path: path})
	}
	return components, errors.Join(problems...)
}
