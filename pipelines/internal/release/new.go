package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sbom"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/supply"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// sourceAddress is the source repository that the labels of images name.
const sourceAddress = "https://github.com/kata-containers/kata-pipelines"

// Options say what the caller wants to release, and where.
type Options struct {
	// Only are the names of the architectures, none for all; Without are assets to leave
	// out of the release sets.
	Only, Without []string
	// Base is the image that images begin with, "scratch" for none, "" for that of
	// the shims. Installer is the folder of the programs that they run, "" for that of the
	// asset, and NoInstaller for none.
	Base, Installer string
	// Remote says how to reach the registry of the base.
	Remote payload.RemoteOptions
	// Output is the folder for the files of the release, "" for one in the checkout.
	Output string
	// PushTo names the registry of the store if the artifacts that it lacks are pushed
	// to it, and all are tagged there as released; "" if not.
	PushTo string
	// Repositories get the images, and the index of all architectures.
	Repositories []*payload.Repository
	// GitHub is the repository that gets the release page and the files, nil for none.
	GitHub *github.Client
	// Strict makes a component over its budget a problem, Force changes what is
	// published already, and KeepDraft leaves the release a draft and the images
	// without its tags.
	Strict, Force, KeepDraft bool
	// BeforeBuild makes a plan that accepts components that are still missing or
	// unproven. It cannot be executed.
	BeforeBuild bool
}

// New returns the Job of a workspace.
func New(ctx context.Context, ws *workspace.Workspace, o Options) (*Job, error) {
	assets, err := ws.CatalogWithout(o.Without)
	if err != nil {
		return nil, err
	}
	j := &Job{Options: o, Catalog: assets, Versions: ws.Resolver.Versions, Store: ws.Store, Contents: ws.Contents(), Signer: ws.Signer, Cache: ws.Cache, Report: ws.Report}
	if j.Output, err = filepath.Abs(cmp.Or(o.Output, filepath.Join(ws.Root, "build", "release"))); err != nil {
		return nil, err
	}
	if j.Arches, err = chosen(assets, o.Only); err != nil {
		return nil, err
	}
	if j.Version, err = ws.Version(); err != nil {
		return nil, err
	}
	images, err := j.programImages(ws)
	if err != nil {
		return nil, err
	}
	names, err := j.findComponents(ctx, ws, images)
	if err != nil {
		return nil, err
	}
	var dirty error
	if j.Labels, dirty, err = Labels(ctx, ws, names); err != nil {
		return nil, err
	}
	if j.Commit = j.Labels.Revision; dirty != nil {
		j.Problems = append(j.Problems, fmt.Errorf("refusing to release uncommitted changes: %w", dirty))
	}
	if j.Sources, err = supply.NewBundle(ws, names, true); err != nil {
		j.Problems = append(j.Problems, err)
	}
	if err := j.describeImages(ws); err != nil {
		return nil, err
	}
	return j, j.describePrograms(ws.Files(), images)
}

// findComponents finds the assets of the release, with their proofs, and returns their
// names.
func (j *Job) findComponents(ctx context.Context, ws *workspace.Workspace, images []catalog.ProgramImage) (map[catalog.Arch][]string, error) {
	if _, err := j.Catalog.Find(payload.InstallerAsset, j.Arches[0]); err != nil && len(j.Repositories) > 0 && j.Installer == "" {
		return nil, workspace.Usage(errors.New("--image: an image that runs nothing would become the latest kata-deploy: " +
			"name the folder of its programs with --installer, or pass --installer none if another image takes the payload from these"))
	}
	names := map[catalog.Arch][]string{}
	for _, arch := range j.Arches {
		names[arch] = withPrograms(Names(j.Catalog, arch), images, arch)
		if len(j.Repositories) > 0 {
			names[arch] = WithInstaller(j.Catalog, names[arch], j.Installer, arch)
		}
		found, err := Find(ctx, ws, names[arch], arch)
		if err != nil {
			return nil, err
		}
		j.Components = append(j.Components, found...)
	}
	if err := Prove(ctx, ws.Store, j.Components); err != nil {
		return nil, err
	}
	return names, CheckKeys(ctx, ws.Store, j.Components)
}

// describeImages describes the images of each architecture that has components, and the
// chart that installs them, if images are released.
func (j *Job) describeImages(ws *workspace.Workspace) error {
	if len(j.Repositories) == 0 {
		return nil
	}
	set, err := j.Catalog.FindSet(workspace.PayloadSet)
	if err != nil {
		return err
	}
	for _, arch := range j.Arches {
		if len(set.Components[arch]) == 0 {
			continue
		}
		// An image without its base would be a different one.
		image := payload.Options{Base: j.Base, RequireBase: true, Labels: j.Labels, Remote: j.Remote}
		if j.Installer != "" && j.Installer != NoInstaller {
			image.Installer = filepath.Join(j.Installer, "kata-deploy-"+arch.GoArch())
		}
		for _, err := range Describe(ws, &image, arch, set.Components[arch], len(j.Without) > 0) {
			// Problems of the base are the same for all architectures.
			if !slices.ContainsFunc(j.Problems, func(other error) bool { return other.Error() == err.Error() }) {
				j.Problems = append(j.Problems, err)
			}
		}
		j.Images = append(j.Images, image)
	}
	// A chart of an image that runs nothing would install nothing.
	if charted, err := chart.Files(ws.Files()); err != nil || len(charted) == 0 || j.Installer == NoInstaller {
		return err
	}
	j.Tree = ws.Files()
	shims, err := ws.Catalog.LoadShims(j.Tree)
	if err != nil {
		return err
	}
	for _, arch := range catalog.Arches() {
		var there []string
		if slices.Contains(j.Arches, arch) {
			there = set.Components[arch]
		}
		shims, _ = shims.Without(arch, there)
	}
	j.Shims, err = shims.JSON()
	return err
}

// chosen returns the architectures of a release, in a fixed order.
func chosen(assets *catalog.Catalog, names []string) ([]catalog.Arch, error) {
	wanted := map[catalog.Arch]bool{}
	for _, name := range names {
		arch, err := catalog.ParseArch(strings.TrimSpace(name))
		if err != nil {
			return nil, workspace.Usage(fmt.Errorf("--arch: %w", err))
		}
		if len(Names(assets, arch)) == 0 {
			return nil, workspace.Usage(fmt.Errorf("--arch %s: no release set has assets on it", arch))
		}
		wanted[arch] = true
	}
	arches := slices.DeleteFunc(catalog.Arches(), func(arch catalog.Arch) bool {
		return len(Names(assets, arch)) == 0 || len(names) > 0 && !wanted[arch]
	})
	if len(arches) == 0 {
		return nil, fmt.Errorf("nothing to release: %s has no assets in any set", catalog.SetsFile)
	}
	return arches, nil
}

// Labels returns the labels of the images of assets, and of their index: the commit
// that has their inputs, and its time. If no commit has them, dirty says why.
func Labels(ctx context.Context, ws *workspace.Workspace, names map[catalog.Arch][]string) (labels payload.Labels, dirty, err error) {
	// Without a commit, images get a fixed time, so that they do not change from run to
	// run.
	labels = payload.Labels{Source: sourceAddress, Created: time.Unix(0, 0)}
	if labels.Version, err = ws.Version(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return labels, nil, err
	}
	in := []string{"versions.yaml", catalog.SetsFile, catalog.ShimsFile, catalog.ImagesFile, workspace.VersionFile}
	for _, arch := range catalog.Arches() {
		of, err := ws.Inputs(names[arch], arch)
		if err != nil {
			return labels, nil, err
		}
		in = append(in, of...)
	}
	charted, err := chart.Files(ws.Files())
	if err != nil {
		return labels, nil, err
	}
	images, err := ws.Catalog.LoadImages(ws.Files())
	if err != nil {
		return labels, nil, err
	}
	for _, image := range images {
		in = slices.AppendSeq(in, maps.Values(image.Files))
	}
	labels.Revision, dirty = ws.Committed(ctx, append(in, charted...))
	if ctx.Err() != nil {
		return labels, nil, context.Cause(ctx)
	}
	if dirty == nil {
		labels.Created, err = ws.Git.Time(ctx, labels.Revision)
	} else {
		err = nil
	}
	return labels, dirty, err
}

// Job says what a release is made of and where it goes. It only holds values: Plan
// looks at GitHub and the registries and decides what to do.
type Job struct {
	Options
	// Version is the release, "3.28.0", and the tag on GitHub. Commit, in hex, is the
	// commit that it is built from, "" if there is none.
	Version, Commit string
	// Arches are the architectures of the release.
	Arches []catalog.Arch
	// Catalog has the assets and the release sets, Versions the pins.
	Catalog  *catalog.Catalog
	Versions *versions.File
	// Cache is the folder of the caches.
	Cache string
	// Components are the assets of all release sets, and Store has their artifacts.
	Components []Component
	Store      *store.Tiered
	// Signer signs the files; nil leaves them unsigned.
	Signer *trust.Signer
	// Contents is Store with the documents of what it publishes.
	Contents *sbom.Maker
	// Images describe the images of each architecture, without the components, which are
	// those of workspace.PayloadSet for kata-deploy. Labels describe the index.
	Images []payload.Options
	Labels payload.Labels
	// Tree has the chart, and Shims are what it may install; nil for no chart.
	Tree  fs.FS
	Shims []byte
	// Sources are what was built, nil to publish none.
	Sources *supply.Bundle
	// Limit is the size in bytes that a tarball must stay below, 0 for GitHub's.
	Limit int64
	// Problems are the reasons not to release that New found.
	Problems []error
	// Report shows the progress.
	Report *progress.Reporter
}

// Names returns the assets of all release sets of a catalog on an architecture, each
// once.
func Names(assets *catalog.Catalog, arch catalog.Arch) []string {
	var names []string
	for _, set := range assets.Sets {
		for _, name := range set.Components[arch] {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// on returns the components of an architecture.
func (j *Job) on(arch catalog.Arch) []Component {
	return slices.DeleteFunc(slices.Clone(j.Components), func(c Component) bool { return c.Arch != arch })
}

// of returns the components of a set on an architecture, in its order.
func (j *Job) of(set catalog.Set, arch catalog.Arch) []Component {
	var components []Component
	for _, name := range set.Components[arch] {
		for _, c := range j.Components {
			if c.Asset == name && c.Arch == arch {
				components = append(components, c)
			}
		}
	}
	return components
}
