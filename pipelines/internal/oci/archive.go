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
)

// ReadArchive reads an OCI archive of one image: its manifest, and the blobs that it
// names as sections of the file. The caller keeps the file open while it uses them.
// The manifest is checked against its digest; the blobs are not.
func ReadArchive(file *os.File) (Manifest, []Blob, error) {
	sections, err := sectionsOf(file)
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("reading the archive: %w", err)
	}
	data, err := sections[ocispec.ImageIndexFile].document()
	var index ocispec.Index
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("reading %s: %w", ocispec.ImageIndexFile, err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].MediaType != ocispec.MediaTypeImageManifest {
		return Manifest{}, nil, fmt.Errorf("%s names %d manifests, want one image", ocispec.ImageIndexFile, len(index.Manifests))
	}
	want := index.Manifests[0].Digest
	if err := want.Validate(); err != nil {
		return Manifest{}, nil, fmt.Errorf("%s names the digest %q: %w", ocispec.ImageIndexFile, want, err)
	}
	if data, err = sections[blobName(want)].document(); err != nil {
		return Manifest{}, nil, fmt.Errorf("reading the manifest: %w", err)
	}
	m, err := ParseManifest(data)
	if err == nil && m.Digest() != want {
		err = Damaged("has a manifest that hashes to %s, want %s", m.Digest(), want)
	}
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("the archive %w", err)
	}
	var blobs []Blob
	for _, part := range m.Parts() {
		content := sections[blobName(part.Digest)]
		if content.file == nil {
			return Manifest{}, nil, fmt.Errorf("the archive lacks %s", part.Digest)
		}
		blobs = append(blobs, Blob{part, content})
	}
	return m, blobs, nil
}

// sectionsOf returns the members of a tar by their names.
func sectionsOf(file *os.File) (map[string]section, error) {
	sections := map[string]section{}
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return sections, nil
		}
		if err != nil {
			return nil, err
		}
		// A tar.Reader does not read ahead, so the file is at the member's content.
		offset, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		sections[header.Name] = section{file, offset, header.Size}
	}
}

// document reads a section that is a small document.
func (s section) document() ([]byte, error) {
	if s.file == nil {
		return nil, fs.ErrNotExist
	}
	if s.size > MaxManifest {
		return nil, fmt.Errorf("it has %d bytes, more than %d", s.size, MaxManifest)
	}
	return io.ReadAll(io.NewSectionReader(s.file, s.offset, s.size))
}

func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// WriteArchive writes an image, with the blobs that its manifest names, as an OCI
// archive. Its bytes depend on the image only, so an engine recognizes it. A blob that
// does not match its digest is an error.
func WriteArchive(ctx context.Context, path string, m Manifest, blobs []Blob) (err error) {
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
	members := []member{
		{ocispec.ImageLayoutFile, BytesBlob("", layoutMarker)},
		{ocispec.ImageIndexFile, BytesBlob("", index)},
		{blobName(m.Digest()), Blob{m.Descriptor(), Bytes(m.Data)}},
	}
	for _, b := range blobs {
		members = append(members, member{blobName(b.Digest), b})
	}
	archive, written := tar.NewWriter(file), map[string]bool{}
	for _, member := range members {
		if written[member.name] {
			continue
		}
		written[member.name] = true
		err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: member.name, Size: member.Size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatGNU})
		if err == nil {
			err = member.Copy(ctx, archive)
		}
		if err != nil {
			return fmt.Errorf("writing %s to the archive: %w", member.name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	return nil
}

type member struct {
	name string
	Blob
}
