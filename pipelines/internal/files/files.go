// Package files does with local files what all other packages need: write one so that it
// appears complete or not at all, hash it, lock it, check for free space, and open one
// that somebody else may have put there.
//
// The one idea: a path guarantees nothing about the file behind it. Another process
// may write there at the same time, a killed one may have left half a file, and
// the name may lead to a link, a pipe or a file of 8 GB. So writers work next to
// the path and rename, and readers open only regular files, never wait, and
// read no more than they expect.
//
// It leaves out everything that depends on the content of a file.
package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Reader returns a reader that fails with the cause once ctx has ended.
func Reader(ctx context.Context, from io.Reader) io.Reader {
	return reader{ctx, from}
}

type reader struct {
	ctx  context.Context
	from io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.from.Read(p)
}

// copied is how much Copy copies before it checks the context again.
const copied = 32 << 20

// Copy copies until the end of from or of ctx. Between files the kernel copies.
func Copy(ctx context.Context, to io.Writer, from io.Reader) (size int64, err error) {
	for {
		if ctx.Err() != nil {
			return size, context.Cause(ctx)
		}
		n, err := io.CopyN(to, from, copied)
		size += n
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// CopyFile copies a regular file to a path, which appears when it is complete. It is not
// synced: whoever needs its content again hashes it.
func CopyFile(ctx context.Context, from, to string) error {
	in, err := Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := Create(to, 0o644)
	if err != nil {
		return err
	}
	defer out.Discard()
	// With files on both sides, the kernel can copy.
	if _, err := Copy(ctx, out.File, in); err != nil {
		return err
	}
	return out.CommitUnsynced()
}

// Hash returns the SHA-256 of a file in lower-case hex, and its size in bytes.
func Hash(ctx context.Context, path string) (sum string, size int64, err error) {
	file, err := Open(path)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	sum, size, err = HashReader(ctx, file)
	if err != nil {
		return "", 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return sum, size, nil
}

// HashNamed is HashReader for the regular file of a path, and for none else.
func HashNamed(ctx context.Context, path string) (sum string, size int64, err error) {
	file, err := OpenNamed(path)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	return HashReader(ctx, file)
}

// HashReader is Hash for the content of a reader.
func HashReader(ctx context.Context, from io.Reader) (sum string, size int64, err error) {
	hash := sha256.New()
	size, err = io.CopyBuffer(hash, Reader(ctx, from), make([]byte, 256<<10))
	if err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(hash.Sum(nil)), size, nil
}

// Free returns how many bytes are free in the file system of a folder, which
// need not exist yet.
func Free(dir string) (int64, error) {
	var stat unix.Statfs_t
	err := unix.Statfs(dir, &stat)
	for at := dir; errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at); {
		at = filepath.Dir(at)
		err = unix.Statfs(at, &stat)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the free space of %s: %w", dir, err)
	}
	// Bsize has a different type on each architecture.
	return int64(stat.Bavail * uint64(stat.Bsize)), nil
}

// Room fails if the file system of a folder has less than need bytes free. IsFull
// recognizes the error.
func Room(dir string, need int64) error {
	free, err := Free(dir)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("%s has %s free and %s is needed: free some space, or move the cache with --cache-dir: %w",
			dir, progress.Size(free), progress.Size(need), syscall.ENOSPC)
	}
	return nil
}

// IsFull reports whether an error is that of a full disk or quota, or of Room.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// IgnoreMissing returns nil for the error of a file that does not exist, and any other error
// as it is.
func IgnoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Exists reports whether there is anything at a path. A path that cannot be examined
// counts as existing: whoever opens it gets the error.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Write writes a file that appears complete or not at all, with exactly that
// mode. It is on disk when Write returns.
func Write(path string, data []byte, mode fs.FileMode) error {
	pending, err := Create(path, mode)
	if err != nil {
		return err
	}
	defer pending.Discard()
	if _, err := pending.Write(data); err != nil {
		return err
	}
	return pending.Commit()
}

// Pending is a file that is being written next to its path. It is locked until it has its
// name, which tells Sweep that its writer is alive.
type Pending struct {
	*os.File
	path string
}

// Create begins a file that Commit moves to path with exactly that mode, and Discard
// removes. It removes the files that killed writers of the path left.
func Create(path string, mode fs.FileMode) (*Pending, error) {
	return CreateIn(filepath.Dir(path), path, mode)
}

// CreateIn is Create with the file in another folder of the same file system until then:
// for a folder of which some program reads every file, whatever its name.
func CreateIn(dir, path string, mode fs.FileMode) (*Pending, error) {
	err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(filepath.Dir(path), 0o755), Sweep(filepath.Join(dir, filepath.Base(path))))
	if err != nil {
		return nil, err
	}
	for {
		file, err := os.CreateTemp(dir, temporary(path)+"*")
		if err != nil {
			return nil, err
		}
		p := &Pending{file, path}
		var stat unix.Stat_t
		err = errors.Join(unix.Flock(int(p.Fd()), unix.LOCK_EX), unix.Fstat(int(p.Fd()), &stat), p.Chmod(mode))
		if err == nil && stat.Nlink > 0 {
			return p, nil
		}
		p.Discard()
		if err != nil {
			return nil, fmt.Errorf("creating %s: %w", p.Name(), err)
		}
		// A sweep removed it before it was locked.
	}
}

// temporary is the beginning of the name of a file or a folder while it is written; digits
// follow.
func temporary(path string) string { return "." + filepath.Base(path) + ".tmp" }

// isTemporary reports whether a name is one of those.
func isTemporary(name, path string) bool {
	number, ok := strings.CutPrefix(name, temporary(path))
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// Commit writes the file to disk and gives it its name.
func (p *Pending) Commit() error {
	if err := p.Sync(); err != nil {
		return err
	}
	return p.CommitUnsynced()
}

// CommitUnsynced is Commit without waiting for the disk: for a file of gigabytes that can
// be made again and is checked when it is read.
func (p *Pending) CommitUnsynced() error {
	if err := os.Rename(p.Name(), p.path); err != nil {
		return err
	}
	return p.Close()
}

// Discard closes and removes the file. After a commit it does nothing.
func (p *Pending) Discard() {
	_ = os.Remove(p.Name())
	_ = p.Close()
}

// Sweep removes the unlocked files that killed writers of a path left next to it. Create
// does so too: Sweep is for a path that turns out to need no writing.
func Sweep(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var failed []error
	for _, entry := range entries {
		if entry.Type().IsRegular() && isTemporary(entry.Name(), path) {
			failed = append(failed, removeUnlocked(filepath.Join(filepath.Dir(path), entry.Name())))
		}
	}
	return errors.Join(failed...)
}

func removeUnlocked(path string) error {
	file, err := Open(path)
	if err == nil {
		defer file.Close()
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
