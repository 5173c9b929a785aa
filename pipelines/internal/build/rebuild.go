package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// shownMembers is how many differing members an error names.
const shownMembers = 20

// rebuild builds a node again whose tarballs are in place, and compares.
func (x *execution) rebuild(ctx context.Context, n *node) (err error) {
	unlock, err := x.Store.Lock(ctx, n.ref())
	if err != nil {
		return err
	}
	defer unlock()
	built, err := x.build(ctx, x.Rebuild, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(built.Work)) }()
	var differences []error
	for _, output := range outputs(n.artifact) {
		first := filepath.Join(x.Output, OutputName(n.Asset, output))
		differences = append(differences, compare(ctx, first, built.Tarballs[output]))
	}
	err = errors.Join(differences...)
	n.result.Reproduced = err == nil
	return err
}

// compare fails where two tarballs differ in any byte, and keeps the second in a
// folder next to the first, in place of an earlier one.
func compare(ctx context.Context, first, second string) error {
	kept := filepath.Join(filepath.Dir(first), "rebuild", filepath.Base(first))
	if err := os.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an earlier rebuild: %w", err)
	}
	before, _, err := files.Hash(ctx, first)
	if err != nil {
		return err
	}
	after, _, err := files.Hash(ctx, second)
	if err != nil || before == after {
		return err
	}
	changes, err := archive.DiffFiles(first, second)
	if err == nil {
		err = keep(ctx, second, kept)
	}
	if err != nil {
		return fmt.Errorf("comparing with the second build: %w", err)
	}
	lines := []string{fmt.Sprintf("%s is not reproducible; the second build is %s", filepath.Base(first), kept)}
	for _, change := range changes[:min(shownMembers, len(changes))] {
		lines = append(lines, change.String())
	}
	switch more := len(changes) - shownMembers; {
	case len(changes) == 0:
		lines = append(lines, "every member is the same: the compression differs")
	case more > 0:
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(lines, "\n  "))
}

// keep copies a file.
func keep(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := files.Create(to, 0o644)
	if err != nil {
		return err
	}
	defer out.Discard()
	if _, err = files.Copy(ctx, out, in); err != nil {
		return err
	}
	return out.CommitUnsynced()
}
