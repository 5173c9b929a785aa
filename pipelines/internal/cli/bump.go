package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/bump"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

type bumpOptions struct {
	check, markdown bool
	pin, version    string
}

func bumpCmd(a *app) *cobra.Command {
	var o bumpOptions
	cmd := &cobra.Command{
		Use:   "bump [PIN [VERSION]]",
		Short: "Move pins to newer versions, with the hashes of their sources",
		Long: `Move a pin to a version, or to the newest that its places have: upstream's list of
files, GitHub's releases, the tags of a git repository, Debian's index, or the Go module
proxy. Without a pin, move all that are behind. A pre-release is only taken for a pin
that is one. The version is written to versions.yaml and the hashes of its sources to
assets/sources.yaml, with the comments kept, or neither file changes.

A place that does not answer, or has no file of the version, is left out; if none is
left, the version is refused. A hash is checked against what upstream publishes. Where
the lock names signers, one of them must have signed the file or its hash. A hash that
was compared with nothing is marked "unchecked" in the lock. A tag without a pinned
commit gets the one it has today; a tag that was moved is an error.

With --check, change nothing and list the status of the pins. Fail if one is behind.`,
		Example: `  pipelines bump --check
  pipelines bump assets.hypervisor.qemu
  pipelines bump nydus-snapshotter v0.16.1`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(2)(cmd, args); err != nil {
				return err
			}
			if slices.Contains(args, "") {
				return errors.New("a pin or version is empty: give one, or leave it out")
			}
			switch args = append(args, "", ""); {
			case o.check && args[1] != "":
				return errors.New("--check compares with the newest version: leave out the version")
			case o.markdown && a.json:
				return errors.New("give --json or --markdown, not both")
			case a.versions != "":
				return errors.New("bump edits the repository's own versions.yaml: leave out --versions")
			}
			o.pin, o.version = args[0], args[1]
			return nil
		},
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error { return runBump(ctx, a, ws, o) }),
	}
	cmd.Flags().BoolVar(&o.check, "check", false, "only list the status of the pins, and fail if one is behind")
	cmd.Flags().BoolVar(&o.markdown, "markdown", false, "print the result as Markdown, for a pull request")
	return a.printing(cmd)
}

func runBump(ctx context.Context, a *app, ws *workspace.Workspace, o bumpOptions) error {
	b := &bump.Bumper{
		Path: ws.Pins, Lock: filepath.Join(ws.Root, filepath.FromSlash(versions.LockFile)), Sources: ws.Sources, Report: ws.Report,
		Keyserver: bump.DefaultKeyserver,
		GitHub:    github.Options{API: a.Getenv("GITHUB_API_URL"), Token: cmp.Or(a.Getenv("GH_TOKEN"), a.Getenv("GITHUB_TOKEN"))},
	}
	if !o.check {
		moved, err := b.Bump(ctx, o.pin, o.version)
		if moved == nil {
			return unknownPin(err)
		}
		text := bump.Text(moved)
		if o.markdown {
			text = bump.Markdown(moved)
		}
		return errors.Join(a.print(moved, text), err)
	}
	entries, err := b.Select(o.pin)
	if err != nil {
		return unknownPin(err)
	}
	list, err := b.Check(ctx, entries)
	if err != nil {
		return err
	}
	for _, s := range list {
		for _, silent := range s.Silent {
			ws.Report.Note(s.Pin, fmt.Sprintf("%s from %s: %s", silent.Source, silent.Place, silent.Why))
		}
	}
	if o.markdown {
		err = a.print(list, bump.StatusMarkdown(list))
	} else {
		err = printList(a, list, "PIN\tVERSION\tNEWEST\tFROM\tNOTE", func(s bump.Status) string {
			return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", s.Pin, s.Version, dash(s.Newest), dash(s.Places...), s.Note())
		})
	}
	return errors.Join(err, bump.Behind(list))
}

// unknownPin marks the error of an unknown name as one of the command line.
func unknownPin(err error) error {
	if errors.As(err, new(*bump.UnknownError)) {
		return usage(err)
	}
	return err
}
