// Package archive packs folders into the tarballs that assets are shipped as, and
// reads, vets and merges tarballs. They are plain tar in plain zstd, which GNU tar
// and `zstd -d` read.
//
// The one idea: the tar stream is cut into independent zstd frames, and an
// index at the end of the file says what is in each. Listing, comparing and merging
// decompress nothing, and reading one file decompresses only its frames.
//
// # Format
//
// Directories come first, in frames of their own, so that a merge can replace them.
// Other members share frames of bounded size; one that does not fit has frames of its
// own. The two blocks that end the stream are the last frame. The index follows in a
// skippable frame: see indexfile.go.
//
// # Determinism
//
// The bytes depend only on the names, contents, x bits and link targets in the
// folder, and on Options. Directories come first, then the others, each sorted by
// name; owner, mode and time are fixed. The members decide where the stream is cut,
// and each frame is compressed by itself, so the number of processors only decides
// how many are compressed at a time. The index decides every byte of the stream but
// the contents of files, whose hashes it holds.
//
// # Names
//
// A name begins with "./", that of a directory ends with "/", and the order is
// bytewise. The root has no member: extracting must not touch the folder that
// is extracted into.
//
// # Left out
//
// The package does not extract a tree, and leaves owners, times, hard links,
// devices and extended attributes out of the format: no asset needs them. The
// seekable format of zstd is not used: it indexes frames, not members.
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
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
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

// Options decide, with the members, the bytes of a tarball. They also say where a
// merge keeps what the next one can use.
type Options struct {
	// Level is 1 (fastest), 2 (default), 3 (better) or 4 (best), for Pack: see writer.go.
	Level int
	// ModTime is the time of every member, in whole seconds.
	ModTime time.Time
	// Cache is the folder where PlanMerge keeps, in reframed, its copies of tarballs
	// without an index, and in vetted its Verdicts. Its files may be removed at any
	// time between merges.
	Cache string

	// frame is how many bytes of the tar stream a frame holds, frameSize if it is 0.
	frame int
}

// verdicts records the tarballs that PlanMerge need not vet again.
func (o Options) verdicts() Verdicts { return Verdicts{filepath.Join(o.Cache, "vetted")} }

// Summary describes a tarball that was written.
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
	if options.Level < 1 || options.Level > len(levels) {
		return Summary{}, fmt.Errorf("compression level %d: want 1 to %d", options.Level, len(levels))
	}
	members, err := scan(dir)
	if err != nil {
		return Summary{}, err
	}
	return writeTarball(out, options, func(w *writer) error {
		for _, m := range members {
			if err := addFile(ctx, w, dir, m); err != nil {
				return err
			}
		}
		return nil
	})
}

func addFile(ctx context.Context, w *writer, dir string, m Member) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !m.Mode.IsRegular() {
		return w.add(m, nil)
	}
	file, err := os.Open(filepath.Join(dir, m.Name))
	if err != nil {
		return err
	}
	defer file.Close()
	return w.add(m, files.Reader(ctx, file))
}

// writeTarball writes the members that add adds, and their index, to a file that
// appears complete or not at all.
func writeTarball(path string, o Options, add func(w *writer) error) (Summary, error) {
	file, err := files.Create(path, 0o644)
	if err != nil {
		return Summary{}, fmt.Errorf("creating the tarball: %w", err)
	}
	defer file.Discard()
	hash := sha256.New()
	out := io.MultiWriter(file, hash)
	x, err := compose(out, o, func(w *writer) error {
		if err := add(w); err != nil {
			return err
		}
		return w.end()
	})
	if err != nil {
		return Summary{}, err
	}
	index, err := x.encode()
	if err != nil {
		return Summary{}, err
	}
	if _, err = out.Write(index); err == nil {
		err = file.Commit()
	}
	if err != nil {
		return Summary{}, fmt.Errorf("finishing the tarball: %w", err)
	}
	return Summary{SHA256: hex.EncodeToString(hash.Sum(nil)), Size: x.size() + int64(len(index)), Members: x.Members()}, nil
}

// scan lists what is in dir as the members of its tarball, sorted by name,
// without their hashes.
func scan(dir string) ([]Member, error) {
	tree := os.DirFS(dir)
	var members []Member
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		m, err := inspect(tree, name, entry)
		members = append(members, m)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the files to pack: %w", err)
	}
	if !slices.ContainsFunc(members, func(m Member) bool { return !m.Mode.IsDir() }) {
		return nil, fmt.Errorf("%s holds no file to pack", dir)
	}
	slices.SortFunc(members, order)
	return members, nil
}

// order compares members as they are sorted: directories, then the others, by name.
func order(a, b Member) int {
	if a.Mode.IsDir() != b.Mode.IsDir() {
		if a.Mode.IsDir() {
			return -1
		}
		return 1
	}
	return strings.Compare(a.Name, b.Name)
}

// inspect makes the member of one file, or says why it must not be shipped.
func inspect(tree fs.FS, name string, entry fs.DirEntry) (Member, error) {
	info, err := entry.Info()
	if err != nil {
		return Member{}, err
	}
	m := Member{Name: "./" + name, Mode: info.Mode() & (fs.ModeType | fs.ModePerm)}
	switch m.Mode.Type() {
	case fs.ModeDir:
		m.Name += "/"
	case fs.ModeSymlink:
		if m.Link, err = fs.ReadLink(tree, name); err != nil {
			return Member{}, err
		}
	case 0:
		// Directories may inherit these bits, so they are ignored there.
		if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			return Member{}, fmt.Errorf("%s is setuid or setgid: an installer must not hand out privileges; clear the bit in the build script", m.Name)
		}
		m.Size = info.Size()
	default:
		return Member{}, fmt.Errorf("%s is %s: want only files, directories and symbolic links", m.Name, files.Kind(m.Mode))
	}
	m = normal(m)
	return m, CheckMember(m)
}
