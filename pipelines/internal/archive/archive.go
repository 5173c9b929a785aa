// Package archive packs folders into the tarballs that assets are shipped as,
// and reads them: plain tar in plain zstd, for GNU tar and `zstd -d`.
//
// # Determinism
//
// The bytes depend on nothing but the names, contents, x bits and link targets
// in the folder, and on Options. Members are sorted by name; owner, mode and
// time are fixed. The tar stream is cut into pieces at offsets that the members
// alone decide, and each piece is compressed by itself into one zstd frame, so
// that the number of processors decides only how many are under way at once.
//
// # Names
//
// A name begins with "./", that of a directory ends with "/", and the order is
// bytewise. The root has no member: extracting must not touch the folder that
// is extracted into.
package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Member is one entry of a tarball.
type Member struct {
	// Name is as in the tarball: "./opt/kata/bin/x", "./opt/kata/" for a
	// directory.
	Name string
	// Mode holds the type and the permissions.
	Mode fs.FileMode
	// Size is that of a file in bytes.
	Size int64
	// SHA256 is that of a file's content in hex, Link the target of a symbolic
	// link; empty for other members.
	SHA256, Link string
}

// Options are what, beside its members, decides the bytes of a tarball.
type Options struct {
	// Level is 1 (fastest), 2 (default), 3 (better) or 4 (best): see frames.go.
	Level int
	// ModTime is the time of every member, in whole seconds.
	ModTime time.Time
}

// Summary is what Pack wrote.
type Summary struct {
	// SHA256 is that of the tarball in hex, Size its length in bytes.
	SHA256  string
	Size    int64
	Members []Member
}

// Pack writes the tarball of everything in dir to the file out, which appears
// complete or not at all. It refuses what must not be shipped, naming the path:
// devices, pipes, sockets, setuid and setgid files, links that leave the tree,
// the host's own files; and a tree without a file or link.
func Pack(ctx context.Context, dir, out string, options Options) (summary Summary, err error) {
	if options.Level < 1 || options.Level > len(levels) {
		return Summary{}, fmt.Errorf("compression level %d: want 1 to %d", options.Level, len(levels))
	}
	members, err := scan(dir)
	if err != nil {
		return Summary{}, err
	}
	temp, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out)+".tmp-*")
	if err != nil {
		return Summary{}, fmt.Errorf("creating the tarball: %w", err)
	}
	defer func() {
		if err != nil {
			_ = temp.Close()
			os.Remove(temp.Name())
		}
	}()
	hash := sha256.New()
	counted := &counter{to: io.MultiWriter(temp, hash)}
	if err := write(ctx, counted, dir, members, options); err != nil {
		return Summary{}, err
	}
	if err := publish(temp, out); err != nil {
		return Summary{}, fmt.Errorf("finishing the tarball: %w", err)
	}
	return Summary{SHA256: hex.EncodeToString(hash.Sum(nil)), Size: counted.n, Members: members}, nil
}

// publish gives a complete temporary file its final name.
func publish(temp *os.File, path string) error {
	if err := temp.Chmod(0o644); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// write sends the tar stream of the members through the compressor and fills in
// the hashes of their contents.
func write(ctx context.Context, out io.Writer, dir string, members []Member, options Options) error {
	frames, err := newFrameWriter(ctx, out, options.Level)
	if err != nil {
		return err
	}
	defer frames.stop()
	tarball := tar.NewWriter(frames)
	for i := range members {
		member := &members[i]
		// A member that fits into a frame is not cut in two.
		if err := frames.reserve(member.Size + 2*blockSize); err != nil {
			return err
		}
		if err := tarball.WriteHeader(header(*member, options.ModTime)); err != nil {
			return fmt.Errorf("packing %s: %w", member.Name, err)
		}
		if member.Mode.IsRegular() {
			if err := writeContent(tarball, dir, member); err != nil {
				return fmt.Errorf("packing %s: %w", member.Name, err)
			}
		}
		if err := tarball.Flush(); err != nil {
			return fmt.Errorf("packing %s: %w", member.Name, err)
		}
	}
	if err := tarball.Close(); err != nil {
		return fmt.Errorf("ending the tar stream: %w", err)
	}
	return frames.Close()
}

// header leaves the format open: archive/tar then takes USTAR, and PAX only for
// what does not fit into that.
func header(m Member, modTime time.Time) *tar.Header {
	h := &tar.Header{Name: m.Name, Mode: int64(m.Mode.Perm()), ModTime: modTime, Typeflag: tar.TypeReg, Size: m.Size}
	switch {
	case m.Mode.IsDir():
		h.Typeflag = tar.TypeDir
	case m.Mode.Type() == fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, m.Link
	}
	return h
}

func writeContent(tarball io.Writer, dir string, m *Member) error {
	file, err := os.Open(filepath.Join(dir, filepath.FromSlash(m.Name)))
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(tarball, hash), file)
	if err != nil {
		return err
	}
	if n != m.Size {
		return fmt.Errorf("has %d bytes, and had %d before: something still writes to it", n, m.Size)
	}
	m.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return nil
}

// counter counts the bytes that pass.
type counter struct {
	to io.Writer
	n  int64
}

// Write passes p on.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}
