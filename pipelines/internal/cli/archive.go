package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

func archiveCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "archive",
		Short: "Examine tarballs: list, print one file, compare, check",
		Long: `Examine tarballs that this program made. The index at their end says what is in
them, so only what is printed is decompressed. Tarballs without an index are read to
their end.`,
	}, archiveLsCmd(a), archiveCatCmd(a), archiveDiffCmd(a), archiveCheckCmd(a))
}

// inTarball adds the path of the tarball to an error, and a hint.
func inTarball(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w (see `pipelines archive ls %s`)", path, err, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// listedMember is a member in the JSON of `archive ls` and `archive diff`.
type listedMember struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"`
	// Packed is the share of the tarball, Frame the number of the frame; both
	// only if there is an index.
	Packed int64 `json:"packed,omitempty"`
	Frame  *int  `json:"frame,omitempty"`
}

func listMember(m *archive.Member) *listedMember {
	if m == nil {
		return nil
	}
	return &listedMember{Name: m.Name, Mode: m.Mode.String(), Size: m.Size, SHA256: m.SHA256, Link: m.Link}
}

// row is the line of a member in a table.
func (m *listedMember) row() string {
	packed, name := "-", m.Name
	if m.Frame != nil {
		packed = strconv.FormatInt(m.Packed, 10)
	}
	if m.Link != "" {
		name += " -> " + m.Link
	}
	return fmt.Sprintf("%s\t%12d\t%12s\t%s", m.Mode, m.Size, packed, progress.Printable(name))
}

func archiveLsCmd(a *app) *cobra.Command {
	return a.printing(&cobra.Command{
		Use:   "ls FILE",
		Short: "List the members of a tarball, with their sizes before and after compression",
		Example: `  pipelines archive ls build/kata-static.tar.zst
  pipelines archive ls --json build/kata-static-kernel-debug.tar.zst`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			listing, err := archive.Inspect(args[0])
			if err != nil {
				return inTarball(args[0], err)
			}
			var members []*listedMember
			for _, m := range listing.Members {
				listed := listMember(&m.Member)
				if listing.Frames > 0 {
					listed.Packed, listed.Frame = m.Packed, &m.Frame
				}
				members = append(members, listed)
			}
			return printList(a, members, "MODE\t        SIZE\t      PACKED\tNAME", (*listedMember).row)
		},
	})
}

func archiveCatCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cat FILE MEMBER",
		Short: "Print one file of a tarball",
		Long: `Print one file of a tarball. Its hash is compared while it is printed: if the hash
differs, the output is wrong, and the command fails.`,
		Example: `  pipelines archive cat build/kata-static.tar.zst opt/kata/VERSION
  pipelines archive cat build/kata-static-qemu.tar.zst opt/kata/bin/qemu-system-x86_64 > qemu`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return inTarball(args[0], archive.Cat(a.Stdout, args[0], args[1]))
		},
	}
}

// changedMember is a change in the JSON of `archive diff`.
type changedMember struct {
	Change archive.ChangeKind `json:"change"`
	Name   string             `json:"name"`
	Before *listedMember      `json:"before,omitempty"`
	After  *listedMember      `json:"after,omitempty"`
}

func archiveDiffCmd(a *app) *cobra.Command {
	return a.printing(&cobra.Command{
		Use:   "diff BEFORE AFTER",
		Short: "List the members that were added, removed or changed between two tarballs",
		Example: `  pipelines archive diff old/kata-static.tar.zst build/kata-static.tar.zst
  pipelines archive diff --json old.tar.zst new.tar.zst`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			changes, err := archive.DiffFiles(args[0], args[1])
			if err != nil {
				return err
			}
			list, text := []changedMember{}, ""
			for _, c := range changes {
				list = append(list, changedMember{c.Kind, c.Name, listMember(c.Before), listMember(c.After)})
				text += progress.Printable(c.String()) + "\n"
			}
			return a.print(list, text)
		},
	})
}

// checkedTarball is the result of `archive check` for one tarball.
type checkedTarball struct {
	File     string `json:"file"`
	Index    bool   `json:"index"`
	Members  int    `json:"members"`
	Frames   int    `json:"frames,omitempty"`
	Size     int64  `json:"size"`
	Unpacked int64  `json:"unpacked"` // only the contents of files
	Error    string `json:"error,omitempty"`
}

func archiveCheckCmd(a *app) *cobra.Command {
	return a.printing(&cobra.Command{
		Use:   "check FILE...",
		Short: "Decompress tarballs and compare every byte with their index",
		Long: `Decompress tarballs and compare every byte with their index: headers, hashes of
contents, padding. A tarball without an index must be complete and hold only what may
be shipped.`,
		Example: `  pipelines archive check build/kata-static.tar.zst
  pipelines archive check --json build/*.tar.zst`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			return runArchiveCheck(cmd.Context(), a, paths)
		},
	})
}

func runArchiveCheck(ctx context.Context, a *app, paths []string) error {
	results, failed, text := []checkedTarball{}, []error{}, ""
	for _, path := range paths {
		l, err := archive.Check(ctx, path)
		r := checkedTarball{File: path, Index: l.Frames > 0, Members: len(l.Members), Frames: l.Frames, Size: l.Size}
		for _, m := range l.Members {
			r.Unpacked += m.Size
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			r.Error = err.Error()
			failed = append(failed, inTarball(path, err))
		case r.Index:
			text += fmt.Sprintf("%s: %d members in %d frames match the index\n", r.File, r.Members, r.Frames)
		default:
			text += fmt.Sprintf("%s: %d members, complete; no index\n", r.File, r.Members)
		}
		results = append(results, r)
	}
	return errors.Join(append(failed, a.print(results, text))...)
}
