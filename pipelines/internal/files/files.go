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

// Exists reports whether there is anything at a path. A path that cannot be examined
// counts as existing: whoever opens it gets the error.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
