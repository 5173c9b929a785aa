package build

import (
	"context"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/distro"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Lock installs the packages of the root filesystem of a recipe, as its distribution has
// them now, and returns their lock. Container.Nonce must be new.
func (c *Container) Lock(ctx context.Context, plan recipe.Plan) (lock distro.Lock, err error) {
	r := plan.Recipe
	var installed []engine.Installed
	work, err := c.logged(plan, "lock of "+r.Asset+" "+r.Arch, func(b *run) (err error) {
		installed, err = b.installed(ctx)
		return err
	})
	if err != nil {
		return lock, err
	}
	lock = distro.Lock{Distribution: r.Root.Distribution, Release: r.Root.Suite}
	for _, p := range installed {
		lock.Packages = append(lock.Packages, distro.Package(p.Locked))
	}
	return lock, Built{Work: work}.Remove()
}

// installed returns the packages of a new root filesystem.
func (b *run) installed(ctx context.Context) (installed []engine.Installed, err error) {
	if b.fetched, err = b.fetch(ctx, &record{}); err != nil {
		return nil, err
	}
	var builder engine.Builder
	err = b.session(ctx, func(ctx context.Context, session *engine.Session) (err error) {
		session.Nonce = b.Nonce
		stage := b.stage("root")
		defer func() { stage.End(err, builder.String()) }()
		builder, err = session.MakeBuilder(ctx, *b.plan.Recipe.Root, b.plan.Recipe.Arch, b.materials(*b.plan.Recipe.Root), stage)
		return err
	})
	return builder.Installed, err
}
