// Package archive packs folders into the tarballs that assets are shipped as,
// reads them and merges them: plain tar in plain zstd, for GNU tar and `zstd -d`.
//
// # Format
//
// The tar stream is cut into zstd frames that stand alone. Directories are in
// frames of their own, before all else, so that a merge can leave out those that
// are there already. Other members share frames of bounded size; one that does
// not fit has some of its own. The two blocks that end the stream are a frame,
// too. A skippable frame follows, with an index: see indexfile.go. So listing,
// comparing and merging decompress nothing, and reading one file no other frame
// than its own.
//
// # Determinism
//
// The bytes depend on nothing but the names, contents, x bits and link targets
// in the folder, and on Options. Directories come first, then the others, each
// sorted by name; owner, mode and time are fixed. The members alone decide where
// the stream is cut, and each frame is compressed by itself, so that the number
// of processors decides only how many are under way at once. The index decides
// every byte of the stream but the contents, and has their hashes.
//
// # Names
//
// A name begins with "./", that of a directory ends with "/", and the order is
// bytewise. The root has no member: extracting must not touch the folder that
// is extracted into.
package archive

import (
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
	// Scratch is the folder for what PlanMerge makes of tarballs without an
	// index; nothing else uses it. It is made where it is missing, and its files
	// may be removed at any time between merges. One process at a time writes to
	// it, the others wait.
	Scratch string

	// frame is for tests: how much a frame holds, frameSize where it is 0.
	frame int
}

func (o Options) check() error {
	if o.Level < 1 || o.Level > len(levels) {
		return fmt.Errorf("compression level %d: want 1 to %d", o.Level, len(levels))
	}
	return nil
}

// Summary is what was written.
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
func Pack(ctx context.Context, dir, out string, options Options) (Summary, error) {
	if err := options.check(); err != nil {
		return Summary{}, err
	}
	members, err := scan(dir)
	if err != nil {
		return Summary{}, err
	}
	return writeFile(out, func(to io.Writer) ([]Member, error) {
		return write(ctx, to, dir, members, options)
	})
}

// tempMark is in the names of tarballs that are not complete.
const tempMark = ".tmp-"

// writeFile writes a tarball to a file that appears complete or not at all.
func writeFile(path string, write func(out io.Writer) ([]Member, error)) (summary Summary, err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+tempMark+"*")
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
	members, err := write(counted)
	if err != nil {
		return Summary{}, err
	}
	if err = temp.Sync(); err == nil {
		err = publish(temp, path)
	}
	if err != nil {
		return Summary{}, fmt.Errorf("finishing the tarball: %w", err)
	}
	return Summary{SHA256: hex.EncodeToString(hash.Sum(nil)), Size: counted.n, Members: members}, nil
}

// publish gives a complete temporary file its final name.
func publish(temp *os.File, path string) error {
	if err := temp.Chmod(0o644); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// write sends the members through the compressor, directories first, and the
// index after them. It returns the members as written, with their hashes.
func write(ctx context.Context, out io.Writer, dir string, members []Member, options Options) ([]Member, error) {
	tarball, err := newTarWriter(ctx, out, options)
	if err != nil {
		return nil, err
	}
	defer tarball.stop()
	for _, m := range members {
		if err := addFile(tarball, dir, m); err != nil {
			return nil, err
		}
	}
	x, err := finish(tarball, out)
	if err != nil {
		return nil, err
	}
	return x.Members(), nil
}

// finish writes the end of a tarball and its index.
func finish(tarball *tarWriter, out io.Writer) (*Index, error) {
	if err := tarball.end(); err != nil {
		return nil, err
	}
	x, err := tarball.close()
	if err != nil {
		return nil, err
	}
	index, err := x.encode()
	if err != nil {
		return nil, err
	}
	if _, err := out.Write(index); err != nil {
		return nil, fmt.Errorf("writing the index: %w", err)
	}
	return x, nil
}

func addFile(tarball *tarWriter, dir string, m Member) error {
	if !m.Mode.IsRegular() {
		return tarball.add(m, nil)
	}
	file, err := os.Open(filepath.Join(dir, filepath.FromSlash(m.Name)))
	if err != nil {
		return fmt.Errorf("packing %s: %w", m.Name, err)
	}
	defer file.Close()
	return tarball.add(m, file)
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
