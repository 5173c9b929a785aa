package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// Tiered is the local store with a registry behind it. Only Publish writes to the
// registry. If the registry fails, that is reported once, and the registry counts as
// empty from then on; if only a blob of an artifact fails, it counts as lacking that
// artifact. Builds continue without it.
type Tiered struct {
	*Local
	// Registry may be nil.
	Registry *Registry
	// Fresh makes every lookup a miss, so that everything is built.
	Fresh bool
}

// Where Find found an artifact.
const (
	InLocal    = "local"
	InRegistry = "registry"
)

// find looks an entry up in the local store, or else in the registry, which may be nil.
func find(ctx context.Context, local *Local, registry *Registry, e entry) (m oci.Manifest, where string, err error) {
	m, err = local.find(ctx, e)
	if err == nil && local.use(e, m) {
		return m, InLocal, nil
	}
	if err == nil {
		err = fmt.Errorf("%s is being collected: %w", e, ErrNotFound)
	}
	if !IsNotFound(err) || registry == nil {
		return m, "", err
	}
	m, err = registry.lookup(ctx, e)
	return m, InRegistry, err
}

// Find looks an artifact up by its manifest only, and returns it without its recipe; where
// is InLocal or InRegistry.
func (t *Tiered) Find(ctx context.Context, ref Ref) (artifact Artifact, where string, err error) {
	if t.Fresh {
		return artifact, "", fmt.Errorf("%s is not looked up: %w", ref, ErrNotFound)
	}
	m, where, err := find(ctx, t.Local, t.Registry, ref)
	if err != nil {
		return artifact, "", err
	}
	return artifactOf(ref, m), where, nil
}

// Get is Find for callers who do not care where the artifact is.
func (t *Tiered) Get(ctx context.Context, ref Ref) (Artifact, error) {
	artifact, _, err := t.Find(ctx, ref)
	return artifact, err
}

// Documents returns the canonical recipe of an artifact and its build record. The errors
// are those of Blob.
func (t *Tiered) Documents(ctx context.Context, artifact Artifact) (recipe, record []byte, err error) {
	if err := artifact.validate(); err != nil {
		return nil, nil, err
	}
	if _, err := t.ensure(ctx, artifact); err != nil {
		return nil, nil, err
	}
	l := t.layout(artifact.Asset)
	recipe, err = l.Read(ctx, "recipe", artifact.Manifest.Config, oci.MaxDocument)
	if err == nil {
		record, err = l.Read(ctx, "record", artifact.Manifest.Layers[1], oci.MaxDocument)
	}
	return recipe, record, t.missed(artifact.Ref, err)
}

// Export writes one of an artifact's tarballs to path, by rename: "" is the main one,
// another name a secondary output. If the file at path has the right content already,
// Export pulls and writes nothing, and changed is false. The errors are those of Blob.
func (t *Tiered) Export(ctx context.Context, artifact Artifact, output, path string) (changed bool, err error) {
	tarball, err := artifact.output(output)
	if err != nil {
		return false, err
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return false, fmt.Errorf("the output %s is a folder: move it away", path)
	}
	sum, size, err := files.Hash(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.As(err, new(*files.IrregularError)):
	case err != nil:
		return false, fmt.Errorf("reading the output: %w", err)
	case size == tarball.Size && "sha256:"+sum == tarball.Digest:
		return false, nil
	}
	blob, err := t.Blob(ctx, artifact, output)
	if err != nil {
		return false, err
	}
	if err := files.CopyFile(ctx, blob, path); err != nil {
		return true, fmt.Errorf("copying from the store: %w", err)
	}
	return true, nil
}

// Blob returns the path of one of an artifact's tarballs in the local store, which is
// valid until the run ends. It pulls an artifact that only the registry has: once, even
// if several processes need it. Blob reports and removes a damaged or hostile tarball;
// the error is then ErrNotFound, and the artifact must be built again. The same holds if
// the registry fails, or its artifact is damaged: it is not looked up there again.
func (t *Tiered) Blob(ctx context.Context, artifact Artifact, output string) (path string, err error) {
	tarball, err := artifact.output(output)
	if err != nil {
		return "", err
	}
	path = t.layout(artifact.Asset).Path(digest.Digest(tarball.Digest))
	pulled, err := t.ensure(ctx, artifact)
	if err != nil || pulled {
		return path, err // The pull has hashed and vetted it.
	}
	return path, t.admit(ctx, artifact, tarball, path)
}

// admit hashes and vets a tarball of the store. If it must not be used, admit removes the
// entry that names it, and the tarball if it is damaged. A hostile tarball matches its
// digest, and stays.
func (s *Local) admit(ctx context.Context, artifact Artifact, tarball Output, path string) error {
	d := ocispec.Descriptor{MediaType: tarballType, Digest: digest.Digest(tarball.Digest), Size: tarball.Size}
	sum, size, err := files.Hash(ctx, path)
	var wrong string
	switch {
	case errors.Is(err, fs.ErrNotExist):
		wrong = "is missing"
	case err != nil:
		return fmt.Errorf("reading a tarball of the store: %w", err)
	case size != d.Size:
		wrong = fmt.Sprintf("has %d bytes, want %d", size, d.Size)
	case sum != d.Digest.Encoded():
		wrong = fmt.Sprintf("hashes to sha256:%s, want %s", sum, d.Digest)
	default:
		err := s.verdicts().Vet(ctx, path, sum)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			return nil
		}
		wrong, d = fmt.Sprintf("must not be used: %v", err), ocispec.Descriptor{}
	}
	l := s.layout(artifact.Asset)
	l.Note(fmt.Sprintf("removing the stored %s of %s: it %s", tarball.what(), artifact.Ref, wrong))
	miss := fmt.Errorf("the %s of %s in the store %s: %w", tarball.what(), artifact.Asset, wrong, ErrNotFound)
	return errors.Join(l.Drop(ctx, artifact.Tag(), artifact.Manifest.Digest(), d), miss)
}

// ensure makes sure that the local store has an artifact, and reports whether it pulled
// the artifact for that.
func (t *Tiered) ensure(ctx context.Context, artifact Artifact) (pulled bool, err error) {
	if t.Registry == nil || t.holds(ctx, artifact) {
		return false, nil
	}
	unlock, err := t.Lock(ctx, artifact.Ref)
	if err != nil {
		return false, err
	}
	defer unlock()
	if t.holds(ctx, artifact) {
		return false, nil
	}
	if t.Registry.ignored(artifact.Ref) {
		return false, t.Registry.miss(artifact.Ref)
	}
	if err := t.Registry.pull(ctx, artifact.Ref, artifact.Manifest, t.Local); err != nil {
		return false, t.Registry.absent(artifact.Ref, err)
	}
	return true, nil
}

func (t *Tiered) holds(ctx context.Context, artifact Artifact) bool {
	m, err := t.find(ctx, artifact.Ref)
	return err == nil && m.Digest() == artifact.Manifest.Digest()
}

// Latest returns the artifact, with its recipe, of the first of some moving tags that the
// registry has, or ErrNotFound.
func (t *Tiered) Latest(ctx context.Context, asset string, tags ...string) (Artifact, error) {
	if t.Registry != nil {
		for _, tag := range tags {
			artifact, err := t.Registry.Latest(ctx, asset, tag)
			if err == nil {
				err = t.seen(ctx, artifact, tag)
			}
			if !IsNotFound(err) {
				return artifact, err
			}
		}
	}
	return Artifact{}, fmt.Errorf("the latest artifact of %s: %w", asset, ErrNotFound)
}

// HasSource reports whether the registry has the source with a declared hash.
func (t *Tiered) HasSource(ctx context.Context, hash string) (bool, error) {
	if t.Registry == nil {
		return false, nil
	}
	_, err := t.Registry.FindSource(ctx, hash)
	return err == nil, ignoreMiss(err)
}

// Publish pushes an artifact of the local store to the registry, and points moving tags
// at it; see Registry.Push.
func (t *Tiered) Publish(ctx context.Context, artifact Artifact, tags []string) error {
	return t.Registry.Push(ctx, artifact.Ref, t.Local, tags)
}
