package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type payloadBuildOptions struct {
	payloadOptions
	layout  string
	archive string
	names   []string
}

// builtPayload is what `payload build` wrote.
type builtPayload struct {
	Digest string `json:"digest"`
	Arch   string `json:"arch"`
	// Base is that of the image, "" for none.
	Base string `json:"base"`
	// Size is that of all layers, in bytes.
	Size   int64               `json:"size"`
	Layers []payload.LayerInfo `json:"layers"`
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
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runPayloadBuild(cmd.Context(), a, o) },
	}
	flags := cmd.Flags()
	o.flags(flags, a)
	flags.StringVarP(&o.layout, "output", "o", "", "folder for the OCI layout (default: build/payload/ARCH/image in the root of the repository)")
	flags.StringVar(&o.archive, "docker-archive", "", "file for an archive that docker load takes (default: none)")
	flags.StringSliceVar(&o.names, "name", nil, "names of the image in both, such as quay.io/kata-containers/kata-deploy:3.28.0")
	return cmd
}

func runPayloadBuild(ctx context.Context, a *app, o payloadBuildOptions) error {
	for _, name := range o.names {
		if err := payload.CheckName(name); err != nil {
			return usage(fmt.Errorf("--name: %w", err))
		}
	}
	anything := func(*payloads) error { return nil }
	return o.withPayload(ctx, a, anything, func(p payloads, image *payload.Image) error {
		if p.dirty != nil {
			p.ws.Report.Note("payload", fmt.Sprintf("is of no commit: %v", p.dirty))
		}
		if o.layout == "" {
			o.layout = filepath.Join(p.folder(), "image")
		}
		stage := p.ws.Report.Stage("payload", "write")
		err := image.WriteLayout(ctx, o.layout, o.names)
		if err == nil && o.archive != "" {
			err = image.WriteDockerArchive(ctx, o.archive, o.names)
		}
		stage.End(err, image.Digest())
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(a.Stdout, builtPayload{
				Digest: image.Digest(), Arch: string(p.arch), Base: image.Base(), Size: image.Size(), Layers: image.Layers(), Layout: o.layout, Archive: o.archive,
			})
		}
		_, err = fmt.Fprintf(a.Stdout, "%s %s\n", image.Digest(), workspace.Relative(o.layout))
		return err
	})
}
