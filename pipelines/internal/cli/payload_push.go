package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// payloadTarget says under which tags something is pushed.
type payloadTarget struct {
	release    bool
	allowDirty bool
	force      bool
	given      *pflag.FlagSet
}

func (o *payloadTarget) flags(flags *pflag.FlagSet) {
	o.given = flags
	flags.BoolVar(&o.release, "release", false, "push as the release that the file VERSION names (default: RELEASE is yes)")
	allowDirtyFlag(flags, &o.allowDirty)
	flags.BoolVar(&o.force, "force", false, "replace a release that is there already")
}

// version returns the release that is pushed, or "". What is no commit's is
// refused, unless the caller insists, and is never a release.
func (o payloadTarget) version(p payloads) (string, error) {
	release, err := p.ws.Environment.Release.On(false)
	if o.given.Changed("release") {
		release, err = o.release, nil
	}
	switch {
	case err != nil:
		return "", err
	case p.dirty != nil && release:
		return "", fmt.Errorf("refusing to push uncommitted changes as a release: %w", p.dirty)
	case p.dirty != nil && !o.allowDirty:
		return "", fmt.Errorf("refusing to push: %w (or pass --allow-dirty)", p.dirty)
	case !release:
		return "", nil
	}
	return p.ws.Version()
}

// options adds the tag of the destination to others. A destination with a digest is
// used as it is: it gets no tag.
func (o payloadTarget) options(to payload.Destination, tags []payload.Tag) (payload.PushOptions, error) {
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
	payloadOptions
	payloadTarget
	mountFrom []string
}

func payloadPushCmd(a *app) *cobra.Command {
	var o payloadPushOptions
	cmd := &cobra.Command{
		Use:   "push REPOSITORY[:TAG|@DIGEST]",
		Short: "Push the kata-deploy image of one architecture",
		Long: `Push the kata-deploy image of one architecture: the layers that the repository
lacks, and then the tags kata-containers-COMMIT-ARCH, that of the argument, and for a
release VERSION-ARCH, which stays another image's if it is one; VERSION and latest are
the index's alone. An argument with a
digest is used as it is: the image must have that digest, and gets no tag. Prints the
reference by digest.

Who may push is in the docker config.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPayloadPush(cmd.Context(), a, o, args[0])
		},
	}
	flags := cmd.Flags()
	o.payloadOptions.flags(flags, a)
	o.payloadTarget.flags(flags)
	flags.StringSliceVar(&o.mountFrom, "mount-from", nil, "repositories of the same registry that may have layers, which are then not sent")
	return cmd
}

func runPayloadPush(ctx context.Context, a *app, o payloadPushOptions, destination string) error {
	to, err := payload.ParseDestination(destination)
	if err != nil {
		return usage(err)
	}
	var options payload.PushOptions
	var repository *payload.Repository
	// What can be refused is refused before anything is built.
	prepare := func(p *payloads) error {
		version, err := o.version(*p)
		if err != nil {
			return err
		}
		if version != "" && len(o.assets) > 0 {
			return usage(errors.New("--asset: a release has all assets of the release set " + payloadSet + ": leave it out, or push without --release"))
		}
		// Without its base a release would be another image, and keep the tag.
		p.requireBase = p.requireBase || version != ""
		if options, err = o.options(to, payload.ImageTags(p.commit, version, p.arch.GoArch())); err != nil {
			return err
		}
		remote := p.remote()
		remote.MountFrom = o.mountFrom
		repository, err = payload.OpenRepository(to.Repository, remote)
		return usage(err)
	}
	return o.withPayload(ctx, a, prepare, func(p payloads, image *payload.Image) error {
		pushed, err := repository.Push(ctx, image, options)
		if err != nil {
			return fmt.Errorf("pushing the payload for %s: %w", p.arch, err)
		}
		p.ws.Report.Note("payload", describePushed(pushed))
		return printPushed(a.Stdout, pushed, o.json)
	})
}

func describePushed(p payload.Pushed) string {
	if !p.Changed {
		return "everything is there already"
	}
	return fmt.Sprintf("sent %s, mounted %s, had %s", progress.Size(p.Sent), progress.Size(p.Mounted), progress.Size(p.There))
}

func printPushed(w io.Writer, pushed payload.Pushed, asJSON bool) error {
	if asJSON {
		return printJSON(w, pushed)
	}
	_, err := fmt.Fprintln(w, pushed.Reference)
	for _, tag := range pushed.Tags {
		if err == nil {
			_, err = fmt.Fprintln(w, "tag", tag)
		}
	}
	return err
}
