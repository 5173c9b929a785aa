package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// lockRetry is how often the folder for copies is tried while another process
// writes to it.
const lockRetry = 100 * time.Millisecond

// reframe writes a tarball that was built elsewhere once more, with frames and
// an index, to o.Scratch, and returns where. Owners and times are set as Pack
// does, and modes: 0755 for what has an x bit. The name of the file says what
// it was made of, so that it is made once; one that is damaged is made anew.
func reframe(ctx context.Context, from string, o Options) (to string, err error) {
	if o.Scratch == "" {
		return "", fmt.Errorf("%s: %w, and no folder is given for a copy with one", from, ErrNoIndex)
	}
	sum, err := hashFile(ctx, from)
	if err != nil {
		return "", err
	}
	to = filepath.Join(o.Scratch, fmt.Sprintf("%.32s-%d-%d-%d.tar.zst", sum, indexFormat, o.Level, o.ModTime.Unix()))
	unlock, err := lockScratch(ctx, o.Scratch)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if whole(ctx, to) {
		return to, nil
	}
	members, err := listFile(ctx, from)
	if err != nil {
		return "", fmt.Errorf("listing %s: %w", from, err)
	}
	directories, others := split(members)
	_, err = writeFile(to, func(out io.Writer) ([]Member, error) {
		return copyMembers(ctx, out, from, directories, others, o)
	})
	if err != nil {
		return "", fmt.Errorf("writing %s with an index: %w", from, err)
	}
	return to, nil
}

// lockScratch makes the folder for copies, keeps other processes from writing to
// it, and removes what one that was killed has left. A process that dies frees the
// lock.
func lockScratch(ctx context.Context, dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder for copies with an index: %w", err)
	}
	lock := flock.New(dir, flock.SetFlag(os.O_RDONLY))
	if _, err := lock.TryLockContext(ctx, lockRetry); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), lock.Close())
	}
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if strings.Contains(entry.Name(), tempMark) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("removing what a killed merge has left: %w", err), lock.Close())
	}
	return lock.Unlock, nil
}

// whole tells whether a copy is there, and what its index says.
func whole(ctx context.Context, path string) bool {
	file, err := Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return file.Check(ctx) == nil
}

func hashFile(ctx context.Context, path string) (string, error) {
	file, _, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum, err := hashOf(ctx, file)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return sum, nil
}

func listFile(ctx context.Context, path string) ([]Member, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return List(cancellable(ctx, file))
}

// split returns the directories, sorted, once each however often they stand in a
// tarball, and the others in their order, all with the modes that Pack gives.
func split(members []Member) (directories, others []Member) {
	for _, m := range members {
		if m.Mode.IsDir() {
			directories = append(directories, normal(m))
		} else {
			others = append(others, normal(m))
		}
	}
	slices.SortFunc(directories, order)
	return slices.Compact(directories), others
}

// copyMembers writes the directories, and then the others as they come in the
// tarball again.
func copyMembers(ctx context.Context, out io.Writer, from string, directories, others []Member, o Options) ([]Member, error) {
	file, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	t, err := newTarWriter(ctx, out, o)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	for _, m := range directories {
		if err := t.add(m, nil); err != nil {
			return nil, err
		}
	}
	_, err = walk(file, maxUnpacked, func(h *tar.Header, content io.Reader) (Member, error) {
		if h.Typeflag == tar.TypeDir {
			return read(h, content)
		}
		if len(others) == 0 {
			return Member{}, errors.New("it has more members than before: something still writes to it")
		}
		m := others[0]
		others = others[1:]
		return m, t.add(m, content)
	})
	if err != nil {
		return nil, err
	}
	if len(others) > 0 {
		return nil, errors.New("it has fewer members than before: something still writes to it")
	}
	x, err := finish(t, out)
	if err != nil {
		return nil, err
	}
	return x.Members(), nil
}

// normal sets the mode of a member as Pack does.
func normal(m Member) Member {
	switch {
	case m.Mode.IsDir():
		m.Name, m.Mode = strings.TrimSuffix(m.Name, "/")+"/", fs.ModeDir|0o755
	case m.Link != "":
		m.Mode = fs.ModeSymlink | 0o777
	case m.Mode&0o111 != 0:
		m.Mode = 0o755
	default:
		m.Mode = 0o644
	}
	return m
}
