package oci

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

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// ReadArchive reads an OCI archive of one image: its manifest, and what that
// names as sections of the file, which stays open while they are used.
func ReadArchive(file *os.File) (ocispec.Manifest, []Blob, error) {
	sections := map[string]section{}
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
		sections[header.Name] = section{file, offset, header.Size}
	}
	var index ocispec.Index
	if err := sections[ocispec.ImageIndexFile].decode(&index); err != nil {
		return ocispec.Manifest{}, nil, fmt.Errorf("reading %s: %w", ocispec.ImageIndexFile, err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].MediaType != ocispec.MediaTypeImageManifest {
		return ocispec.Manifest{}, nil, fmt.Errorf("%s names %d manifests, want one image", ocispec.ImageIndexFile, len(index.Manifests))
	}
	if err := index.Manifests[0].Digest.Validate(); err != nil {
		return ocispec.Manifest{}, nil, fmt.Errorf("%s names the digest %q: %w", ocispec.ImageIndexFile, index.Manifests[0].Digest, err)
	}
	var m ocispec.Manifest
	if err := sections[blobName(index.Manifests[0].Digest)].decode(&m); err != nil {
		return ocispec.Manifest{}, nil, fmt.Errorf("reading the manifest: %w", err)
	}
	var blobs []Blob
	for _, part := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := part.Digest.Validate(); err != nil {
			return ocispec.Manifest{}, nil, fmt.Errorf("the manifest names the digest %q: %w", part.Digest, err)
		}
		content := sections[blobName(part.Digest)]
		if content.file == nil {
			return ocispec.Manifest{}, nil, fmt.Errorf("the archive lacks %s", part.Digest)
		}
		blobs = append(blobs, Blob{part, content})
	}
	return m, blobs, nil
}

// decode reads a section that is a small document.
func (s section) decode(value any) error {
	if s.file == nil {
		return fs.ErrNotExist
	}
	if s.size > MaxManifest {
		return fmt.Errorf("it has %d bytes, more than %d", s.size, MaxManifest)
	}
	return json.NewDecoder(io.NewSectionReader(s.file, s.offset, s.size)).Decode(value)
}

func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// WriteArchive writes an image of the layout as an OCI archive, whose bytes depend
// on the image only: an engine knows it again. The caller has checked the blobs.
func (l *Layout) WriteArchive(ctx context.Context, path string, m Manifest) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("creating the archive: %w", err)
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			os.Remove(path)
		}
	}()
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{m.Descriptor()},
	})
	if err != nil {
		return fmt.Errorf("encoding %s: %w", ocispec.ImageIndexFile, err)
	}
	archive := tar.NewWriter(file)
	for _, small := range []struct {
		name string
		data []byte
	}{
		{ocispec.ImageLayoutFile, layoutMarker},
		{ocispec.ImageIndexFile, index},
		{blobName(m.Digest()), m.Data},
	} {
		if err := archive.WriteHeader(archiveHeader(small.name, int64(len(small.data)))); err != nil {
			return fmt.Errorf("writing the archive: %w", err)
		}
		if _, err := archive.Write(small.data); err != nil {
			return fmt.Errorf("writing the archive: %w", err)
		}
	}
	written := map[digest.Digest]bool{}
	for _, part := range m.Parts() {
		if written[part.Digest] {
			continue
		}
		written[part.Digest] = true
		if err := l.copyPart(ctx, archive, part); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	return nil
}

// copyPart copies a blob into an archive.
func (l *Layout) copyPart(ctx context.Context, archive *tar.Writer, part ocispec.Descriptor) error {
	blob, err := files.Open(l.Path(part.Digest))
	if err != nil {
		return fmt.Errorf("opening a blob of the store: %w", err)
	}
	defer blob.Close()
	if err := archive.WriteHeader(archiveHeader(blobName(part.Digest), part.Size)); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	if _, err := files.Copy(ctx, archive, blob); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	return nil
}

func archiveHeader(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatGNU}
}
