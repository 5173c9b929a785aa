package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// builder returns the declared builder: one that an earlier build kept, here or
// on a machine that shares the registry, or else a new one, which is kept.
func (b *run) builder(ctx context.Context, session *engine.Session, declared recipe.Builder, machine string) (builder engine.Builder, err error) {
	what := "builder"
	if declared.Manager != "" {
		what = "root"
	}
	stage := b.stage(what)
	defer func() { stage.End(err, builder.String()) }()
	id, err := declared.ID(machine)
	if err != nil {
		return builder, err
	}
	kept, unlock, err := b.keptBuilder(ctx, id, machine)
	if err != nil {
		return builder, err
	}
	defer unlock()
	if kept.Digest != "" {
		if builder, err = session.ImportBuilder(ctx, declared, b.archive(id), machine); err != nil {
			return builder, fmt.Errorf("importing the kept builder %s: %w", kept.Digest, err)
		}
		builder.Base, builder.Digest = kept.Base, kept.Digest
		return builder, nil
	}
	if builder, err = session.MakeBuilder(ctx, declared, machine, b.materials(declared), stage); err != nil {
		return builder, err
	}
	if err := session.ExportBuilder(ctx, builder, b.archive(id)); err != nil {
		return builder, err
	}
	kept, err = b.keepBuilder(ctx, store.Image{ID: id, Arch: machine, Base: builder.Base})
	builder.Digest = kept.Digest
	return builder, err
}

// materials returns what the declared builder is made of; sources are fetched before.
func (b *run) materials(declared recipe.Builder) engine.Materials {
	name, _, _ := strings.Cut(declared.Keyring, " ")
	return engine.Materials{Bases: b.Bases, Keyring: b.fetched[name]}
}

// archive is the path of a builder as an OCI archive. An engine reads a path once in a
// session, so each builder has its own.
func (b *run) archive(id string) string { return filepath.Join(b.work, id+".tar") }

// keptBuilder writes a kept builder to the archive. Where there is none, the
// image is zero, and until unlock is called other builds that want the same
// builder wait for this one to make it.
func (b *run) keptBuilder(ctx context.Context, id, machine string) (image store.Image, unlock func(), err error) {
	nothing := func() {}
	if image, err = b.findBuilder(ctx, id, machine); err != nil || image.Digest != "" {
		return image, nothing, err
	}
	if b.Offline {
		return image, nothing, fmt.Errorf("the builder %.12s is not in the caches and cannot be made offline: "+
			"build %s once online, with --push so that the registry of --cache keeps the builder for other machines",
			id, b.plan.Recipe.Asset)
	}
	if unlock, err = b.Builders.Lock(ctx, id, machine); err != nil {
		return image, nothing, err
	}
	// Another build may have made it while this one waited.
	if image, err = b.findBuilder(ctx, id, machine); err != nil {
		unlock()
		return image, nothing, err
	}
	return image, unlock, nil
}

// findBuilder writes a kept builder to the archive; the image is zero where
// there is none.
func (b *run) findBuilder(ctx context.Context, id, machine string) (store.Image, error) {
	image, where, err := b.Builders.Get(ctx, id, machine, b.archive(id))
	if store.IsNotFound(err) {
		return store.Image{}, nil
	}
	if err != nil {
		return store.Image{}, fmt.Errorf("looking for a kept builder: %w", err)
	}
	b.log.Line(fmt.Sprintf("builder %s %s, from the %s cache", id, image.Digest, where))
	if where == store.InLocal {
		return image, b.publishBuilder(ctx, id, machine)
	}
	return image, nil
}

// keepBuilder puts the builder in the archive into the caches.
func (b *run) keepBuilder(ctx context.Context, image store.Image) (store.Image, error) {
	image, err := b.Builders.Put(ctx, image, b.archive(image.ID))
	if err != nil {
		return store.Image{}, fmt.Errorf("keeping the builder: %w", err)
	}
	return image, errors.Join(b.publishBuilder(ctx, image.ID, image.Arch), os.Remove(b.archive(image.ID)))
}

// publishBuilder pushes a builder if pushing is enabled.
func (b *run) publishBuilder(ctx context.Context, id, machine string) error {
	if !b.Builders.Push || b.Builders.Registry == nil {
		return nil
	}
	if _, err := b.Builders.Publish(ctx, id, machine); err != nil {
		return fmt.Errorf("pushing the builder: %w", err)
	}
	return nil
}
