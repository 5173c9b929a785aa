package store

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// readArchive reads an OCI archive of one image: its manifest, and what that
// names as sections of the file.
func readArchive(file *os.File) (ocispec.Manifest, []blob, error) {
	sections := map[string]*io.SectionReader{}
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return ocispec.Manifest{}, nil, fmt.Errorf("reading the archive: %w", err)
		}
		// The reader of a tar takes from the file no more than it has to.
		offset, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return ocispec.Manifest{}, nil, fmt.Errorf("reading the archive: %w", err)
		}
		sections[header.Name] = io.NewSectionReader(file, offset, header.Size)
	}
	var index ocispec.Index
	if err := decodeSection(sections[ocispec.ImageIndexFile], &index); err != nil {
		return ocispec.Manifest{}, nil, fmt.Errorf("reading %s: %w", ocispec.ImageIndexFile, err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].MediaType != ocispec.MediaTypeImageManifest {
		return ocispec.Manifest{}, nil, fmt.Errorf("%s names %d manifests, want one image", ocispec.ImageIndexFile, len(index.Manifests))
	}
	var m ocispec.Manifest
	if err := decodeSection(sections[blobName(index.Manifests[0].Digest)], &m); err != nil {
		return ocispec.Manifest{}, nil, fmt.Errorf("reading the manifest: %w", err)
	}
	var blobs []blob
	for _, part := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		section := sections[blobName(part.Digest)]
		if section == nil {
			return ocispec.Manifest{}, nil, fmt.Errorf("the archive lacks %s", part.Digest)
		}
		blobs = append(blobs, blob{part, func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(section, 0, section.Size())), nil
		}})
	}
	return m, blobs, nil
}

func decodeSection(section *io.SectionReader, value any) error {
	if section == nil {
		return fs.ErrNotExist
	}
	if section.Size() > maxManifest {
		return fmt.Errorf("it has %d bytes, more than %d", section.Size(), maxManifest)
	}
	return json.NewDecoder(section).Decode(value)
}

func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// damagedPart is a blob of the store that is missing or not what its name says.
type damagedPart struct{ path, what string }

// Error says what is wrong with which blob.
func (d *damagedPart) Error() string { return d.path + " " + d.what }

// writeArchive writes an image of a layout as an OCI archive, whose bytes depend
// on the image alone: an engine knows it again. The error is *damagedPart where
// a blob is damaged; then there is no archive.
func writeArchive(ctx context.Context, path string, e entry, l *layout) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("creating the builder's archive: %w", err)
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			os.Remove(path)
		}
	}()
	archive := tar.NewWriter(file)
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{e.descriptor()},
	})
	if err != nil {
		return fmt.Errorf("encoding %s: %w", ocispec.ImageIndexFile, err)
	}
	for _, small := range []struct {
		name string
		data []byte
	}{
		{ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)},
		{ocispec.ImageIndexFile, index},
		{blobName(e.descriptor().Digest), e.data},
	} {
		if err := archive.WriteHeader(archiveHeader(small.name, int64(len(small.data)))); err != nil {
			return fmt.Errorf("writing the builder's archive: %w", err)
		}
		if _, err := archive.Write(small.data); err != nil {
			return fmt.Errorf("writing the builder's archive: %w", err)
		}
	}
	written := map[digest.Digest]bool{}
	for _, part := range e.parts() {
		if written[part.Digest] {
			continue
		}
		written[part.Digest] = true
		if err := copyPart(ctx, archive, l, part); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("ending the builder's archive: %w", err)
	}
	return nil
}

// copyPart copies a blob into an archive and hashes it on the way.
func copyPart(ctx context.Context, archive *tar.Writer, l *layout, part ocispec.Descriptor) error {
	path := l.path(part.Digest)
	blob, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &damagedPart{path, "is missing"}
	}
	if err != nil {
		return fmt.Errorf("opening a blob of the store: %w", err)
	}
	defer blob.Close()
	info, err := blob.Stat()
	if err != nil {
		return fmt.Errorf("looking at a blob of the store: %w", err)
	}
	if info.Size() != part.Size {
		return &damagedPart{path, fmt.Sprintf("has %d bytes, want %d", info.Size(), part.Size)}
	}
	if err := archive.WriteHeader(archiveHeader(blobName(part.Digest), part.Size)); err != nil {
		return fmt.Errorf("writing the builder's archive: %w", err)
	}
	verifier := part.Digest.Verifier()
	if _, err := io.Copy(io.MultiWriter(archive, verifier), &contextReader{ctx.Err, blob}); err != nil {
		return fmt.Errorf("writing the builder's archive: %w", err)
	}
	if !verifier.Verified() {
		return &damagedPart{path, "has other content than its name says"}
	}
	return nil
}

func archiveHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatGNU}
}
