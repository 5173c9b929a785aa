package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// List returns all whole artifacts, sorted by asset, arch and key. Damaged
// entries are noted and left out, foreign ones left out.
func (s *Store) List(ctx context.Context) ([]Artifact, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the store: %w", err)
	}
	var artifacts []Artifact
	for _, entry := range entries {
		if !entry.IsDir() || !validName.MatchString(entry.Name()) {
			continue
		}
		l := s.layout(entry.Name())
		index, err := l.index(ctx)
		if err != nil {
			return nil, err
		}
		for _, d := range index.Manifests {
			key, arch, _ := strings.Cut(d.Annotations[ocispec.AnnotationRefName], "-")
			ref := Ref{Asset: entry.Name(), Arch: arch, Key: key}
			if ref.validate() != nil {
				continue
			}
			artifact, err := l.get(ctx, index, ref)
			if IsNotFound(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			artifacts = append(artifacts, artifact)
		}
	}
	slices.SortFunc(artifacts, func(a, b Artifact) int {
		return cmp.Or(strings.Compare(a.Asset, b.Asset), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Key, b.Key))
	})
	return artifacts, nil
}
