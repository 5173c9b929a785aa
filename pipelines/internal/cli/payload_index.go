package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
)

type payloadIndexOptions struct {
	payloadTarget
	images       map[string]string
	allowMissing []string
	json         bool
}

func payloadIndexCmd(a *app) *cobra.Command {
	var o payloadIndexOptions
	cmd := &cobra.Command{
		Use:   "index REPOSITORY[:TAG|@DIGEST]",
		Short: "Push the image of all architectures, made of the pushed ones",
		Long: `Push the image of all architectures, an index of the images that payload push put
there for this commit. It gets the tags kata-containers-COMMIT and that of the
argument, and for a release VERSION and latest, which stays a newer release's. An image
that is missing is an error unless its architecture is excused. Prints the reference by
digest.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPayloadIndex(cmd.Context(), a, o, args[0])
		},
	}
	flags := cmd.Flags()
	o.flags(flags)
	flags.StringToStringVar(&o.images, "image", nil, "image of an architecture, ARCH=NAME:TAG or ARCH=NAME@sha256:... (default: that of the commit in the repository)")
	flags.StringSliceVar(&o.allowMissing, "allow-missing", nil, "architectures whose image may be missing")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
	return cmd
}

func runPayloadIndex(ctx context.Context, a *app, o payloadIndexOptions, destination string) error {
	to, err := payload.ParseDestination(destination)
	if err != nil {
		return usage(err)
	}
	ws, err := a.open(ctx, "")
	if err != nil {
		return err
	}
	defer ws.Close()
	p := payloads{app: a, ws: ws}
	set, err := ws.Catalog.FindSet(payloadSet)
	if err != nil {
		return err
	}
	if err := p.findCommit(ctx, set.Components); err != nil {
		return err
	}
	version, err := o.version(p)
	if err != nil {
		return err
	}
	push, err := o.options(to, payload.IndexTags(p.commit, version))
	if err != nil {
		return err
	}
	images, err := o.list(p, set, to)
	if err != nil {
		return err
	}
	repository, err := payload.OpenRepository(to.Repository, p.remote())
	if err != nil {
		return usage(err)
	}
	labels, err := p.labels()
	if err != nil {
		return err
	}
	pushed, err := repository.PushIndex(ctx, payload.IndexOptions{Images: images, Labels: labels, PushOptions: push})
	if err != nil {
		return fmt.Errorf("pushing the index: %w", err)
	}
	p.ws.Report.Note("payload", describePushed(pushed))
	return printPushed(a.Stdout, pushed, o.json)
}

// list says which image is that of each architecture of the release set.
func (o payloadIndexOptions) list(p payloads, set catalog.Set, to payload.Destination) ([]payload.IndexImage, error) {
	given := map[catalog.Arch]string{}
	for _, name := range slices.Sorted(maps.Keys(o.images)) {
		arch, err := o.released(set, "--image", name)
		if err != nil {
			return nil, err
		}
		given[arch] = o.images[name]
	}
	optional := map[catalog.Arch]bool{}
	for _, name := range o.allowMissing {
		arch, err := o.released(set, "--allow-missing", name)
		if err != nil {
			return nil, err
		}
		optional[arch] = true
	}
	var images []payload.IndexImage
	for _, arch := range catalog.Arches() {
		if len(set.Components[arch]) == 0 {
			continue
		}
		reference := given[arch]
		if reference == "" {
			if p.commit == "" {
				return nil, errors.Join(usage(fmt.Errorf("no image for %s: name it with --image %s=NAME:TAG", arch, arch)), p.dirty)
			}
			reference = to.Repository + ":" + payload.ImageTags(p.commit, "", arch.GoArch())[0].Name
		}
		images = append(images, payload.IndexImage{GoArch: arch.GoArch(), Reference: reference, Optional: optional[arch]})
	}
	return images, nil
}

// released resolves an architecture that the release set is made for.
func (o payloadIndexOptions) released(set catalog.Set, flag, name string) (catalog.Arch, error) {
	arch, err := catalog.ParseArch(strings.TrimSpace(name))
	if err == nil {
		_, err = set.On(arch)
	}
	if err != nil {
		return "", usage(fmt.Errorf("%s: %w", flag, err))
	}
	return arch, nil
}
