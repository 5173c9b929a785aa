package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

func payloadGCCmd(a *app) *cobra.Command {
	var days, keep int
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "gc REPOSITORY",
		Short: "Remove the tags of old commits from a repository of images or charts",
		Long: `Remove the tags kata-containers-COMMIT[-ARCH] and 0.0.0-gCOMMIT of commits that are
older than some days, and print them. The newest commits stay whatever their age, and so
do those of an image that has another tag, such as that of a branch or of a release. The
registry must allow the removal of a tag, as quay.io does.`,
		Example: `  pipelines payload gc quay.io/OWNER/kata-deploy-ci --dry-run`,
		Args:    cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, ws *workspace.Workspace, args []string) error {
			if days < 1 || keep < 0 {
				return usage(errors.New("--days: want at least 1, and --keep: at least 0"))
			}
			repository, err := payload.OpenRepository(args[0], remote(a, ws))
			if err != nil {
				return usage(err)
			}
			old, err := repository.Collect(ctx, payload.Old{Before: time.Now().AddDate(0, 0, -days), Keep: keep}, dryRun)
			return errors.Join(err, a.print(append([]string{}, old...), strings.Join(append(old, ""), "\n")))
		}),
	}
	cmd.Flags().IntVar(&days, "days", 14, "age in days from which commits are old")
	cmd.Flags().IntVar(&keep, "keep", 10, "how many of the newest commits stay")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print the tags")
	return a.printing(cmd)
}
