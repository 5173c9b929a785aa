package store

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// Put is an artifact to store. Tarball is a path, Outputs are the paths of the secondary
// tarballs by name. Recipe is the canonical recipe, Record the build record, both in JSON.
type Put struct {
	Ref
	Tarball        string
	Outputs        map[string]string
	Recipe, Record []byte
}

// Put stores an artifact, and replaces an earlier one of the same key, whose blobs stay.
// What is published about an artifact (proofs, signatures, provenance, an SBOM) is not
// in its manifest, but in manifests that refer to it.
func (s *Local) Put(ctx context.Context, put Put) (Artifact, error) {
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
	blobs, layers := []oci.Blob{recipe, record}, []ocispec.Descriptor{}
	for _, name := range append([]string{""}, slices.Sorted(maps.Keys(put.Outputs))...) {
		b, err := put.tarball(ctx, s.verdicts(), name)
		if err != nil {
			return Artifact{}, fmt.Errorf("reading the %s to store: %w", Output{Name: name}.what(), err)
		}
		blobs, layers = append(blobs, b), append(layers, b.Descriptor)
	}
	m, err := oci.NewManifest(ocispec.Manifest{
		ArtifactType: artifactType,
		Config:       recipe.Descriptor,
		Layers:       slices.Insert(layers, 1, record.Descriptor),
		Annotations:  map[string]string{assetAnnotation: put.Asset, archAnnotation: put.Arch},
	})
	if err == nil {
		err = put.check(m)
	}
	if err != nil {
		return Artifact{}, fmt.Errorf("refusing to store an invalid artifact of %s: it %w", put.Asset, err)
	}
	m.Origin = builtHere
	if err := s.layout(put.Asset).Add(ctx, put.Tag(), m, blobs); err != nil {
		return Artifact{}, err
	}
	s.use(put.Ref, m)
	artifact := artifactOf(put.Ref, m)
	artifact.Recipe = put.Recipe
	return artifact, nil
}

// tarball hashes and vets one of the tarballs to store: "" is the main one.
func (p Put) tarball(ctx context.Context, verdicts archive.Verdicts, output string) (oci.Blob, error) {
	path, mediaType, asset := p.Tarball, tarballType, p.Asset
	annotations := map[string]string{}
	if output != "" {
		path, mediaType, asset = p.Outputs[output], outputType, p.Asset+"-"+output
		annotations[outputAnnotation] = output
	}
	// Other OCI clients save the tarball under this file name.
	annotations[ocispec.AnnotationTitle] = "kata-static-" + asset + ".tar.zst"
	d, err := oci.Describe(ctx, mediaType, path)
	if err == nil {
		err = verdicts.Vet(ctx, path, d.Digest.Encoded())
	}
	d.Annotations = annotations
	return oci.Blob{Descriptor: d, Content: oci.File(path)}, err
}

// verdicts returns the verdicts of vetting, next to the store in the cache. Merges use
// them, too.
func (s *Local) verdicts() archive.Verdicts {
	return archive.Verdicts{Dir: filepath.Join(filepath.Dir(s.dir), "vetted")}
}

// vet vets the tarballs of an artifact whose blobs are in a layout. The error is
// *oci.Damage if one must not be used.
func (s *Local) vet(ctx context.Context, name string, m oci.Manifest) error {
	for _, part := range m.Layers {
		if isTarball(part) {
			if err := s.vetFile(ctx, part, s.layout(name).Path(part.Digest)); err != nil {
				return err
			}
		}
	}
	return nil
}

// vetFile vets a tarball whose digest has been checked.
func (s *Local) vetFile(ctx context.Context, part ocispec.Descriptor, path string) error {
	err := s.verdicts().Vet(ctx, path, part.Digest.Encoded())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return oci.Damaged("has a %s that must not be used: %v", partName(part), err)
	}
	return nil
}
