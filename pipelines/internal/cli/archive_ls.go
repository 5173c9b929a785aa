package cli

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// listedMember is a member in the JSON of `archive ls` and `archive diff`.
type listedMember struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"`
	// Packed is the share of the tarball, Frame the number of the frame; both
	// only where there is an index.
	Packed int64 `json:"packed,omitempty"`
	Frame  *int  `json:"frame,omitempty"`
}

func listMember(m archive.Member) listedMember {
	return listedMember{Name: m.Name, Mode: m.Mode.String(), Size: m.Size, SHA256: m.SHA256, Link: m.Link}
}

func archiveLsCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls FILE",
		Short: "List the members of a tarball, with their sizes before and after compression",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			members, err := listTarball(args[0])
			if err != nil {
				return inTarball(args[0], err)
			}
			if asJSON {
				return printJSON(a.Stdout, members)
			}
			return printMembers(a.Stdout, members)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the members as JSON, with their hashes")
	return cmd
}

func listTarball(path string) ([]listedMember, error) {
	members, file, err := openTarball(path)
	if err != nil {
		return nil, err
	}
	list := []listedMember{}
	for _, m := range members {
		list = append(list, listMember(m))
	}
	if file == nil {
		return list, nil
	}
	for i, sized := range file.Index().Sized() {
		list[i].Packed, list[i].Frame = sized.Packed, &file.Index().Entries[i].Frame
	}
	return list, file.Close()
}

func printMembers(w io.Writer, members []listedMember) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "MODE\tSIZE\tPACKED\t  NAME\n")
	for _, m := range members {
		packed, name := "-", m.Name
		if m.Frame != nil {
			packed = strconv.FormatInt(m.Packed, 10)
		}
		if m.Link != "" {
			name += " -> " + m.Link
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t  %s\n", m.Mode, m.Size, packed, progress.Printable(name))
	}
	return table.Flush()
}
