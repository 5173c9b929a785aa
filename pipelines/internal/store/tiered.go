package store

import (
	"context"
	"errors"
	"fmt"
)

// Tiered is the local store with a registry behind it, from which it reads and
// to which it never writes. What is wrong with the registry is noted once, and
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

// Get returns the artifact of a key: the local one, which opens no connection,
// or else that of the registry, without recipe and record.
func (t *Tiered) Get(ctx context.Context, ref Ref) (Artifact, error) {
	artifact, _, err := t.Find(ctx, ref)
	return artifact, err
}

// Find is Get that tells where the artifact is.
func (t *Tiered) Find(ctx context.Context, ref Ref) (artifact Artifact, where string, err error) {
	if t.Fresh {
		return Artifact{}, "", fmt.Errorf("artifact %s of %s is not looked up: %w", ref.Tag(), ref.Asset, ErrNotFound)
	}
	artifact, err = t.Local.Get(ctx, ref)
	if err == nil {
		return artifact, InLocal, nil
	}
	if !IsNotFound(err) || t.Registry == nil {
		return Artifact{}, "", err
	}
	artifact, err = t.Registry.Lookup(ctx, ref)
	if err != nil {
		return Artifact{}, "", t.missed(ref, err)
	}
	return artifact, InRegistry, nil
}

// missed makes a miss of a failure of the registry. One whose manifests answer may
// have the other artifacts.
func (t *Tiered) missed(ref Ref, err error) error {
	var failed *failure
	if !errors.As(err, &failed) {
		return err
	}
	if t.Registry.condemned(ref) {
		t.Registry.tell(fmt.Sprintf("%v: going on without the artifact %s of %s", failed, ref.Tag(), ref.Asset))
	} else {
		t.Registry.giveUp(failed)
	}
	return fmt.Errorf("%w: %w", failed, ErrNotFound)
}

// Put stores an artifact in the local store.
func (t *Tiered) Put(ctx context.Context, put Put) (Artifact, error) { return t.Local.Put(ctx, put) }

// Lock is that of the local store.
func (t *Tiered) Lock(ctx context.Context, ref Ref) (unlock func() error, err error) {
	return t.Local.Lock(ctx, ref)
}

// Export is that of the local store, which gets what only the registry has: once,
// even if several processes want it. A file at path that has the right content
// is left alone, and nothing is pulled for it. A registry that fails, or whose
// artifact is damaged, is an ErrNotFound and offers the artifact no more.
func (t *Tiered) Export(ctx context.Context, artifact Artifact, output, path string) (changed bool, err error) {
	if err := artifact.validate(); err != nil {
		return false, err
	}
	tarball, err := artifact.output(output)
	if err != nil {
		return false, err
	}
	same, err := holds(ctx, path, tarball)
	if err != nil || same {
		return false, err
	}
	pulled, err := t.bring(ctx, artifact)
	if err != nil {
		return false, err
	}
	return t.Local.export(ctx, artifact, output, path, pulled)
}

// bring has the local store hold an artifact, and tells whether it was pulled
// for that.
func (t *Tiered) bring(ctx context.Context, artifact Artifact) (pulled bool, err error) {
	if t.Registry == nil {
		return false, nil
	}
	if local, err := t.Local.Get(ctx, artifact.Ref); err == nil && local.Manifest == artifact.Manifest {
		return false, nil
	}
	unlock, err := t.Local.Lock(ctx, artifact.Ref)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	local, err := t.Local.Get(ctx, artifact.Ref)
	if err == nil && local.Manifest == artifact.Manifest || err != nil && !IsNotFound(err) {
		return false, err
	}
	if t.Registry.ignored(artifact.Ref) {
		return false, t.Registry.miss(artifact.Ref)
	}
	if _, err = t.Registry.pull(ctx, artifact.Ref, artifact.Manifest, t.Local); err != nil {
		return false, t.missed(artifact.Ref, err)
	}
	return true, nil
}
