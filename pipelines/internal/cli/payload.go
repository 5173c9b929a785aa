package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// payloadSet is the release set whose assets the kata-deploy image holds.
const payloadSet = workspace.PayloadSet

// sourceAddress is where images say that they come from.
const sourceAddress = "https://github.com/kata-containers/kata-pipelines"

func payloadCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "payload",
		Short: "Make the kata-deploy image and push it",
		Long: `Make the kata-deploy image, which has each asset of the release set ` + payloadSet + `
in a layer of its own, and push it: only the layers that the registry lacks.`,
	}, payloadBuildCmd(a), payloadPushCmd(a), payloadIndexCmd(a))
}

// payloadOptions say what is in an image.
type payloadOptions struct {
	registry    string
	arch        string
	assets      []string
	from        string
	base        string
	requireBase bool
	installer   string
	json        bool
}

func (o *payloadOptions) flags(flags *pflag.FlagSet, a *app) {
	archFlag(flags, &o.arch)
	cacheFlag(flags, a, &o.registry)
	flags.StringSliceVar(&o.assets, "asset", nil, "assets to put in (default: those of the release set "+payloadSet+")")
	flags.StringVar(&o.from, "from", "", "folder of the tarballs, kata-static-NAME.tar.zst (default: the caches, by the keys of the tree)")
	flags.StringVar(&o.base, "base", "", "image to begin with, NAME@sha256:..., or scratch (default: that of "+catalog.ShimsFile+", or scratch where no registry answers)")
	flags.BoolVar(&o.requireBase, "require-base", false, "fail where no registry has the base")
	flags.StringVar(&o.installer, "installer", "", "static program that the image runs, as /"+payload.Installer+" (default: none)")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
}

// payloads is what the verbs about payloads work with.
type payloads struct {
	payloadOptions
	app   *app
	ws    *workspace.Workspace
	arch  catalog.Arch
	names []string
	// commit is that of the inputs, "" where they are no commit's, for the reason
	// that dirty says.
	commit string
	dirty  error
	// created is the time of the commit.
	created time.Time
	// given are the tarballs, where they are at hand.
	given []payload.Component
}

// withPayload runs something with the image, put together once prepare has nothing
// against it.
func (o payloadOptions) withPayload(ctx context.Context, a *app, prepare func(*payloads) error, run func(payloads, *payload.Image) error) error {
	ws, err := a.open(ctx, o.registry)
	if err != nil {
		return err
	}
	defer ws.Close()
	p := payloads{payloadOptions: o, app: a, ws: ws}
	selection := workspace.Selection{Names: o.assets, Arch: o.arch}
	if len(o.assets) == 0 {
		selection.Set = payloadSet
	}
	if p.names, p.arch, err = ws.Select(selection); err != nil {
		return err
	}
	if err := p.findCommit(ctx, map[catalog.Arch][]string{p.arch: p.names}); err != nil {
		return err
	}
	if err := prepare(&p); err != nil {
		return err
	}
	image, err := p.build(ctx)
	if err != nil {
		return fmt.Errorf("making the payload for %s: %w", p.arch, err)
	}
	return errors.Join(run(p, image), image.Close())
}

// findCommit asks git what the inputs of a payload are a commit of.
func (p *payloads) findCommit(ctx context.Context, assets map[catalog.Arch][]string) error {
	in := workspace.Inputs{Files: []string{"versions.yaml", catalog.SetsFile, catalog.ShimsFile, workspace.VersionFile}}
	for _, arch := range catalog.Arches() {
		if len(assets[arch]) == 0 {
			continue
		}
		of, err := p.ws.Inputs(assets[arch], arch)
		if err != nil {
			return err
		}
		in = in.Add(of)
	}
	p.commit, p.dirty = p.ws.Committed(ctx, in)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// Nothing that changes from run to run is in an image of no commit.
	p.created = time.Unix(0, 0)
	if p.commit == "" {
		return nil
	}
	var err error
	p.created, err = p.ws.Git.Time(ctx, p.commit)
	return err
}

// build puts the image together.
func (p payloads) build(ctx context.Context) (*payload.Image, error) {
	shims, err := p.shims()
	if err != nil {
		return nil, err
	}
	components, err := p.components(ctx, filepath.Join(p.ws.Cache, "components", string(p.arch)))
	if err != nil {
		return nil, err
	}
	files, err := p.files(shims)
	if err != nil {
		return nil, err
	}
	labels, err := p.labels()
	if err != nil {
		return nil, err
	}
	stage := p.ws.Report.Stage("payload", "hash")
	image, err := payload.Build(ctx, payload.Options{
		GoArch: p.arch.GoArch(), Base: p.baseOf(shims), RequireBase: p.requireBase,
		Components: components, Files: files, Installer: p.installer,
		Labels:  labels,
		Scratch: filepath.Join(p.ws.Cache, "work"),
		Remote:  p.remote(),
	})
	stage.End(err, fmt.Sprintf("%d components", len(components)))
	return image, err
}

// scratch is the base that is none.
const scratch = "scratch"

// baseOf returns the base that images begin with, "" for none.
func (p payloads) baseOf(shims *catalog.Shims) string {
	switch p.base {
	case "":
		return shims.Base
	case scratch:
		return ""
	}
	return p.base
}

// labels describe an image, and the index of images: of the same commit they are the
// same, whether it is pushed as a release or not.
func (p payloads) labels() (payload.Labels, error) {
	version, err := p.ws.Version()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return payload.Labels{Version: version, Revision: p.commit, Created: p.created, Source: sourceAddress}, err
}

// shims are those that the image can serve: all of them, unless the caller chose the
// assets.
func (p payloads) shims() (*catalog.Shims, error) {
	shims, err := p.ws.Catalog.LoadShims(p.ws.Files())
	if err != nil {
		return nil, err
	}
	if len(p.assets) == 0 {
		return shims, shims.Check(p.arch, p.names)
	}
	shims, dropped := shims.Without(p.arch, p.names)
	if len(dropped) > 0 {
		p.ws.Report.Note("payload", "serves no node that runs "+strings.Join(dropped, ", ")+": it lacks what these need")
	}
	return shims, nil
}

// files are those that tell an installer what to do.
func (p payloads) files(shims *catalog.Shims) ([]payload.File, error) {
	json, err := shims.JSON()
	if err != nil {
		return nil, err
	}
	versions, err := os.ReadFile(p.ws.Pins)
	return []payload.File{{Name: "shim-components.json", Content: json}, {Name: "versions.yaml", Content: versions}}, err
}

// components finds the tarballs: in a folder, or in the caches by the keys of the
// tree. Those from the caches are put into dir, where the next run, and a merge, finds
// them.
func (p payloads) components(ctx context.Context, dir string) ([]payload.Component, error) {
	if p.given != nil {
		return p.given, nil
	}
	var components []payload.Component
	if p.from != "" {
		var problems []error
		for _, name := range p.names {
			path := filepath.Join(p.from, build.TarballName(name))
			if _, err := os.Stat(path); err != nil {
				problems = append(problems, fmt.Errorf("component %s: %w: run build-asset %s first, or leave out --from to take it from the caches", name, err, name))
			} else if err := payload.CheckPrograms(path, p.arch.GoArch()); err != nil {
				problems = append(problems, fmt.Errorf("component %s: %w", name, err))
			}
			components = append(components, payload.Component{Name: name, Path: path})
		}
		return components, errors.Join(problems...)
	}
	wanted := map[string]bool{}
	for _, name := range p.names {
		wanted[name] = true
	}
	err := each(p.ws, p.names, p.arch, func(ref store.Ref) (store.Artifact, error) {
		artifact, err := p.ws.Store.Get(ctx, ref)
		if err != nil || !wanted[ref.Asset] {
			return artifact, p.missing(ref, err)
		}
		path := filepath.Join(dir, build.TarballName(ref.Asset))
		if _, err := p.ws.Store.Export(ctx, artifact, "", path); err != nil {
			return artifact, p.missing(ref, err)
		}
		components = append(components, payload.Component{Name: ref.Asset, Path: path})
		return artifact, nil
	})
	return components, err
}

func (p payloads) missing(ref store.Ref, err error) error {
	if store.IsNotFound(err) {
		return fmt.Errorf("%w in the caches under its key %.12s: run build-asset --arch %s %s first", store.ErrNotFound, ref.Key, ref.Arch, ref.Asset)
	}
	return err
}

// folder is where the image of the architecture is put.
func (p payloads) folder() string {
	return filepath.Join(p.ws.Root, "build", "payload", p.arch.GoArch())
}

// remote says how registries are spoken to. The registry of the cache has its
// credentials in the environment, as in Kata's CI; others in the docker config.
func (p payloads) remote() payload.RemoteOptions {
	o := payload.RemoteOptions{
		Note: func(text string) { p.ws.Report.Note("payload", text) },
		Bytes: func(layer string) (func(done, total int64), func(error, string)) {
			stage := p.ws.Report.Stage(layer, "push")
			return stage.Bytes, stage.End
		},
		Credentials: p.ws.Environment.Credentials,
	}
	if p.app.mode() == progress.GitHub {
		o.Parallel = 1 // Its folding groups cannot show two at once.
	}
	return o
}
