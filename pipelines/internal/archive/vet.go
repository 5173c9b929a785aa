package archive

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
)

// vetVersion is raised when Vet refuses more than before: verdicts of an older Vet
// then no longer count.
const vetVersion = 1

// Vet decides whether a tarball of size bytes may enter: from a build, a cache, a
// registry or a folder. It decompresses all of it. With an index, every byte must be
// what the index says; without one, the tarball must be whole and hold nothing that
// Pack would refuse or that programs would extract differently. A tarball without a
// file or link is refused. Memory is bounded whatever the tarball says.
func Vet(ctx context.Context, r io.ReaderAt, size int64) error {
	members, err := vetted(ctx, r, size)
	if err != nil {
		return err
	}
	for _, m := range members {
		if !m.Mode.IsDir() {
			return nil
		}
	}
	return errors.New("the tarball holds no file")
}

// vetted returns the members of a tarball whose bytes are in order.
func vetted(ctx context.Context, r io.ReaderAt, size int64) ([]Member, error) {
	file, err := newFile(r, size)
	if errors.Is(err, ErrNoIndex) {
		return List(cancellable(ctx, io.NewSectionReader(r, 0, size)))
	}
	if err != nil {
		return nil, err
	}
	return file.index.Members(), file.Check(ctx)
}

// Verdicts keeps in a folder which tarballs Vet let pass, by digest, so that each is
// decompressed once on a machine. It trusts the folder as a cache trusts its blobs.
type Verdicts struct{ Dir string }

// Vet vets the tarball at path, unless its digest has passed before. Digest is the
// sha256 in hex that the caller knows the bytes to have; if it is empty, Vet hashes
// the file.
func (v Verdicts) Vet(ctx context.Context, path, digest string) error {
	file, size, err := openFile(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if digest == "" {
		if digest, err = hashOf(ctx, io.NewSectionReader(file, 0, size)); err != nil {
			return fmt.Errorf("hashing %s: %w", path, err)
		}
	}
	if len(digest) != 2*sha256.Size || strings.Trim(digest, "0123456789abcdef") != "" {
		return fmt.Errorf("vetting %s: %q is not a sha256", path, digest)
	}
	verdict := filepath.Join(v.Dir, fmt.Sprintf("%s.v%d", digest, vetVersion))
	if _, err := os.Lstat(verdict); err == nil {
		return nil
	}
	if err := Vet(ctx, file, size); err != nil {
		return fmt.Errorf("vetting %s: %w", path, err)
	}
	// A cache that cannot be written to costs the next run the same time, no more.
	if err := os.MkdirAll(v.Dir, 0o755); err == nil {
		_ = os.WriteFile(verdict, nil, 0o644)
	}
	return nil
}

// openFile opens a regular file, and returns its size.
func openFile(path string) (*os.File, int64, error) {
	// Opening a named pipe would wait for a writer.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// hashOf returns the sha256 of what a reader gives, in hex.
func hashOf(ctx context.Context, from io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, cancellable(ctx, from)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
