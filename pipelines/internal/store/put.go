package store

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// Put stores an artifact in place of an earlier one of the same key. What it
// replaces stays among the blobs until they are collected.
func (s *Store) Put(ctx context.Context, put Put) (Artifact, error) {
	if err := put.validate(); err != nil {
		return Artifact{}, err
	}
	if _, found := put.Outputs[""]; found {
		return Artifact{}, fmt.Errorf("an output of %s has no name", put.Asset)
	}
	recipe, record := oci.BytesBlob(recipeType, put.Recipe), oci.BytesBlob(recordType, put.Record)
	if recipe.Digest.Encoded() != put.Key {
		return Artifact{}, fmt.Errorf("the recipe of %s hashes to %s, not to its key %s", put.Asset, recipe.Digest.Encoded(), put.Key)
	}
	named, tarballs, err := put.describe(ctx, s.verdicts())
	if err != nil {
		return Artifact{}, err
	}
	named.recipe, named.record = recipe.Descriptor, record.Descriptor
	m, err := manifest(put.Ref, named)
	if err != nil {
		return Artifact{}, err
	}
	if err := put.check(m); err != nil {
		return Artifact{}, fmt.Errorf("an artifact of %s that nothing could read: it %w", put.Asset, err)
	}
	if err := s.layout(put.Asset).Add(ctx, put.Tag(), m, append(tarballs, recipe, record)); err != nil {
		return Artifact{}, err
	}
	artifact := artifactOf(m)
	artifact.Recipe, artifact.Record = put.Recipe, put.Record
	return artifact, nil
}

// describe hashes and vets all tarballs to store.
func (p Put) describe(ctx context.Context, verdicts archive.Verdicts) (named parts, tarballs []oci.Blob, err error) {
	for _, name := range append([]string{""}, slices.Sorted(maps.Keys(p.Outputs))...) {
		path := p.Tarball
		if name != "" {
			path = p.Outputs[name]
		}
		d, err := oci.Describe(ctx, tarballType, path)
		if err == nil {
			err = verdicts.Vet(ctx, path, d.Digest.Encoded())
		}
		if err != nil {
			return parts{}, nil, fmt.Errorf("reading the %s to store: %w", Output{Name: name}.what(), err)
		}
		if name == "" {
			named.tarball = d
		} else {
			named.outputs = append(named.outputs, namedPart{name, d})
		}
		tarballs = append(tarballs, oci.Blob{Descriptor: d, Content: oci.File(path)})
	}
	return named, tarballs, nil
}
