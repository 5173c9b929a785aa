package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Tiered is the local store with a registry behind it, from which it reads and
// to which it never writes. What is wrong with the registry is a warning, once, and
// from then on it counts as empty, or as without an artifact whose manifest could
// be read: the local store and the builds go on.
type Tiered struct {
	Local *Store
	// Registry may be nil.
	Registry *Registry
	// Fresh has nothing looked up, so that all is built.
	Fresh bool
}

// Where Find found an artifact.
const (
	InLocal    = "local"
	InRegistry = "registry"
)

// find looks an entry up: in the local store, which opens no connection, or else in
// the registry, which may be nil.
func find(ctx context.Context, local *Store, registry *Registry, e entry) (m oci.Manifest, where string, err error) {
	m, err = local.find(ctx, e)
	if err == nil {
		return m, InLocal, nil
	}
	if !IsNotFound(err) || registry == nil {
		return oci.Manifest{}, "", err
	}
	m, err = registry.lookup(ctx, e)
	return m, InRegistry, err
}

// Get returns the artifact of a key: the local one, or else that of the registry,
// without recipe and record.
func (t *Tiered) Get(ctx context.Context, ref Ref) (Artifact, error) {
	artifact, _, err := t.Find(ctx, ref)
	return artifact, err
}

// Find is Get that tells where the artifact is.
func (t *Tiered) Find(ctx context.Context, ref Ref) (artifact Artifact, where string, err error) {
	if t.Fresh {
		return Artifact{}, "", fmt.Errorf("%s is not looked up: %w", ref, ErrNotFound)
	}
	artifact, err = t.Local.Get(ctx, ref)
	if err == nil {
		return artifact, InLocal, nil
	}
	if !IsNotFound(err) || t.Registry == nil {
		return Artifact{}, "", err
	}
	artifact, err = t.Registry.Lookup(ctx, ref)
	return artifact, InRegistry, err
}

// Put stores an artifact in the local store.
func (t *Tiered) Put(ctx context.Context, put Put) (Artifact, error) { return t.Local.Put(ctx, put) }

// Lock is that of the local store.
func (t *Tiered) Lock(ctx context.Context, ref Ref) (unlock func() error, err error) {
	return t.Local.Lock(ctx, ref)
}

// Export is that of the local store, which gets what only the registry has: once,
// even if several processes want it. A file at path that has the right content
// is left as it is, and nothing is pulled for it. A registry that fails, or whose
// artifact is damaged, is an ErrNotFound and offers the artifact no more.
func (t *Tiered) Export(ctx context.Context, artifact Artifact, output, path string) (changed bool, err error) {
	if err := artifact.validate(); err != nil {
		return false, err
	}
	tarball, err := artifact.output(output)
	if err != nil {
		return false, err
	}
	same, err := tarball.isAt(ctx, path)
	if err != nil || same {
		return false, err
	}
	blob, err := t.Blob(ctx, artifact, output)
	if err != nil {
		return false, err
	}
	if err := files.Sweep(path); err != nil {
		t.Local.layout(artifact.Asset).Note(fmt.Sprintf("cannot remove what a killed export left: %v", err))
	}
	return true, copyOut(ctx, blob, path)
}

// Blob is that of the local store, which gets what only the registry has, as in
// Export. What was pulled just now was hashed on the way.
func (t *Tiered) Blob(ctx context.Context, artifact Artifact, output string) (path string, err error) {
	if err := artifact.validate(); err != nil {
		return "", err
	}
	tarball, err := artifact.output(output)
	if err != nil {
		return "", err
	}
	pulled, err := t.bring(ctx, artifact)
	if err != nil {
		return "", err
	}
	if pulled {
		return t.Local.layout(artifact.Asset).Path(digest.Digest(tarball.Digest)), nil
	}
	return t.Local.Blob(ctx, artifact, output)
}

// bring has the local store hold an artifact, and tells whether it was pulled
// for that.
func (t *Tiered) bring(ctx context.Context, artifact Artifact) (pulled bool, err error) {
	if t.Registry == nil || t.holds(ctx, artifact) {
		return false, nil
	}
	unlock, err := t.Local.Lock(ctx, artifact.Ref)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if t.holds(ctx, artifact) {
		return false, nil
	}
	if t.Registry.ignored(artifact.Ref) {
		return false, t.Registry.miss(artifact.Ref)
	}
	if err := t.Registry.pullSeen(ctx, artifact, t.Local); err != nil {
		return false, t.Registry.absent(artifact.Ref, err)
	}
	return true, nil
}

// holds tells whether the local store has exactly this artifact, with its recipe
// and record.
func (t *Tiered) holds(ctx context.Context, artifact Artifact) bool {
	local, err := t.Local.Get(ctx, artifact.Ref)
	return err == nil && local.Manifest == artifact.Manifest
}

// pull brings what the manifest of an entry names into a store. A registry that
// fails now may have the other entries.
func (r *Registry) pull(ctx context.Context, e entry, m oci.Manifest, into *Store) error {
	name, _ := e.place()
	l := into.layout(name)
	need := oci.Total(l.Missing(m.Parts()))
	repository, err := r.repository(name)
	if err == nil {
		err = l.Receive(ctx, repository, m, name)
	}
	if err == nil {
		err = into.vet(ctx, name, m)
	}
	if err == nil {
		err = l.Add(ctx, e.local(), m, nil)
	}
	switch {
	case isFailure(err), IsDamage(err):
		r.condemn(e)
	case files.IsFull(err):
		err = fmt.Errorf("%s needs room for %s: free some space, or move the cache with --cache-dir: %w", into.dir, progress.Size(need), err)
	}
	return err
}

// pullSeen pulls an artifact that was looked up, by the manifest that came then.
func (r *Registry) pullSeen(ctx context.Context, artifact Artifact, into *Store) error {
	r.mu.Lock()
	m, seen := r.seen[artifact.Manifest]
	r.mu.Unlock()
	if !seen {
		repository, err := r.repository(artifact.Asset)
		if err == nil {
			m, err = repository.Manifest(ctx, artifact.Manifest)
		}
		if err == nil {
			err = artifact.check(m)
		}
		if err != nil {
			return err
		}
	}
	return r.pull(ctx, artifact.Ref, m, into)
}

// List returns the artifacts of the local store with their recipes.
func (t *Tiered) List(ctx context.Context) ([]Artifact, error) { return t.Local.List(ctx) }

// Latest returns the artifact of the first of several moving tags that the
// registry has, with its recipe, or ErrNotFound.
func (t *Tiered) Latest(ctx context.Context, asset string, tags ...string) (Artifact, error) {
	if t.Registry != nil {
		for _, tag := range tags {
			if artifact, err := t.Registry.Latest(ctx, asset, tag); !IsNotFound(err) {
				return artifact, err
			}
		}
	}
	return Artifact{}, fmt.Errorf("the latest artifact of %s: %w", asset, ErrNotFound)
}

// HasSource reports whether the registry has the source of a declared hash.
func (t *Tiered) HasSource(ctx context.Context, hash string) (bool, error) {
	if t.Registry == nil {
		return false, nil
	}
	_, err := t.Registry.FindSource(ctx, hash)
	if IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// Publish pushes an artifact of the local store to the registry under its key,
// and points moving tags at it.
func (t *Tiered) Publish(ctx context.Context, artifact Artifact, tags []string) error {
	return t.Registry.Push(ctx, artifact.Ref, t.Local, tags)
}
