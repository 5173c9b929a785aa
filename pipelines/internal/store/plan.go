package store

import (
	"context"
	"fmt"
)

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
