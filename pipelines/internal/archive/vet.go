package archive

import (
	"bytes"
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

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// vetVersion is raised when Vet refuses more than before: verdicts of an older Vet
// then no longer count.
const vetVersion = 2

// Vet decides whether a tarball of size bytes may enter: from a build, a cache, a
// registry or a folder. It decompresses all of it. With an index, every byte must be
// what the index says; without one, the tarball must be whole and hold nothing that
// Pack would refuse or that programs would extract differently. A tarball without a
// file or link is refused. Memory is bounded whatever the tarball says.
func Vet(ctx context.Context, r io.ReaderAt, size int64) error {
	var members []Member
	index, err := readIndex(r, size)
	switch {
	case errors.Is(err, ErrNoIndex):
		members, err = List(files.Reader(ctx, io.NewSectionReader(r, 0, size)))
	case err == nil:
		members, err = index.Members(), (&File{file: r, index: index}).Check(ctx)
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(members, func(m Member) bool { return !m.Mode.IsDir() }) {
		return errors.New("the tarball holds no file")
	}
	return nil
}

// Verdicts keeps in a folder which tarballs Vet let pass, by digest, so that each is
// decompressed once on a machine. It trusts the folder as a cache trusts its blobs.
// Without a folder it keeps nothing.
type Verdicts struct{ Dir string }

// Vet vets the tarball at path, unless its digest has passed before. Digest is the
// sha256 in hex that the caller knows the bytes to have; if it is empty, Vet hashes
// the file.
func (v Verdicts) Vet(ctx context.Context, path, digest string) error {
	_, err := v.vet(ctx, path, digest)
	return err
}

// vet is Vet, and returns the digest.
func (v Verdicts) vet(ctx context.Context, path, digest string) (string, error) {
	file, size, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if digest == "" {
		if digest, _, err = files.HashReader(ctx, io.NewSectionReader(file, 0, size)); err != nil {
			return "", fmt.Errorf("hashing %s: %w", path, err)
		}
	}
	if len(digest) != 2*sha256.Size || strings.Trim(digest, "0123456789abcdef") != "" {
		return "", fmt.Errorf("vetting %s: %q is not a sha256", path, digest)
	}
	if v.Dir != "" && files.Exists(v.path(digest)) {
		return digest, nil
	}
	if err := Vet(ctx, file, size); err != nil {
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
	if v.Dir != "" && os.MkdirAll(v.Dir, 0o755) == nil {
		_ = os.WriteFile(v.path(digest), nil, 0o644)
	}
}

// Check decompresses the whole tarball and compares every byte with the index:
// headers, hashes of contents, padding, the end. A tarball that passes holds nothing
// that its index does not name.
func (f *File) Check(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(workers())
	for i := 0; i < len(f.index.Frames) && running.Err() == nil; i += f.index.pieces(i) {
		group.Go(func() error {
			if err := f.checkFrame(running, i); err != nil {
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

// checkFrame checks a frame with the pieces that follow it.
func (f *File) checkFrame(ctx context.Context, i int) error {
	for _, piece := range f.index.Frames[i : i+f.index.pieces(i)] {
		if err := oneFrame(f.file, piece); err != nil {
			return fmt.Errorf("the index lies: %w", err)
		}
	}
	decoder, err := f.decode(i)
	if err != nil {
		return err
	}
	defer decoder.Close()
	plain, frame := files.Reader(ctx, decoder), f.index.Frames[i]
	for _, m := range frame.Members {
		if err := checkContent(plain, m, frame.ModTime); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	if frame.Kind == FrameEnd {
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

// checkContent reads a member, and compares it with the index.
func checkContent(plain io.Reader, m Member, modTime time.Time) error {
	if err := expectHeader(plain, m, modTime); err != nil {
		return err
	}
	if !m.Mode.IsRegular() {
		return nil
	}
	hash := sha256.New()
	if _, err := io.CopyN(hash, plain, m.Size); err != nil {
		return unexpected(err)
	}
	if err := expectHash(hash, m); err != nil {
		return err
	}
	return expectZeros(plain, padding(m.Size))
}

func expectZeros(r io.Reader, n int64) error {
	got := make([]byte, n)
	if _, err := io.ReadFull(r, got); err != nil {
		return unexpected(err)
	}
	if !bytes.Equal(got, make([]byte, n)) {
		return errors.New("there are bytes where there must be zeros")
	}
	return nil
}
