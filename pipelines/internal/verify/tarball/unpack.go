package tarball

import (
	"bufio"
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// maxRead limits the files of a layout, in bytes, because checks read most of them into
// memory, and maxELF other ELF files.
const (
	maxRead = 256 << 20
	maxELF  = 4 << 30
)

// Tarball is an unpacked tarball.
type Tarball struct {
	// File is the path of the tarball.
	File string
	// Dir has the files of the layout and all ELF files at their paths, with their modes.
	Dir     string
	Members []archive.Member
	// Size is the length of the tarball, and Indexed says that it has an index.
	Size    int64
	Indexed bool
	// ELF are the names of ELF files, sorted, without a leading "./".
	ELF []string
	// Traces has the traces of the build that files contain, by their names.
	Traces map[string][]string
	// Outputs are the paths of the secondary tarballs, by name.
	Outputs map[string]string
	err     error
}

// Damage is the error for a tarball that is not whole or not safe to unpack.
type Damage struct{ Err error }

func (d *Damage) Error() string { return d.Err.Error() }

func (d *Damage) Unwrap() error { return d.Err }

// Unpack vets a tarball, writes its ELF files and the files of the layout below dir, and
// looks for traces of the build, in one pass. A tarball that is refused is a *Damage.
func (l Layout) Unpack(ctx context.Context, file, dir string, traces Traces) (*Tarball, error) {
	opened, err := files.OpenNamed(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	defer opened.Close()
	u := &unpacking{layout: l, traces: traces, Tarball: Tarball{File: file, Dir: dir, Traces: map[string][]string{}}}
	listing, err := archive.Visit(ctx, file, u.member)
	if err != nil {
		err = fmt.Errorf("reading %s: %w", file, err)
	}
	switch system := new(fs.PathError); {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &system):
		return nil, err
	case err != nil:
		return nil, &Damage{err}
	}
	for _, m := range listing.Members {
		u.Members = append(u.Members, m.Member)
	}
	u.Size, u.Indexed = listing.Size, listing.Frames > 0
	slices.Sort(u.ELF)
	return &u.Tarball, nil
}

// unpacking gets several members at a time; mutex guards ELF and Traces.
type unpacking struct {
	Tarball
	layout Layout
	traces Traces
	mutex  sync.Mutex
}

// member reads a member to its end, and writes it if it is wanted.
func (u *unpacking) member(m archive.Member, content io.Reader) error {
	const peeked = 64
	buffered := bufio.NewReaderSize(content, peeked)
	head, err := buffered.Peek(len(elf.ELFMAG))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	name, isELF, out := path.Clean(m.Name), string(head) == elf.ELFMAG, io.Discard
	if file, ours := u.layout[name]; ours || isELF {
		most := int64(maxELF)
		if ours {
			most = cmp.Or(file.Max, maxRead)
		}
		if m.Size > most {
			return fmt.Errorf("extracting %s: it has %d bytes: want %d at most", m.Name, m.Size, most)
		}
		target, err := u.create(name, m.Mode)
		if err != nil {
			return err
		}
		defer target.Close()
		out = target
	}
	found, err := u.traces.search(buffered, out)
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if isELF {
		u.ELF = append(u.ELF, name)
	}
	if len(found) > 0 {
		u.Traces[name] = found
	}
	return err
}

// create makes the file of a member, with its mode whatever the umask.
func (u *unpacking) create(name string, mode fs.FileMode) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(u.Path(name)), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(u.Path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("duplicate member ./%s", name)
	}
	if err == nil {
		err = file.Chmod(mode.Perm())
	}
	return file, err
}
