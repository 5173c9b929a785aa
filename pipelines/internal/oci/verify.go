package oci

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Verify reads every blob once. It returns the manifests of the entries that are whole,
// and one line for each damage that it found. It changes nothing.
func (l *Layout) Verify(ctx context.Context) (whole []Manifest, lines []string, err error) {
	index, err := l.readIndex()
	switch {
	case IsDamage(err):
		lines = append(lines, fmt.Sprintf("%s is damaged: %v", ocispec.ImageIndexFile, err))
	case err != nil && l.lost(err):
		lines = append(lines, ocispec.ImageIndexFile+" is missing")
	case ignoreMissing(err) != nil:
		return nil, nil, err
	}
	sizes, wrong, err := l.rehash(ctx)
	if err != nil {
		return nil, nil, err
	}
	lines = append(lines, wrong...)
	for _, d := range index.Manifests {
		tag := d.Annotations[ocispec.AnnotationRefName]
		m, what, err := l.verifyEntry(ctx, d, tag, sizes)
		if err != nil {
			return nil, nil, err
		}
		if len(what) == 0 {
			whole = append(whole, m)
		}
		for _, line := range what {
			lines = append(lines, fmt.Sprintf("entry %s %s", tag, line))
		}
	}
	return whole, lines, nil
}

// rehash hashes all blobs. It returns the sizes of the intact ones, and a line for each
// damaged one.
func (l *Layout) rehash(ctx context.Context) (sizes map[digest.Digest]int64, wrong []string, err error) {
	folder := filepath.Join(l.Root, ocispec.ImageBlobsDir, digest.SHA256.String())
	entries, err := os.ReadDir(folder)
	if ignoreMissing(err) != nil {
		return nil, nil, fmt.Errorf("reading the store: %w", err)
	}
	sizes = map[digest.Digest]int64{}
	for _, entry := range entries {
		name := digest.NewDigestFromEncoded(digest.SHA256, entry.Name())
		if !entry.Type().IsRegular() || name.Validate() != nil {
			wrong = append(wrong, fmt.Sprintf("%s is not a blob", filepath.Join(folder, entry.Name())))
			continue
		}
		sum, size, err := files.Hash(ctx, filepath.Join(folder, entry.Name()))
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("reading a blob: %w", err)
		case sum != name.Encoded():
			wrong = append(wrong, fmt.Sprintf("blob %s of %d bytes hashes to sha256:%s", name, size, sum))
		default:
			sizes[name] = size
		}
	}
	return sizes, wrong, nil
}

// verifyEntry verifies one entry of the index, given the sizes of the intact blobs. Each
// line it returns continues a sentence whose subject is the entry.
func (l *Layout) verifyEntry(ctx context.Context, d ocispec.Descriptor, tag string, sizes map[digest.Digest]int64) (m Manifest, lines []string, err error) {
	verify := func(what string, d ocispec.Descriptor) {
		if size, found := sizes[d.Digest]; !found {
			lines = append(lines, fmt.Sprintf("has no whole %s %s (%s)", what, d.Digest, d.MediaType))
		} else if size != d.Size {
			lines = append(lines, fmt.Sprintf("has a %s %s of %d bytes, want %d", what, d.Digest, size, d.Size))
		}
	}
	if verify("manifest", d); len(lines) > 0 {
		return m, lines, nil
	}
	if m, err = l.manifest(ctx, d); err == nil {
		var name string
		if name, err = l.Name(m); err == nil && name != tag {
			err = Damaged("is the manifest of %s", name)
		}
	}
	if IsDamage(err) {
		return m, []string{err.Error()}, nil
	}
	for _, part := range m.Parts() {
		verify("part", part)
	}
	return m, lines, err
}
