package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Verify reads every blob of every layout once, and returns the damage that it
// found, a line each, in the order of the folders. It changes nothing.
func (s *Store) Verify(ctx context.Context) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the store: %w", err)
	}
	var all []string
	for _, entry := range entries {
		if !entry.IsDir() || entry.Name() == locksFolder {
			continue
		}
		lines, err := s.layout(entry.Name()).verify(ctx)
		if err != nil {
			return nil, fmt.Errorf("verifying %s: %w", entry.Name(), err)
		}
		for _, line := range lines {
			all = append(all, entry.Name()+": "+line)
		}
	}
	return all, nil
}

// verify is Verify for one layout.
func (l *layout) verify(ctx context.Context) (lines []string, err error) {
	index, err := l.readIndex()
	var damaged *damage
	switch {
	case errors.As(err, &damaged):
		lines = append(lines, fmt.Sprintf("%s is damaged: %v", ocispec.ImageIndexFile, damaged))
	case err != nil && l.lost(err):
		lines = append(lines, ocispec.ImageIndexFile+" is missing")
	case ignoreMissing(err) != nil:
		return nil, err
	}
	sizes, wrong, err := l.rehash(ctx)
	if err != nil {
		return nil, err
	}
	lines = append(lines, wrong...)
	for _, d := range index.Manifests {
		tag := d.Annotations[ocispec.AnnotationRefName]
		what, err := l.entry(d, tag, sizes)
		if err != nil {
			return nil, err
		}
		for _, line := range what {
			lines = append(lines, fmt.Sprintf("entry %s %s", tag, line))
		}
	}
	return lines, nil
}

// rehash hashes all blobs: it returns the sizes of the good ones.
func (l *layout) rehash(ctx context.Context) (sizes map[digest.Digest]int64, wrong []string, err error) {
	folder := filepath.Join(l.root, ocispec.ImageBlobsDir, digest.SHA256.String())
	entries, err := os.ReadDir(folder)
	if ignoreMissing(err) != nil {
		return nil, nil, fmt.Errorf("reading the store: %w", err)
	}
	sizes = map[digest.Digest]int64{}
	for _, entry := range entries {
		name := digest.NewDigestFromEncoded(digest.SHA256, entry.Name())
		if !entry.Type().IsRegular() || name.Validate() != nil {
			wrong = append(wrong, fmt.Sprintf("%s is no blob", filepath.Join(folder, entry.Name())))
			continue
		}
		present, err := describe(ctx, filepath.Join(folder, entry.Name()))
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("reading a blob: %w", err)
		case present.Digest != name:
			wrong = append(wrong, fmt.Sprintf("blob %s of %d bytes hashes to %s", name, present.Size, present.Digest))
		default:
			sizes[name] = present.Size
		}
	}
	return sizes, wrong, nil
}

// entry looks at one entry of the index: what it says reads on from its tag. The
// blobs were hashed before.
func (l *layout) entry(d ocispec.Descriptor, tag string, sizes map[digest.Digest]int64) (lines []string, err error) {
	size, found := sizes[d.Digest]
	switch {
	case !found:
		return []string{fmt.Sprintf("has no whole manifest %s", d.Digest)}, nil
	case size != d.Size || size > maxManifest:
		return []string{fmt.Sprintf("has a manifest of %d bytes, want %d", size, d.Size)}, nil
	}
	data, err := os.ReadFile(l.path(d.Digest))
	if err != nil {
		return nil, fmt.Errorf("reading a manifest: %w", err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return []string{fmt.Sprintf("has a manifest that is not JSON: %v", err)}, nil
	}
	key, arch, _ := strings.Cut(tag, "-")
	if ref := (Ref{Asset: l.asset, Arch: arch, Key: key}); ref.validate() == nil {
		if wrong := mismatch(data, ref); wrong != "" {
			return []string{wrong}, nil
		}
	}
	for _, part := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if size, found := sizes[part.Digest]; !found {
			lines = append(lines, fmt.Sprintf("has no whole part %s (%s)", part.Digest, part.MediaType))
		} else if size != part.Size {
			lines = append(lines, fmt.Sprintf("has a part %s of %d bytes, want %d", part.Digest, size, part.Size))
		}
	}
	return lines, nil
}

// mismatch says in what a manifest is not the one of a key, or "".
func mismatch(data []byte, ref Ref) string {
	artifact, _, err := parse(data)
	if err == nil {
		err = artifact.is(ref)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
