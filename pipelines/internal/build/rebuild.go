package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
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

// rebuild builds a node that is in place once more and compares.
func (s *schedule) rebuild(ctx context.Context, n *node) (err error) {
	unlock, err := s.Store.Lock(ctx, n.ref())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	built, err := s.build(ctx, s.Rebuild, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, built.Discard()) }()
	var differences []error
	for _, output := range outputs(n.artifact) {
		first, second := n.result.Path, built.Tarball
		if output != "" {
			first, second = n.result.Outputs[output], built.Outputs[output]
		}
		differences = append(differences, compare(first, second))
	}
	err = errors.Join(differences...)
	n.result.Reproduced = err == nil
	return err
}

// compare returns a *Difference where two tarballs differ in any byte, and
// keeps the second beside the first, in place of an earlier one.
func compare(first, second string) error {
	kept := filepath.Join(filepath.Dir(first), "rebuild", filepath.Base(first))
	if err := os.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an earlier rebuild: %w", err)
	}
	same, err := equal(first, second)
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
	if err := keep(second, kept); err != nil {
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
func equal(first, second string) (bool, error) {
	a, err := os.Open(first)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(second)
	if err != nil {
		return false, err
	}
	defer b.Close()
	left, right := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, errA := io.ReadFull(a, left)
		m, errB := io.ReadFull(b, right)
		if n != m || string(left[:n]) != string(right[:m]) {
			return false, nil
		}
		switch {
		case isEnd(errA) && isEnd(errB):
			return true, nil
		case errA != nil:
			return false, errA
		case errB != nil:
			return false, errB
		}
	}
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// keep copies a file.
func keep(from, to string) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("keeping the second build: %w", err)
	}
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("keeping the second build: %w", err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("keeping the second build: %w", err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("keeping the second build: %w", err)
	}
	return nil
}
