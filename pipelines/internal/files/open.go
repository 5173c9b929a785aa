package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
		var path *fs.PathError
		if errors.As(err, &path) {
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
	is := "a special file"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		is = "a folder"
	case mode&fs.ModeSymlink != 0:
		is = "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		is = "a named pipe"
	case mode&fs.ModeSocket != 0:
		is = "a socket"
	case mode&fs.ModeDevice != 0:
		is = "a device"
	}
	return &IrregularError{Path: path, Is: is}
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
