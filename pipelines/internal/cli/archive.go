package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

func archiveCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "archive",
		Short: "Look into tarballs: their members, one file, what changed, whether they are whole",
		Long: `Look into tarballs that this program made, by the index at their end: no more is
decompressed than is asked for. Tarballs without an index are read to their end.`,
	}, archiveLsCmd(a), archiveCatCmd(a), archiveDiffCmd(a), archiveCheckCmd(a))
}

func archiveCatCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cat FILE MEMBER",
		Short: "Print one file of a tarball, after checking its hash at the end",
		Long: `Print one file of a tarball. The hash is compared while it is printed: where it is
another, what was printed is wrong, and the command fails.`,
		Args: arguments(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error { return runArchiveCat(a.Stdout, args[0], args[1]) },
	}
}

func runArchiveCat(w io.Writer, path, name string) (err error) {
	file, err := archive.Open(path)
	if errors.Is(err, archive.ErrNoIndex) {
		return catStream(w, path, name)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := file.ReadFile(name)
	if err != nil {
		return inTarball(path, err)
	}
	defer content.Close()
	if _, err := io.Copy(w, content); err != nil {
		return inTarball(path, err)
	}
	return nil
}

func catStream(w io.Writer, path, name string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return inTarball(path, archive.CopyFile(w, file, name))
}

// inTarball says which tarball an error is about, and what helps.
func inTarball(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w (see `pipelines archive ls %s`)", path, err, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// checkedTarball is what `archive check` says about one.
type checkedTarball struct {
	File     string `json:"file"`
	Index    bool   `json:"index"`
	Members  int    `json:"members"`
	Frames   int    `json:"frames,omitempty"`
	Size     int64  `json:"size"`
	Unpacked int64  `json:"unpacked"` // contents of files alone
	Error    string `json:"error,omitempty"`
}

func archiveCheckCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Decompress tarballs and compare every byte with their index",
		Long: `Decompress tarballs and compare every byte with their index: headers, hashes of
contents, what stands between and after them. A tarball without an index must be
whole, and hold nothing that must not be shipped.`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, paths []string) error {
			return runArchiveCheck(cmd.Context(), a.Stdout, paths, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the results as JSON")
	return cmd
}

func runArchiveCheck(ctx context.Context, w io.Writer, paths []string, asJSON bool) error {
	results, failed := []checkedTarball{}, []error{}
	for _, path := range paths {
		result, err := checkTarball(ctx, path)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			result.Error = err.Error()
			failed = append(failed, inTarball(path, err))
		}
		results = append(results, result)
	}
	if asJSON {
		return errors.Join(append(failed, printJSON(w, results))...)
	}
	for _, r := range results {
		switch {
		case r.Error != "":
		case r.Index:
			fmt.Fprintf(w, "%s: %d members in %d frames are what the index says\n", r.File, r.Members, r.Frames)
		default:
			fmt.Fprintf(w, "%s: %d members, whole; no index\n", r.File, r.Members)
		}
	}
	return errors.Join(failed...)
}

func checkTarball(ctx context.Context, path string) (checkedTarball, error) {
	result := checkedTarball{File: path}
	members, file, err := openTarball(path)
	if err != nil {
		return result, err
	}
	for _, m := range members {
		result.Unpacked += m.Size
	}
	result.Members = len(members)
	if file == nil {
		info, err := os.Stat(path)
		if err != nil {
			return result, err
		}
		result.Size = info.Size()
		return result, nil
	}
	defer file.Close()
	result.Index, result.Size, result.Frames = true, file.Size(), len(file.Index().Frames)
	return result, file.Check(ctx)
}

// openTarball returns the members of a tarball. The file is nil where there is
// no index: then all of it was read.
func openTarball(path string) ([]archive.Member, *archive.File, error) {
	file, err := archive.Open(path)
	if err == nil {
		return file.Index().Members(), file, nil
	}
	if !errors.Is(err, archive.ErrNoIndex) {
		return nil, nil, err
	}
	stream, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer stream.Close()
	members, err := archive.List(stream)
	return members, nil, err
}
