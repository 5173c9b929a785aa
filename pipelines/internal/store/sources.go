package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/mod/sumdb/dirhash"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// Sources have a repository of their own. Each declared hash has a tag, whose manifest has
// one layer: the file.
const (
	sourceRepository = "sources"
	sourceType       = "application/vnd.kata-containers.source.v1"
	sourceLayerType  = "application/octet-stream"
)

// sourceTag returns the tag of a declared hash: "sha256:<hex>" of a file, or "h1:<base64>"
// of a Go module, whose zip may have any digest.
func sourceTag(hash string) (string, error) {
	kind, sum, _ := strings.Cut(hash, ":")
	switch kind {
	case "sha256":
		if digest.Digest(hash).Validate() == nil {
			return "sha256-" + sum, nil
		}
	case "h1":
		if raw, err := base64.StdEncoding.DecodeString(sum); err == nil && len(raw) == sha256.Size {
			return "h1-" + hex.EncodeToString(raw), nil
		}
	}
	return "", fmt.Errorf("hash %q of a source: want sha256:<hex> or h1:<base64>", hash)
}

type sourceRef string

// sourceOf returns the source of a tag. It is not valid if the tag is not a source's.
func sourceOf(tag string) sourceRef {
	kind, sum, _ := strings.Cut(tag, "-")
	if raw, err := hex.DecodeString(sum); err == nil && kind == "h1" {
		sum = base64.StdEncoding.EncodeToString(raw)
	}
	return sourceRef(kind + ":" + sum)
}

func (h sourceRef) validate() error {
	_, err := sourceTag(string(h))
	return err
}

func (h sourceRef) place() (string, string) { return sourceRepository, h.local() }

func (h sourceRef) local() string {
	tag, _ := sourceTag(string(h)) // It is valid.
	return tag
}

// claim says that a source needs no signature: the tree pins its hash.
func (h sourceRef) claim() trust.Claim { return nil }

func (h sourceRef) String() string { return "source " + string(h) }

// check makes sure that a manifest names the file of the declared hash, as far as a
// manifest can show.
func (h sourceRef) check(m oci.Manifest) error {
	if m.ArtifactType != sourceType || len(m.Layers) != 1 {
		return oci.Damaged("is a foreign manifest of artifactType %q with %d layers", m.ArtifactType, len(m.Layers))
	}
	if strings.HasPrefix(string(h), "sha256:") && m.Layers[0].Digest.String() != string(h) {
		return oci.Damaged("is the file %s", m.Layers[0].Digest)
	}
	return nil
}

// FindSource returns the size, in bytes, of the registry's file of a declared hash. It
// reads the manifest only. A miss is ErrNotFound; a failure of the registry is a warning
// and a miss.
func (r *Registry) FindSource(ctx context.Context, hash string) (size int64, err error) {
	m, err := r.lookup(ctx, sourceRef(hash))
	if err != nil {
		return 0, err
	}
	return m.Layers[0].Size, nil
}

// Pulling is the suffix of an unfinished download of a source.
const Pulling = ".pulling"

// PullSource writes the file of a declared hash to path, which appears once it is whole.
// An unfinished download has the suffix Pulling; the next call resumes it. Calls for the
// same path must not overlap. The bytes have the digest that the registry names; for a
// Go module, the caller compares the sum. Misses are those of FindSource.
func (r *Registry) PullSource(ctx context.Context, hash, path string, stage *progress.Stage) error {
	e := sourceRef(hash)
	m, err := r.lookup(ctx, e)
	if err != nil {
		return err
	}
	repository, err := r.repository(e)
	if err != nil {
		return err
	}
	err = repository.Download(ctx, m.Layers[0], path, path+Pulling, stage)
	if isFailure(err) {
		r.condemn(e)
	}
	return r.absent(e, err)
}

// PushSource pushes the file at path under its declared hash, unless the registry has it,
// and signs it.
// The caller has compared the file with the hash. Title is the file name for other OCI
// clients.
func (r *Registry) PushSource(ctx context.Context, hash, title, path string) (pushed bool, err error) {
	layer, err := oci.Describe(ctx, sourceLayerType, path)
	if err != nil {
		return false, fmt.Errorf("reading the source to push: %w", err)
	}
	layer.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	m, err := oci.NewManifest(ocispec.Manifest{
		ArtifactType: sourceType,
		Config:       ocispec.DescriptorEmptyJSON,
		Layers:       []ocispec.Descriptor{layer},
	})
	if err != nil {
		return false, err
	}
	e := sourceRef(hash)
	there, stays, err := r.whole(ctx, e)
	if err == nil && stays && there.Layers[0].Digest != layer.Digest {
		stays, err = r.isModule(ctx, e, there.Layers[0])
	}
	if err == nil && !stays {
		there = m
		err = r.send(ctx, e, m, []oci.Blob{
			{Descriptor: ocispec.DescriptorEmptyJSON, Content: oci.Bytes(ocispec.DescriptorEmptyJSON.Data)},
			{Descriptor: layer, Content: oci.File(path)},
		})
	}
	if err == nil && r.Signer != nil {
		err = r.sealSource(ctx, e, there)
	}
	return err == nil && !stays, r.hinted(err)
}

// isModule downloads the registry's zip of a Go module, and reports whether it has the
// declared sum: different zips may have the same sum.
func (r *Registry) isModule(ctx context.Context, e sourceRef, zip ocispec.Descriptor) (bool, error) {
	repository, err := r.repository(e)
	if err != nil {
		return false, err
	}
	folder, err := os.MkdirTemp("", "module-")
	if err != nil {
		return false, fmt.Errorf("creating a folder for a module: %w", err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "zip")
	if err := repository.Download(ctx, zip, path, path+Pulling, nil); err != nil && !IsDamage(err) {
		return false, err
	}
	sum, err := dirhash.HashZip(path, dirhash.Hash1)
	if err == nil && sum == string(e) {
		return true, nil
	}
	if err == nil {
		err = fmt.Errorf("it has the sum %s", sum)
	}
	r.client.Note(fmt.Sprintf("replacing the %s in %s, which is the file %s: %v", e, r, zip.Digest, err))
	return false, nil
}
