package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Folders of a layout for unfinished blobs, named by their digests. The next download of
// a blob resumes the one in partialFolder; the next writer empties ingestFolder.
const (
	partialFolder = "partial"
	ingestFolder  = "ingest"
)

// abandoned is the time without a write after which a partial blob is removed.
const abandoned = 24 * time.Hour

// Layout is an OCI image layout on disk. Any number of processes may use it at once.
// Readers take no lock, because blobs are written once, under their digest, and the
// index is replaced by rename. Writers hold a lock. A killed process leaves, at worst,
// blobs that no manifest names.
type Layout struct {
	// Root is the folder of the layout, Locks the folder of its lock files.
	Root, Locks string
	// Report gets warnings. It may be nil.
	Report *progress.Reporter
	// Name returns the tag of a manifest; a lost index is rebuilt with it. The error is
	// *Damage if the manifest does not belong to this layout.
	Name func(Manifest) (string, error)

	notes reported
	uses  files.Uses
	// recovered is the rebuilt index of a damaged layout that is read-only.
	recovered atomic.Pointer[ocispec.Index]
}

// Note reports a warning the first time.
func (l *Layout) Note(text string) { l.notes.note(l.Report, "store", text) }

// Path returns the path of a blob. The digest must be valid.
func (l *Layout) Path(d digest.Digest) string {
	return filepath.Join(l.Root, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// Blobs returns the blobs that a manifest of the layout names, the config first.
func (l *Layout) Blobs(m Manifest) (blobs []Blob) {
	for _, part := range m.Parts() {
		blobs = append(blobs, Blob{part, File(l.Path(part.Digest))})
	}
	return blobs
}

// Manifest returns the manifest of a tag. The error is ErrNotFound, or *Damage if the
// manifest is not whole.
func (l *Layout) Manifest(ctx context.Context, tag string) (Manifest, error) {
	index, err := l.Index(ctx)
	if err != nil {
		return Manifest{}, err
	}
	d, found := find(index, tag)
	if !found {
		return Manifest{}, fmt.Errorf("%s in %s: %w", tag, l.Root, ErrNotFound)
	}
	return l.manifest(ctx, d)
}

func (l *Layout) manifest(ctx context.Context, d ocispec.Descriptor) (Manifest, error) {
	data, err := l.Read(ctx, "manifest", d, MaxManifest)
	if err != nil {
		return Manifest{}, err
	}
	m, err := ParseManifest(data)
	m.Origin = d.Annotations[originAnnotation]
	return m, err
}

// Read returns a blob of at most limit bytes. The error is *Damage if the blob does not
// match its digest.
func (l *Layout) Read(ctx context.Context, what string, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, Damaged("has a %s of %d bytes, more than %d", what, d.Size, limit)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.Digest.Validate(); err != nil {
		return nil, Damaged("has a damaged %s: %v", what, err)
	}
	file, err := files.Open(l.Path(d.Digest))
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*files.IrregularError)) {
		return nil, Damaged("has lost its %s", what)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a %s of the store: %w", what, err)
	}
	defer file.Close()
	data, err := content.ReadAll(file, d)
	if errors.As(err, new(*fs.PathError)) {
		return nil, fmt.Errorf("reading a %s of the store: %w", what, err)
	}
	if err != nil {
		return nil, Damaged("has a damaged %s: %v", what, err)
	}
	return data, nil
}

// Check makes sure that the layout has a blob of the right size, and hashes it if it is
// JSON. Otherwise, the error is *Damage.
func (l *Layout) Check(ctx context.Context, what string, d ocispec.Descriptor) error {
	info, err := os.Lstat(l.Path(d.Digest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Damaged("has lost its %s", what)
	case err != nil:
		return fmt.Errorf("examining a blob of the store: %w", err)
	case !info.Mode().IsRegular():
		return Damaged("has a %s that is not a regular file", what)
	case info.Size() != d.Size:
		return Damaged("has a %s of %d bytes, want %d", what, info.Size(), d.Size)
	case strings.HasSuffix(d.MediaType, "json"):
		_, err = l.Read(ctx, what, d, MaxDocument)
	}
	return err
}

// Missing returns those of the blobs that the layout lacks.
func (l *Layout) Missing(blobs []ocispec.Descriptor) (missing []ocispec.Descriptor) {
	for _, d := range blobs {
		if !files.Exists(l.Path(d.Digest)) {
			missing = append(missing, d)
		}
	}
	return missing
}

func (l *Layout) lock(ctx context.Context) (unlock func(), err error) {
	return files.Lock(ctx, filepath.Join(l.Locks, "layout"), files.Waiting{})
}

func (l *Layout) partial(d digest.Digest) string {
	return filepath.Join(l.Root, partialFolder, d.Encoded())
}

func (l *Layout) lockBlob(ctx context.Context, d digest.Digest) (unlock func(), err error) {
	waiting := files.Waiting{Report: l.Report, Subject: "store", Text: "waiting for another process that pulls " + filepath.Base(l.Root)}
	return files.Lock(ctx, l.blobLock(d.Encoded()), waiting)
}

// blobLock returns the lock file for writing to a partial blob. Blobs share locks, so
// that few lock files remain.
func (l *Layout) blobLock(encoded string) string {
	return filepath.Join(l.Locks, "blob-"+encoded[:min(2, len(encoded))])
}
