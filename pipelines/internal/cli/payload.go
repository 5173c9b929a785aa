package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func payloadCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "payload",
		Short: "Make the kata-deploy image and its chart, and push them",
		Long: `Make the kata-deploy image, which has each asset of the release set ` + workspace.PayloadSet + `
in a layer of its own, and push it: only the layers that the registry lacks.`,
		Example: `  pipelines payload build --arch arm64 --docker-archive kata-deploy.tar --name kata-deploy:test
  pipelines payload push ghcr.io/OWNER/kata-deploy --allow-dirty
  pipelines payload index ghcr.io/OWNER/kata-deploy:nightly
  pipelines payload chart ghcr.io/OWNER/kata-deploy-charts --image ghcr.io/OWNER/kata-deploy:nightly`,
	}, payloadBuildCmd(a), payloadPushCmd(a), payloadIndexCmd(a), payloadChartCmd(a), payloadGCCmd(a))
}

// imageFlags say what is in an image.
type imageFlags struct {
	payload.Options
	// image is the name of an image of programs, "" for kata-deploy.
	image  string
	assets workspace.Selection
	from   string
	// proven demands a proof of each component, as a release does.
	proven bool
}

func (o *imageFlags) add(a *app, flags *pflag.FlagSet) {
	archFlag(flags, &o.assets.Arch)
	a.cacheFlag(flags)
	flags.StringVar(&o.image, "image", "", "image of "+catalog.ImagesFile+" to make, such as kubectl (default: kata-deploy)")
	flags.StringSliceVar(&o.assets.Names, "asset", nil, "assets to put in (default: those of the release set "+workspace.PayloadSet+")")
	flags.StringVar(&o.from, "from", "", "folder of the tarballs, kata-static-NAME.tar.zst (default: the caches, by the keys of the tree)")
	flags.StringVar(&o.Base, "base", "", "image to begin with, NAME@sha256:..., or scratch (default: that of "+catalog.ShimsFile+", or scratch if no registry answers)")
	flags.BoolVar(&o.RequireBase, "require-base", false, "fail if no registry has the base")
	flags.StringVar(&o.Installer, "installer", "", "static program that the image runs, as /"+payload.Installer+", or none (default: that of the asset "+payload.InstallerAsset+")")
	a.jsonFlag(flags)
}

// described is an image before it is built: its assets, and in dirty why no commit has
// its inputs, nil if one does.
type described struct {
	arch  catalog.Arch
	names []string
	dirty error
}

// describe selects the assets and finds their commit.
func (o *imageFlags) describe(ctx context.Context, ws *workspace.Workspace) (d described, err error) {
	if o.image != "" {
		d.names, d.arch, err = o.describePrograms(ws)
	} else {
		selection := o.assets
		if len(selection.Names) == 0 {
			selection.Set = workspace.PayloadSet
		}
		if d.names, d.arch, err = ws.Select(selection); err == nil {
			d.names = release.WithInstaller(ws.Catalog, d.names, o.Installer, d.arch)
		}
		if o.Installer == release.NoInstaller {
			o.Installer = ""
		}
	}
	if err != nil {
		return d, err
	}
	labels, dirty, err := release.Labels(ctx, ws, map[catalog.Arch][]string{d.arch: d.names})
	labels.Title, labels.Description = o.Labels.Title, o.Labels.Description
	o.Labels, d.dirty = labels, dirty
	return d, err
}

// describePrograms describes an image of programs, and returns its assets.
func (o *imageFlags) describePrograms(ws *workspace.Workspace) ([]string, catalog.Arch, error) {
	arch, err := workspace.Arch(o.assets.Arch)
	if err != nil {
		return nil, "", err
	}
	if len(o.assets.Names) > 0 || o.Installer != "" {
		return nil, "", usage(errors.New("--image: --asset and --installer are for kata-deploy: leave them out"))
	}
	images, err := ws.Catalog.LoadImages(ws.Files())
	if err != nil {
		return nil, "", err
	}
	var known []string
	for _, image := range images {
		if known = append(known, image.Name); image.Name != o.image {
			continue
		}
		if !slices.Contains(image.Arches, arch) {
			return nil, "", usage(fmt.Errorf("--image: %s: %s is not made for %s", image.Pos, image.Name, arch))
		}
		base, required := o.Base, o.RequireBase
		if o.Options, err = release.Programs(ws.Files(), image, arch); base == release.Scratch {
			o.Base = ""
		} else {
			o.Base = cmp.Or(base, o.Base)
		}
		o.RequireBase = required
		return image.Assets(), arch, err
	}
	return nil, "", usage(fmt.Errorf("--image: unknown image %q: %s has %s%s", o.image, catalog.ImagesFile, strings.Join(known, ", "), nearest.Hint(o.image, known)))
}

func (o imageFlags) build(ctx context.Context, a *app, ws *workspace.Workspace, d described) (*payload.Image, error) {
	o.Remote = remote(a, ws)
	err := payload.CheckBase(o.Base)
	if o.image == "" {
		err = errors.Join(release.Describe(ws, &o.Options, d.arch, d.names, len(o.assets.Names) > 0)...)
	}
	switch {
	case err != nil:
	case len(d.names) == 0: // An image of files only.
	case o.from != "":
		o.Components, err = release.ComponentsIn(ctx, ws, o.from, d.names, d.arch)
	default:
		o.Components, err = release.Components(ctx, ws, d.names, d.arch, o.proven)
	}
	var image *payload.Image
	if err == nil {
		stage := ws.Report.Stage("payload", "hash")
		image, err = payload.Build(ctx, o.Options)
		stage.End(err, fmt.Sprintf("%d components", len(o.Components)))
	}
	if err != nil {
		return nil, fmt.Errorf("making the payload for %s: %w", d.arch, err)
	}
	return image, nil
}

// remote says how to reach the registries of images: that of the cache with the
// credentials of the environment, as in Kata's CI.
func remote(a *app, ws *workspace.Workspace, mountFrom ...string) payload.RemoteOptions {
	o := payload.RemoteOptions{Client: ws.Registries(), Report: ws.Report, MountFrom: mountFrom, Signer: ws.Signer, Policy: ws.Store.Guard.Required()}
	if a.mode() == progress.GitHub {
		o.Parallel = 1 // Its folding groups cannot show two at once.
	}
	return o
}

type payloadBuildOptions struct {
	imageFlags
	layout  string
	archive string
	names   []string
}

// builtPayload is what `payload build` wrote.
type builtPayload struct {
	Digest string `json:"digest"`
	Arch   string `json:"arch"`
	// Base is the base of the image, "" for none.
	Base string `json:"base"`
	// Size is the size of all layers, in bytes.
	Size   int64           `json:"size"`
	Layers []payload.Layer `json:"layers"`
	// Layout and Archive are the paths that were written to.
	Layout  string `json:"layout"`
	Archive string `json:"archive,omitempty"`
}

func payloadBuildCmd(a *app) *cobra.Command {
	var o payloadBuildOptions
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Write the kata-deploy image of one architecture as an OCI layout",
		Long: `Write the kata-deploy image of one architecture as an OCI image layout, and as an
archive for docker load if one is named. Prints the digest: the same for the same
tarballs and the same commit.`,
		Example: `  pipelines payload build
  pipelines payload build --from build --asset qemu,kernel --base scratch -o image`,
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			return runPayloadBuild(ctx, a, ws, o)
		}),
	}
	flags := cmd.Flags()
	o.add(a, flags)
	flags.StringVarP(&o.layout, "output", "o", "", "folder for the OCI layout (default: build/payload/ARCH/image, or with the name of --image, in the root of the repository)")
	flags.StringVar(&o.archive, "docker-archive", "", "file for an archive that docker load takes (default: none)")
	flags.StringSliceVar(&o.names, "name", nil, "names of the image in both, such as quay.io/kata-containers/kata-deploy:3.28.0")
	return cmd
}

func runPayloadBuild(ctx context.Context, a *app, ws *workspace.Workspace, o payloadBuildOptions) error {
	for _, name := range o.names {
		if err := payload.CheckName(name); err != nil {
			return usage(fmt.Errorf("--name: %w", err))
		}
	}
	d, err := o.describe(ctx, ws)
	if err != nil {
		return err
	}
	image, err := o.build(ctx, a, ws, d)
	if err != nil {
		return err
	}
	if d.dirty != nil {
		ws.Report.Note("payload", fmt.Sprintf("names no commit: %v", d.dirty))
	}
	if o.layout == "" {
		o.layout = filepath.Join(ws.Root, "build", "payload", d.arch.GoArch(), cmp.Or(o.image, "image"))
	}
	stage := ws.Report.Stage("payload", "write")
	err = image.WriteLayout(ctx, o.layout, o.names)
	if err == nil && o.archive != "" {
		err = image.WriteDockerArchive(ctx, o.archive, o.names)
	}
	stage.End(err, image.Digest())
	if err != nil {
		return err
	}
	return a.print(builtPayload{
		Digest: image.Digest(), Arch: string(d.arch), Base: image.Base(), Size: image.Size(), Layers: image.Layers(), Layout: o.layout, Archive: o.archive,
	}, image.Digest()+" "+workspace.Relative(o.layout)+"\n")
}
