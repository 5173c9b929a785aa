package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/collect"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func cacheDuCmd(a *app) *cobra.Command {
	return a.printing(&cobra.Command{
		Use:   "du",
		Short: "Print what the local cache and the embedded engine use of the disk",
		Long: `Print what each kind of thing in the local cache uses, when it was last used, and
what no entry refers to. Blobs of several entries and files with several names count
once. A running embedded engine is asked for its build cache, and for what compilers'
caches use of it.`,
		Example: `  pipelines cache du
  pipelines cache du --json`,
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, _ []string) error {
			uses, err := collect.Usage(ctx, ws.Cache, ws.Store.Local)
			if err != nil {
				return err
			}
			cache, err := runningCache(ctx, a, ws)
			if err != nil {
				ws.Report.Note("engine", fmt.Sprintf("%v: continuing without what it says", err))
			}
			var total int64
			for _, use := range uses {
				total += use.Size
			}
			text := table(uses, "KIND\tNAME\tENTRIES\tSIZE\tUNREFERENCED\tUSED", func(u collect.Use) string {
				return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s", u.Kind, dash(u.Name), u.Count, progress.Size(u.Size), sizeOrDash(u.Unnamed), dateOf(u.Used))
			})
			text += fmt.Sprintf("\n%s in %s\n", progress.Size(total), ws.Cache)
			if cache != nil {
				text += fmt.Sprintf("the engine counts %s in its build cache (limit %s), of which %s are compilers' caches and %s are in use\n",
					progress.Size(cache.Size), progress.Size(cache.Limit), progress.Size(cache.Compilers), progress.Size(cache.InUse))
			}
			return a.print(struct {
				Total  int64            `json:"total"`
				Uses   []collect.Use    `json:"uses"`
				Engine *engine.CacheUse `json:"engine"`
			}{total, uses, cache}, text)
		}),
	})
}

// runningCache asks the embedded engine, if it runs, for its build cache.
func runningCache(ctx context.Context, a *app, ws *workspace.Workspace) (*engine.CacheUse, error) {
	finder := (&engineOptions{noInstall: true}).finder(a, ws.Folders, ws.Report)
	status, err := finder.Manager.Status()
	if err != nil || status.State != "running" || !isRoot() {
		return nil, err
	}
	endpoint, err := finder.Embedded(ctx)
	if err != nil {
		return nil, err
	}
	session, err := engine.Connect(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	use, err := session.CacheUse(ctx)
	return &use, errors.Join(err, session.Close())
}
