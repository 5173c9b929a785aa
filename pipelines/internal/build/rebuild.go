package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Difference is the error of a rebuild that gave other bytes.
type Difference struct {
	// Tarball is the file name of the tarball that differs, Members say in which
	// of its members and how, Kept is the path of the second one.
	Tarball string
	Members []string
	Kept    string
}

// shownMembers is how many differing members an error names.
const shownMembers = 20

// Error names the members.
func (d *Difference) Error() string {
	members := d.Members
	if len(members) > shownMembers {
		members = append(slices.Clone(members[:shownMembers]), fmt.Sprintf("and %d more", len(members)-shownMembers))
	}
	return fmt.Sprintf("%s is not reproducible; the second build is %s\n  %s", d.Tarball, d.Kept, strings.Join(members, "\n  "))
}

// rebuild builds a node again whose tarballs are in place, and compares.
func (x *execution) rebuild(ctx context.Context, n *node) (err error) {
	unlock, err := x.Store.Lock(ctx, n.ref())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	built, err := x.build(ctx, x.Rebuild, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(built.Work)) }()
	var differences []error
	for _, output := range outputs(n.artifact) {
		first, second := n.result.Path, built.Tarball
		if output != "" {
			first, second = n.result.Outputs[output], built.Outputs[output]
		}
		differences = append(differences, compare(ctx, first, second))
	}
	err = errors.Join(differences...)
	n.result.Reproduced = err == nil
	return err
}

// compare returns a *Difference where two tarballs differ in any byte, and keeps
// the second in a folder next to the first, in place of an earlier one.
func compare(ctx context.Context, first, second string) error {
	kept := filepath.Join(filepath.Dir(first), "rebuild", filepath.Base(first))
	if err := os.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an earlier rebuild: %w", err)
	}
	same, err := equal(ctx, first, second)
	if err != nil {
		return fmt.Errorf("comparing: %w", err)
	}
	if same {
		return nil
	}
	before, err := list(first)
	if err != nil {
		return err
	}
	after, err := list(second)
	if err != nil {
		return err
	}
	members := differing(before, after)
	if len(members) == 0 {
		members = []string{"every member is the same: the compression differs"}
	}
	if err := keep(ctx, second, kept); err != nil {
		return err
	}
	return &Difference{Tarball: filepath.Base(first), Members: members, Kept: kept}
}

func list(path string) ([]archive.Member, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	members, err := archive.List(file)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", path, err)
	}
	return members, nil
}

// differing has a line for each member that differs, sorted by name.
func differing(before, after []archive.Member) []string {
	var lines []string
	for _, c := range archive.Diff(before, after) {
		a, b := c.Before, c.After
		switch {
		case c.Kind == archive.Removed:
			lines = append(lines, c.Name+": only in the first")
		case c.Kind == archive.Added:
			lines = append(lines, c.Name+": only in the second")
		case a.Size != b.Size:
			lines = append(lines, fmt.Sprintf("%s: %d and %d bytes", c.Name, a.Size, b.Size))
		case a.SHA256 != b.SHA256:
			lines = append(lines, fmt.Sprintf("%s: sha256 %.16s… and %.16s…", c.Name, a.SHA256, b.SHA256))
		default:
			lines = append(lines, fmt.Sprintf("%s: %s %s and %s %s", c.Name, a.Mode, a.Link, b.Mode, b.Link))
		}
	}
	return lines
}

// equal compares the bytes of two files.
func equal(ctx context.Context, first, second string) (bool, error) {
	a, _, err := files.Hash(ctx, first)
	if err != nil {
		return false, err
	}
	b, _, err := files.Hash(ctx, second)
	return a == b, err
}

// keep copies a file.
func keep(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("keeping the second build: %w", err)
	}
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("keeping the second build: %w", err)
	}
	defer in.Close()
	out, err := files.Create(to, 0o644)
	if err != nil {
		return fmt.Errorf("keeping the second build: %w", err)
	}
	defer out.Discard()
	if _, err = files.Copy(ctx, out, in); err == nil {
		err = out.CommitUnsynced()
	}
	if err != nil {
		return fmt.Errorf("keeping the second build: %w", err)
	}
	return nil
}
