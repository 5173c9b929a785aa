package build

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/distro"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Lock installs the packages of the root filesystem of a recipe, as its distribution has
// them now, and returns their lock. Container.Nonce must be new.
func (c *Container) Lock(ctx context.Context, plan recipe.Plan) (lock distro.Lock, err error) {
	work, err := files.Beside(filepath.Join(c.Work, "build"))
	if err != nil {
		return lock, fmt.Errorf("making the work folder: %w", err)
	}
	defer func() { err = errors.Join(err, Built{Work: work}.Remove()) }()
	r := plan.Recipe
	log, err := progress.CreateLog(filepath.Join(c.Logs, r.Asset+"-"+r.Arch+".log"), "lock of "+r.Asset+" "+r.Arch, nil)
	if err != nil {
		return lock, err
	}
	b := &run{Container: c, plan: plan, work: work.Name(), report: c.Report.Logged(log), log: log}
	installed, err := b.installed(ctx)
	if err == nil {
		err = log.Close("done")
	}
	if err != nil {
		return lock, failure(log, err)
	}
	lock = distro.Lock{Distribution: r.Root.Distribution, Release: r.Root.Suite}
	for _, p := range installed {
		lock.Packages = append(lock.Packages, distro.Package(p.Locked))
	}
	return lock, nil
}

// installed returns the packages of a new root filesystem.
func (b *run) installed(ctx context.Context) (installed []engine.Installed, err error) {
	if b.fetched, err = b.fetch(ctx, &record{}); err != nil {
		return nil, err
	}
	session, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	session.Nonce = b.Nonce
	var builder engine.Builder
	err = session.Watch(ctx, func(ctx context.Context) (err error) {
		stage := b.stage("root")
		defer func() { stage.End(err, builder.String()) }()
		builder, err = session.MakeBuilder(ctx, *b.plan.Recipe.Root, b.plan.Recipe.Arch, b.materials(*b.plan.Recipe.Root), stage)
		return err
	})
	if closing := session.Close(); closing != nil && ctx.Err() == nil {
		b.note(fmt.Sprintf("closing the session with the engine: %v", closing))
	}
	return builder.Installed, err
}
