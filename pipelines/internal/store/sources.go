package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// The sources are in a repository of their own: a tag for each declared hash, a
// manifest with one layer, which is the file.
const (
	sourceRepository = "sources"
	sourceType       = "application/vnd.kata-containers.source.v1"
	sourceLayerType  = "application/octet-stream"
)

// sourceTag returns the tag of a declared hash: "sha256:<hex>", or "h1:<base64>"
// for a Go module, whose zip can have any digest.
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

// sourceHash returns the declared hash of a tag.
func sourceHash(tag string) (string, bool) {
	kind, sum, _ := strings.Cut(tag, "-")
	raw, err := hex.DecodeString(sum)
	hash := kind + ":" + sum
	if kind == "h1" {
		hash = kind + ":" + base64.StdEncoding.EncodeToString(raw)
	}
	back, tagErr := sourceTag(hash)
	return hash, err == nil && tagErr == nil && back == tag
}

// FindSource returns the size in bytes of the file that the registry has for a
// declared hash; it reads the manifest alone. A miss is ErrNotFound, and so is,
// with a note, whatever is wrong with the registry.
func (r *Registry) FindSource(ctx context.Context, hash string) (size int64, err error) {
	layer, err := r.sourceLayer(ctx, hash)
	return layer.Size, err
}

func (r *Registry) sourceLayer(ctx context.Context, hash string) (ocispec.Descriptor, error) {
	tag, err := sourceTag(hash)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	what, ref := "the source "+hash, shared(sourceRepository, tag)
	if r.ignored(ref) {
		return ocispec.Descriptor{}, fmt.Errorf("%s in %s: %w", what, r, ErrNotFound)
	}
	e, err := r.entry(ctx, sourceRepository, tag)
	if err == nil {
		err = checkSource(e, hash)
	}
	if err != nil {
		return ocispec.Descriptor{}, r.absent(ref, what, err)
	}
	return e.Layers[0], nil
}

// checkSource makes sure that an entry is of the file of a declared hash, as far
// as the manifest says; the error is *damage.
func checkSource(e entry, hash string) error {
	if e.ArtifactType != sourceType || len(e.Layers) != 1 {
		return &damage{fmt.Sprintf("is a foreign manifest of artifactType %q with %d layers", e.ArtifactType, len(e.Layers))}
	}
	if strings.HasPrefix(hash, "sha256:") && e.Layers[0].Digest.String() != hash {
		return &damage{fmt.Sprintf("is the file %s", e.Layers[0].Digest)}
	}
	return nil
}

// Pulling is behind the name of a source that is not whole yet.
const Pulling = ".pulling"

// PullSource writes the file of a declared hash to path, which appears where it
// is whole: what is under way is beside it, with Pulling behind its name, and
// resumed by the next call. The caller sees to it that one call at a time has a
// path. The bytes have the digest that the registry names; for a Go module the
// caller compares the sum. Misses are as in FindSource.
func (r *Registry) PullSource(ctx context.Context, hash, path string, stage *progress.Stage) error {
	layer, err := r.sourceLayer(ctx, hash)
	if err != nil {
		return err
	}
	partial := path + Pulling
	to, file, err := resume(ctx, partial, layer)
	if err != nil {
		return err
	}
	to.progress = stage.Bytes
	need := layer.Size - to.done
	if err = fits(filepath.Dir(path), need); err == nil {
		err = r.stream(ctx, sourceRepository, layer, to)
	}
	if err == nil {
		err = file.Sync()
	}
	err = roomier(errors.Join(err, file.Close()), filepath.Dir(path), need)
	var damaged *damage
	var disk *diskError
	if err != nil && to.done == 0 || errors.As(err, &damaged) || errors.As(err, &disk) {
		err = errors.Join(err, os.Remove(partial))
	}
	if err != nil {
		tag, tagErr := sourceTag(hash)
		return errors.Join(tagErr, r.unread(shared(sourceRepository, tag), "the source "+hash, err))
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("finishing a source: %w", err)
	}
	return nil
}

// PushSource puts the file at path into the registry under its declared hash,
// unless it is there. The caller has compared the file with the hash. Title is
// the file name for other OCI clients.
func (r *Registry) PushSource(ctx context.Context, hash, title, path string) (pushed bool, err error) {
	tag, err := sourceTag(hash)
	if err != nil {
		return false, err
	}
	layer, err := describe(ctx, path)
	if err != nil {
		return false, fmt.Errorf("reading the source to push: %w", err)
	}
	layer.MediaType = sourceLayerType
	layer.Annotations = map[string]string{ocispec.AnnotationTitle: title}
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: sourceType,
		Config:       ocispec.DescriptorEmptyJSON,
		Layers:       []ocispec.Descriptor{layer},
	}
	data, err := json.Marshal(m)
	if err != nil {
		return false, fmt.Errorf("encoding the manifest: %w", err)
	}
	empty := ocispec.DescriptorEmptyJSON
	return r.publish(ctx, sourceRepository, tag, entry{m, data}, func(e entry) error { return checkSource(e, hash) }, []blob{
		{empty, inMemory(empty.Data)},
		{layer, func() (io.ReadCloser, error) { return os.Open(path) }},
	})
}
