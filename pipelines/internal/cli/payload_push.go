package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// tagFlags say under which tags something is pushed.
type tagFlags struct {
	release    workspace.Switch
	allowDirty bool
	force      bool
}

func (o *tagFlags) add(a *app, flags *pflag.FlagSet) {
	o.release = a.environment().Release
	switchFlag(flags, &o.release, "release", "push as the release that the file VERSION names (default: RELEASE is yes)")
	allowDirtyFlag(flags, &o.allowDirty)
	flags.BoolVar(&o.force, "force", false, "replace a release that is there already")
}

func (o tagFlags) version(ws *workspace.Workspace, dirty error) (string, error) {
	release, err := o.release.On(false)
	if err != nil {
		return "", err
	}
	return ws.Release(release, dirty, o.allowDirty)
}

// options adds the tag of the destination to others. A destination with a digest is
// used as it is: it gets no tag.
func (o tagFlags) options(to payload.Destination, tags []payload.Tag) (payload.PushOptions, error) {
	if to.Digest != "" {
		return payload.PushOptions{Digest: to.Digest}, nil
	}
	if to.Tag != "" {
		var err error
		if tags, err = payload.WithGiven(tags, to.Tag); err != nil {
			return payload.PushOptions{}, usage(err)
		}
	}
	return payload.PushOptions{Tags: tags, Force: o.force}, nil
}

type payloadPushOptions struct {
	imageFlags
	tags      tagFlags
	mountFrom []string
}

func payloadPushCmd(a *app) *cobra.Command {
	var o payloadPushOptions
	cmd := &cobra.Command{
		Use:   "push REPOSITORY[:TAG|@DIGEST]",
		Short: "Push the kata-deploy image of one architecture",
		Long: `Push the kata-deploy image of one architecture: the layers that the repository
lacks, and then the tags kata-containers-COMMIT-ARCH, that of the argument, and for a
release VERSION-ARCH, which is not moved to another image; only the index gets the tags
VERSION and latest. An argument with a digest is used as it is: the image must have
that digest, and gets no tag. Prints the reference by digest.

The credentials are those of the docker config.`,
		Example: `  pipelines payload push ghcr.io/OWNER/kata-deploy
  pipelines payload push ghcr.io/OWNER/kata-deploy:try --allow-dirty --arch arm64`,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			return runPayloadPush(ctx, a, ws, o, args[0])
		}),
	}
	flags := cmd.Flags()
	o.add(a, flags)
	o.tags.add(a, flags)
	flags.StringSliceVar(&o.mountFrom, "mount-from", nil, "repositories of the same registry that may have layers, which are then not sent")
	return cmd
}

// runPayloadPush refuses what can be refused before it builds anything.
func runPayloadPush(ctx context.Context, a *app, ws *workspace.Workspace, o payloadPushOptions, destination string) error {
	to, err := payload.ParseDestination(destination)
	if err != nil {
		return usage(err)
	}
	d, err := o.describe(ctx, ws)
	if err != nil {
		return err
	}
	version, err := o.tags.version(ws, d.dirty)
	if err != nil {
		return err
	}
	if version != "" && len(o.assets.Names) > 0 {
		return usage(errors.New("--asset: a release has all assets of the release set " + workspace.PayloadSet + ": leave it out, or push without --release"))
	}
	if o.proven = version != ""; o.proven && o.from != "" {
		return usage(errors.New("--from: a release is made of verified artifacts, and the tarballs of a folder have no proof: leave it out, or push without --release"))
	}
	options, err := o.tags.options(to, payload.ImageTags(o.Labels.Revision, version, d.arch.GoArch()))
	if err != nil {
		return err
	}
	repository, err := payload.OpenRepository(to.Repository, remote(a, ws, o.mountFrom...))
	if err != nil {
		return usage(err)
	}
	// A release without its base would be another image, and keep the tag.
	o.RequireBase = o.RequireBase || version != ""
	image, err := o.build(ctx, a, ws, d)
	if err != nil {
		return err
	}
	pushed, err := repository.Push(ctx, image, options)
	if err != nil {
		return fmt.Errorf("pushing the payload for %s: %w", d.arch, err)
	}
	return printPushed(a, ws, pushed)
}

// printPushed prints the reference by digest, and the tags.
func printPushed(a *app, ws *workspace.Workspace, p payload.Pushed) error {
	note := "everything is there already"
	if p.Changed {
		note = fmt.Sprintf("sent %s, mounted %s, had %s", progress.Size(p.Sent), progress.Size(p.Mounted), progress.Size(p.There))
	}
	ws.Report.Note("payload", note)
	return a.print(p, strings.Join(append([]string{p.Reference}, p.Tags...), "\ntag ")+"\n")
}

type payloadIndexOptions struct {
	tags         tagFlags
	images       map[string]string
	allowMissing []string
}

func payloadIndexCmd(a *app) *cobra.Command {
	var o payloadIndexOptions
	cmd := &cobra.Command{
		Use:   "index REPOSITORY[:TAG|@DIGEST]",
		Short: "Push the index of the images of all architectures",
		Long: `Push the index of the images of all architectures that payload push has pushed for
this commit. It gets the tags kata-containers-COMMIT and that of the argument, and for
a release VERSION and latest, which never moves to an older release. A missing image is
an error unless its architecture is excused. Prints the reference by digest, which in a
step of GitHub Actions is also its output "image".`,
		Example: `  pipelines payload index ghcr.io/OWNER/kata-deploy:nightly
  pipelines payload index ghcr.io/OWNER/kata-deploy --release --allow-missing s390x`,
		Args: cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			return runPayloadIndex(ctx, a, ws, o, args[0])
		}),
	}
	flags := cmd.Flags()
	o.tags.add(a, flags)
	flags.StringToStringVar(&o.images, "image", nil, "image of an architecture, ARCH=NAME:TAG or ARCH=NAME@sha256:... (default: that of the commit in the repository)")
	flags.StringSliceVar(&o.allowMissing, "allow-missing", nil, "architectures whose image may be missing")
	a.jsonFlag(flags)
	return cmd
}

func runPayloadIndex(ctx context.Context, a *app, ws *workspace.Workspace, o payloadIndexOptions, destination string) error {
	to, err := payload.ParseDestination(destination)
	if err != nil {
		return usage(err)
	}
	set, err := ws.Catalog.FindSet(workspace.PayloadSet)
	if err != nil {
		return err
	}
	labels, dirty, err := release.Labels(ctx, ws, set.Components)
	if err != nil {
		return err
	}
	version, err := o.tags.version(ws, dirty)
	if err != nil {
		return err
	}
	push, err := o.tags.options(to, payload.IndexTags(labels.Revision, version))
	if err != nil {
		return err
	}
	images, err := o.list(set, to, labels.Revision)
	if err != nil {
		return errors.Join(err, dirty)
	}
	repository, err := payload.OpenRepository(to.Repository, remote(a, ws))
	if err != nil {
		return usage(err)
	}
	pushed, err := repository.PushIndex(ctx, payload.IndexOptions{Images: images, Labels: labels, PushOptions: push})
	if err != nil {
		return fmt.Errorf("pushing the index: %w", err)
	}
	if err := a.output("image", pushed.Reference); err != nil {
		return err
	}
	return printPushed(a, ws, pushed)
}

// list returns the image of each architecture of the release set.
func (o payloadIndexOptions) list(set catalog.Set, to payload.Destination, commit string) (images []payload.IndexImage, err error) {
	for _, arch := range catalog.Arches() {
		image := payload.IndexImage{GoArch: arch.GoArch()}
		if commit != "" {
			image.Reference = to.Repository + ":" + payload.ImageTags(commit, "", arch.GoArch())[0].Name
		}
		if len(set.Components[arch]) > 0 {
			images = append(images, image)
		}
	}
	// change changes the image of the architecture that a flag names.
	change := func(flag, name, reference string, optional bool) error {
		arch, err := catalog.ParseArch(strings.TrimSpace(name))
		if err == nil {
			_, err = set.On(arch)
		}
		if err != nil {
			return usage(fmt.Errorf("%s: %w", flag, err))
		}
		image := &images[slices.IndexFunc(images, func(i payload.IndexImage) bool { return i.GoArch == arch.GoArch() })]
		image.Reference, image.Optional = cmp.Or(reference, image.Reference), optional
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(o.images)) {
		err = errors.Join(err, change("--image", name, o.images[name], false))
	}
	for _, name := range o.allowMissing {
		err = errors.Join(err, change("--allow-missing", name, "", true))
	}
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(images, func(i payload.IndexImage) bool { return i.Reference == "" }); i >= 0 {
		return nil, usage(fmt.Errorf("no image for %s: name it with --image %[1]s=NAME:TAG", images[i].GoArch))
	}
	return images, nil
}
