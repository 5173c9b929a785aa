package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// equip gives a job the builder that an earlier build made, here or on a machine
// that shares the registry, or has the job keep the one that it makes. Builds
// that want the same builder wait for the first to make it. Done is to be called
// when the job has ended.
func (b *run) equip(ctx context.Context, job *engine.Job) (done func() error, err error) {
	done = func() error { return nil }
	if b.Builders == nil {
		return done, b.onlineFor("a builder")
	}
	id, err := job.Declared.ID(job.Machine)
	if err != nil {
		return nil, err
	}
	found, err := b.find(ctx, id, job)
	if err != nil || found {
		return done, err
	}
	if err := b.onlineFor(fmt.Sprintf("the builder %.12s", id)); err != nil {
		return nil, err
	}
	unlock, err := b.Builders.Lock(ctx, id)
	if err != nil {
		return nil, err
	}
	// It may have been made while this build waited.
	if found, err = b.find(ctx, id, job); err != nil || found {
		return done, errors.Join(err, unlock())
	}
	held := true
	done = func() error {
		if !held {
			return nil
		}
		held = false
		return unlock()
	}
	job.Keep = func(ctx context.Context, base string, export func(context.Context, string) error) (string, error) {
		image, err := b.keep(ctx, store.Image{ID: id, Arch: job.Machine, Base: base}, export)
		return image.Digest, errors.Join(err, done())
	}
	return done, nil
}

// onlineFor refuses to make a builder offline.
func (b *run) onlineFor(what string) error {
	if !b.Offline {
		return nil
	}
	return fmt.Errorf("%s is not in the caches, and offline none is made: build %s once online, with --push to have the registry of --cache hold the builder for other machines",
		what, b.plan.Recipe.Asset)
}

// find looks for a kept builder, and tells the job about it.
func (b *run) find(ctx context.Context, id string, job *engine.Job) (bool, error) {
	path := filepath.Join(b.work, "builder.tar")
	image, where, err := b.Builders.Get(ctx, id, job.Machine, path)
	if store.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a kept builder: %w", err)
	}
	b.out.line(fmt.Sprintf("builder %s %s, from the %s cache", id, image.Digest, where))
	job.Builder = engine.Builder{Path: path, Digest: image.Digest, Base: image.Base}
	if where == store.InLocal {
		return true, b.publish(ctx, id, job.Machine)
	}
	return true, nil
}

// keep puts a builder that was made into the caches.
func (b *run) keep(ctx context.Context, image store.Image, export func(context.Context, string) error) (store.Image, error) {
	path := filepath.Join(b.work, "builder.tar")
	if err := export(ctx, path); err != nil {
		return store.Image{}, err
	}
	image, err := b.Builders.Put(ctx, image, path)
	if err != nil {
		return store.Image{}, err
	}
	return image, errors.Join(b.publish(ctx, image.ID, image.Arch), os.Remove(path))
}

// publish pushes a builder where pushing is on.
func (b *run) publish(ctx context.Context, id, arch string) error {
	if !b.Builders.Push || b.Builders.Registry == nil {
		return nil
	}
	if _, err := b.Builders.Publish(ctx, id, arch); err != nil {
		return fmt.Errorf("pushing the builder: %w", err)
	}
	return nil
}
