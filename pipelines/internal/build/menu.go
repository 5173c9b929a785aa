package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// menuSpace is the free space that a configured tree of Linux needs, in bytes.
const menuSpace = 3 << 30

// Menu opens the menu of a kernel on a terminal, in the builder of its recipe
// and after its configuration. Nothing is built, so it takes neither secrets nor
// dependencies. Its errors are as those of Build.
func (c *Container) Menu(ctx context.Context, plan recipe.Plan, terminal engine.Terminal) (engine.Saved, error) {
	if err := checkDisk(c.Work, menuSpace); err != nil {
		return engine.Saved{}, err
	}
	if err := c.Ready(ctx); err != nil {
		return engine.Saved{}, err
	}
	if err := os.MkdirAll(c.Work, 0o755); err != nil {
		return engine.Saved{}, fmt.Errorf("making the work folder: %w", err)
	}
	// Another menu of the same kernel, and its build, have folders of their own.
	work, err := os.MkdirTemp(c.Work, filepath.Base(plan.Recipe.Asset)+"-menu-")
	if err != nil {
		return engine.Saved{}, fmt.Errorf("making the work folder: %w", err)
	}
	defer os.RemoveAll(work)
	log, err := createLog(c.Logs, plan)
	if err != nil {
		return engine.Saved{}, err
	}
	b := &run{Container: c, plan: plan, work: work, out: newOutput(log, nil)}
	saved, err := b.menu(ctx, terminal)
	if err == nil {
		err = log.done()
	}
	if err != nil {
		return engine.Saved{}, b.out.failure(plan.Recipe.Asset, err)
	}
	return saved, nil
}

func (b *run) menu(ctx context.Context, terminal engine.Terminal) (saved engine.Saved, err error) {
	job, err := b.job(ctx, &record{})
	if err != nil {
		return engine.Saved{}, err
	}
	err = b.run(ctx, &job, func(session *engine.Session) (err error) {
		saved, err = session.Menu(ctx, job, terminal)
		return err
	})
	return saved, err
}
