package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// vetVersion is raised when vet refuses more than before: older verdicts then no
// longer count.
const vetVersion = 2

// Listing says what is in a tarball. Without an index there are no frames, and the
// members have no shares.
type Listing struct {
	Size    int64
	Frames  int
	Members []Sized
}

// Inspect lists a tarball by its index. One without an index is read to its end.
func Inspect(path string) (Listing, error) {
	file, size, err := openFile(path)
	if err != nil {
		return Listing{}, err
	}
	defer file.Close()
	l, _, err := list(context.Background(), file, size, discard)
	return l, err
}

// Check lists a tarball, and vets it.
func Check(ctx context.Context, path string) (Listing, error) { return Visit(ctx, path, discard) }

// Visit is Check, and calls each with every file and its content, of which it may leave a
// part unread. With an index it calls each for several files at a time. What each has
// seen counts only if Visit returns no error.
func Visit(ctx context.Context, path string, each func(m Member, content io.Reader) error) (Listing, error) {
	file, size, err := openFile(path)
	if err != nil {
		return Listing{}, err
	}
	defer file.Close()
	return vet(ctx, file, size, each)
}

func discard(Member, io.Reader) error { return nil }

// list lists a tarball. The index is nil if it has none, and then each gets the files.
func list(ctx context.Context, r io.ReaderAt, size int64, each func(m Member, content io.Reader) error) (Listing, *Index, error) {
	index, err := readIndex(r, size)
	if err == nil {
		return Listing{size, len(index.Frames), index.Sized()}, index, nil
	}
	l := Listing{Size: size}
	if !errors.Is(err, ErrNoIndex) {
		return l, nil, err
	}
	members, err := walk(files.Reader(ctx, io.NewSectionReader(r, 0, size)), maxUnpacked, func(m Member, content io.Reader) error {
		if !m.Mode.IsRegular() {
			return nil
		}
		return each(m, content)
	})
	for _, m := range members {
		l.Members = append(l.Members, Sized{Member: m})
	}
	return l, nil, err
}

// vet decides whether a tarball of size bytes may enter: from a build, a cache, a
// registry or a folder. It decompresses all of it. With an index, every byte must be
// what the index says; without one, the tarball must be whole and hold nothing that
// Pack would refuse or that programs would extract differently. A tarball without a
// file or link is refused. Memory is bounded whatever the tarball says.
func vet(ctx context.Context, r io.ReaderAt, size int64, each func(m Member, content io.Reader) error) (Listing, error) {
	l, index, err := list(ctx, r, size, each)
	if index != nil {
		err = (&File{file: r, index: index}).check(ctx, each)
	}
	if err == nil && !slices.ContainsFunc(l.Members, func(m Sized) bool { return !m.Mode.IsDir() }) {
		err = errors.New("the tarball holds no file")
	}
	return l, err
}

// Verdicts keeps in a folder which tarballs have passed, by digest, so that each is
// decompressed once on a machine. It trusts the folder as a cache trusts its blobs.
type Verdicts struct{ Dir string }

// Vet decides whether the tarball at path may enter, as Check does, unless its digest
// has passed before. Digest is the sha256 of the file in hex, which the caller has
// checked; if it is empty, Vet hashes the file.
func (v Verdicts) Vet(ctx context.Context, path, digest string) error {
	_, err := v.vet(ctx, path, digest)
	return err
}

// vet is Vet, and returns the digest.
func (v Verdicts) vet(ctx context.Context, path, digest string) (string, error) {
	if v.Dir == "" {
		return "", errors.New("no folder for verdicts")
	}
	file, size, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if digest == "" {
		// Do not hash what is not zstd: it may be gigabytes.
		var head [zstd.HeaderMaxSize]byte
		n, _ := file.ReadAt(head[:], 0)
		if err := new(zstd.Header).Decode(head[:n]); errors.Is(err, zstd.ErrMagicMismatch) {
			return "", fmt.Errorf("vetting %s: %w", path, err)
		}
		if digest, _, err = files.HashReader(ctx, io.NewSectionReader(file, 0, size)); err != nil {
			return "", fmt.Errorf("hashing %s: %w", path, err)
		}
	}
	if len(digest) != 2*sha256.Size || strings.Trim(digest, "0123456789abcdef") != "" {
		return "", fmt.Errorf("vetting %s: %q is not a sha256", path, digest)
	}
	if files.Exists(v.path(digest)) {
		return digest, nil
	}
	if _, err := vet(ctx, file, size, discard); err != nil {
		return "", fmt.Errorf("vetting %s: %w", path, err)
	}
	v.keep(digest)
	return digest, nil
}

func (v Verdicts) path(digest string) string {
	return filepath.Join(v.Dir, fmt.Sprintf("%s.v%d", digest, vetVersion))
}

// keep notes that a tarball has passed. If the folder cannot be written to, the next
// run vets it again.
func (v Verdicts) keep(digest string) {
	if os.MkdirAll(v.Dir, 0o755) == nil {
		_ = os.WriteFile(v.path(digest), nil, 0o644)
	}
}

// check decompresses the whole tarball and compares every byte with the index:
// headers, hashes of contents, padding, the end. A tarball that passes holds nothing
// that its index does not name.
func (f *File) check(ctx context.Context, each func(m Member, content io.Reader) error) error {
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(workers())
	for i := 0; i < len(f.index.Frames) && running.Err() == nil; i += f.index.pieces(i) {
		group.Go(func() error {
			if err := f.checkFrame(running, i, each); err != nil {
				return fmt.Errorf("checking frame %d: %w", i, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// checkFrame checks a frame and the pieces that follow it.
func (f *File) checkFrame(ctx context.Context, i int, each func(m Member, content io.Reader) error) error {
	offset, _ := f.index.span(0, i)
	for _, piece := range f.index.Frames[i : i+f.index.pieces(i)] {
		if err := oneFrame(io.NewSectionReader(f.file, offset, piece.Size), piece.Unpacked); err != nil {
			return fmt.Errorf("the index lies: at %d, %w", offset, err)
		}
		offset += piece.Size
	}
	decoder, err := f.decode(i)
	if err != nil {
		return err
	}
	defer decoder.Close()
	plain, frame := files.Reader(ctx, decoder), f.index.Frames[i]
	for _, m := range frame.Members {
		if err := visitMember(plain, m, f.index.modTime(frame), each); err != nil {
			return err
		}
		if err := expectZeros(plain, padding(m.Size)); err != nil {
			return fmt.Errorf("checking the padding of %s: %w", m.Name, err)
		}
	}
	if i == len(f.index.Frames)-1 {
		if err := expectZeros(plain, endSize); err != nil {
			return err
		}
	}
	n, err := io.ReadFull(plain, make([]byte, 1))
	switch {
	case n > 0:
		return errors.New("the index lies: the frame unpacks to more than its members")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// visitMember checks a member without its padding.
func visitMember(plain io.Reader, m Member, modTime time.Time, each func(m Member, content io.Reader) error) error {
	content, err := newContent(plain, m, modTime)
	if err != nil {
		return err
	}
	if m.Mode.IsRegular() {
		if err := each(m, content); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, content)
	return err
}

func expectZeros(r io.Reader, n int64) error {
	got := make([]byte, n)
	if _, err := io.ReadFull(r, got); err != nil {
		return unexpected(err)
	}
	if !allZero(got) {
		return errors.New("data where there must be zeros")
	}
	return nil
}
