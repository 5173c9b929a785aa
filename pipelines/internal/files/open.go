package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// IrregularError is the error of a path that is not a regular file.
type IrregularError struct {
	Path string
	// Is describes what it is instead: "a symbolic link".
	Is string
}

func (e *IrregularError) Error() string {
	return fmt.Sprintf("%s is %s, not a regular file", e.Path, e.Is)
}

// Open opens a regular file for reading. It refuses a symbolic link, and never
// waits for a pipe or a device. A file may be replaced by another at any time.
func Open(path string) (*os.File, error) {
	for range 10 {
		if file, err := open(path); !errors.Is(err, errReplaced) {
			return file, err
		}
	}
	return nil, fmt.Errorf("%s %w", path, errReplaced)
}

// errReplaced is the error of a file that changed between examining and opening it.
var errReplaced = errors.New("was replaced while it was opened")

func open(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	return same(path, info, file, err)
}

// OpenNamed is Open for a path that a person names, such as the value of a
// flag: the path may be a link to a regular file.
func OpenNamed(path string) (*os.File, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	return Open(real)
}

// Read returns the content of a regular file of at most limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	file, err := Open(path)
	if err != nil {
		return nil, err
	}
	return readAll(path, file, limit)
}

// ReadNamed is Read for a path that a person names.
func ReadNamed(path string, limit int64) ([]byte, error) {
	file, err := OpenNamed(path)
	if err != nil {
		return nil, err
	}
	return readAll(path, file, limit)
}

// Tree is a folder whose files are opened by their names below it. No name
// leads out of the folder, and no part of one may be a link. It is an fs.FS.
type Tree struct{ root *os.Root }

// maxTreeFile is the largest file that ReadFile reads, in bytes.
const maxTreeFile = 16 << 20

// OpenTree opens a folder, to be closed by the caller.
func OpenTree(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Tree{root}, nil
}

// Open opens a regular file or a folder by its slash-separated name.
func (t *Tree) Open(name string) (fs.File, error) {
	file, err := t.open(name)
	if err != nil {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err // It has the name once.
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return file, nil
}

// ReadFile returns the content of a regular file.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	file, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	return readAll(name, file, maxTreeFile)
}

func (t *Tree) open(name string) (*os.File, error) {
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	var info fs.FileInfo
	parts := strings.Split(name, "/")
	for i := range parts {
		var err error
		if info, err = t.root.Lstat(filepath.Join(parts[:i+1]...)); err != nil {
			return nil, err
		}
		if err := regular(strings.Join(parts[:i+1], "/"), info); err != nil && !info.IsDir() {
			return nil, err
		}
	}
	file, err := t.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	return same(name, info, file, err)
}

// Close closes the folder.
func (t *Tree) Close() error { return t.root.Close() }

func regular(path string, info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return &IrregularError{Path: path, Is: Kind(info.Mode())}
}

// Kind names what is not a regular file, with an article.
func Kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}

// same returns an opened file if it is the one that was examined before.
func same(path string, want fs.FileInfo, file *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	got, err := file.Stat()
	if err == nil && !os.SameFile(got, want) {
		err = fmt.Errorf("%s %w", path, errReplaced)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// readAll reads and closes a file. It does not trust the size of the file system, which
// is 0 for files of /proc.
func readAll(path string, file fs.File, limit int64) ([]byte, error) {
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %s", progress.Size(limit))}
	}
	return data, nil
}

// examined is how many levels below a folder Private checks: deeper files are checked by
// their digests, or belong to the users of a container.
const examined = 3

// Private fails unless a folder, all above it and the files below it belong to
// one of the owners, and no other user may write there: what root runs, overwrites
// or removes must not be another user's choice. The folder need not exist yet. The
// error names the command that fixes it.
func Private(dir string, owners ...int) error {
	real, err := filepath.EvalSymlinks(dir)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = through(dir, owners)
	}
	if real == "" || err != nil {
		return err
	}
	return filepath.WalkDir(real, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = private(path, owners, 0)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // Removed in the meantime.
		case err != nil:
			return fmt.Errorf("%w; remove what they may have put there: `rm -r %s`", err, path)
		case entry.IsDir() && strings.Count(strings.TrimPrefix(path, real), "/") == examined:
			return fs.SkipDir
		}
		return nil
	})
}

// through checks every folder on a path, and the targets of its links. Others may write in
// a folder such as /tmp, where users can only remove their own files.
func through(path string, owners []int) error {
	parent := filepath.Dir(path)
	if parent != path {
		if err := through(parent, owners); err != nil {
			return err
		}
	}
	err := private(path, owners, fs.ModeSticky)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w; name another folder with --cache-dir, or run `chown -h root %[2]s && chmod go-w %[2]s`", err, path)
	}
	target, err := os.Readlink(path)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil // Not a link.
	case err != nil:
		return err
	case !filepath.IsAbs(target):
		target = filepath.Join(parent, target)
	}
	return through(target, owners)
}

// private checks one file. Others may write to it if it has the allowed mode.
func private(path string, owners []int, allows fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return fmt.Errorf("%s has no owner", path)
	case !slices.Contains(owners, int(stat.Uid)):
		return fmt.Errorf("%s belongs to user %d", path, stat.Uid)
	case info.Mode().Type()&(fs.ModeSymlink|fs.ModeSocket) != 0 || info.Mode()&allows != 0:
		return nil // Whoever may write in the folder decides.
	case info.Mode()&0o002 != 0 || info.Mode()&0o020 != 0 && stat.Gid != 0:
		return fmt.Errorf("other users may write in %s (mode %s)", path, info.Mode())
	}
	return nil
}
