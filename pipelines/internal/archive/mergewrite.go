package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Write writes the merged tarball to the file out, which appears complete or
// not at all. After a crash the next one to the same file goes on where the
// bytes end that are there already. An error or an end of the context leaves
// nothing. It is not hashed: that would take twice as long as all else.
func (m *Merged) Write(ctx context.Context, out string) (err error) {
	partial, err := openPartial(partialOf(out))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(partial.Name())
			_ = partial.Close()
		}
	}()
	to := newCopier(partial, m.Progress)
	for _, s := range m.steps {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := m.write(ctx, to, s); err != nil {
			return err
		}
	}
	if err := to.finish(m.Size); err != nil {
		return err
	}
	// It is not waited for the disk, which takes longer than all else. A power cut
	// can leave a file with holes, as the next merge sees: it compares the bytes.
	if err := publish(partial, out); err != nil {
		return fmt.Errorf("finishing the tarball: %w", err)
	}
	return nil
}

// RemovePartial removes what a killed Write to the file out has left, where Write
// is not called again. A file that another process writes is left to it.
func RemovePartial(out string) error {
	path := partialOf(out)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	partial, err := openPartial(path)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(path), partial.Close())
}

func partialOf(out string) string {
	return filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+".partial")
}

// openPartial opens the file that is written, which only one process can do at
// a time.
func openPartial(path string) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("creating the tarball: %w", err)
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("writing %s: another process does, too: %w", path, err)
		}
		// The one before may have given the file its final name in between.
		ours, err := file.Stat()
		if err != nil {
			_ = file.Close()
			return nil, err
		}
		there, err := os.Lstat(path)
		if err == nil && os.SameFile(ours, there) {
			return file, nil
		}
		_ = file.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && !there.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is no file: remove it", path)
		}
	}
}

func (m *Merged) write(ctx context.Context, to *copier, s step) error {
	if s.data != nil {
		return to.copy(ctx, bytes.NewReader(s.data))
	}
	if s.without != nil {
		data, _, err := m.rewrite(ctx, s)
		if err != nil {
			return fmt.Errorf("component %q: %w", m.Parts[s.part].Name, err)
		}
		return to.copy(ctx, bytes.NewReader(data))
	}
	if err := m.copyFrames(ctx, to, s); err != nil {
		return fmt.Errorf("component %q: %w", m.Parts[s.part].Name, err)
	}
	return nil
}

// copyFrames copies frames as they are, and looks at their shape while the
// system still has them in memory.
func (m *Merged) copyFrames(ctx context.Context, to *copier, s step) error {
	file, err := m.open(s.part)
	if err != nil {
		return err
	}
	defer file.Close()
	x := file.index
	if err := to.copy(ctx, io.NewSectionReader(file.file, x.Frames[s.first].Offset, x.span(s.first, s.frames))); err != nil {
		return err
	}
	for _, f := range x.Frames[s.first : s.first+s.frames] {
		if err := checkShape(file.file, f); err != nil {
			return fmt.Errorf("the index lies: %w", err)
		}
	}
	return nil
}
