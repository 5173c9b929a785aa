package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// changedMember is a change in the JSON of `archive diff`.
type changedMember struct {
	Change archive.ChangeKind `json:"change"`
	Name   string             `json:"name"`
	Before *listedMember      `json:"before,omitempty"`
	After  *listedMember      `json:"after,omitempty"`
}

func archiveDiffCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER",
		Short: "List the members that were added, removed or changed between two tarballs",
		Args:  arguments(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			changes, err := diffTarballs(args[0], args[1])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Stdout, changesJSON(changes))
			}
			printMemberChanges(a.Stdout, changes)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the changes as JSON, with hashes")
	return cmd
}

func diffTarballs(before, after string) ([]archive.Change, error) {
	var members [2][]archive.Member
	for i, path := range []string{before, after} {
		list, file, err := openTarball(path)
		if err != nil {
			return nil, inTarball(path, err)
		}
		if file != nil {
			if err := file.Close(); err != nil {
				return nil, err
			}
		}
		members[i] = list
	}
	return archive.Diff(members[0], members[1]), nil
}

func changesJSON(changes []archive.Change) []changedMember {
	list := []changedMember{}
	for _, c := range changes {
		before, after := listMember(c.Before), listMember(c.After)
		out := changedMember{Change: c.Kind, Name: c.Name, Before: &before, After: &after}
		switch c.Kind {
		case archive.Added:
			out.Before = nil
		case archive.Removed:
			out.After = nil
		}
		list = append(list, out)
	}
	return list
}

func printMemberChanges(w io.Writer, changes []archive.Change) {
	for _, c := range changes {
		line := fmt.Sprintf("changed  %s: %s", c.Name, c.What())
		switch c.Kind {
		case archive.Added:
			line = "added    " + c.Name + bytesOf(c.After)
		case archive.Removed:
			line = "removed  " + c.Name + bytesOf(c.Before)
		}
		fmt.Fprintln(w, progress.Printable(line))
	}
}

// bytesOf says how long a file is.
func bytesOf(m archive.Member) string {
	if !m.Mode.IsRegular() {
		return ""
	}
	return fmt.Sprintf(" (%d bytes)", m.Size)
}
