package release

import (
	"context"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

func (r *run) upload(ctx context.Context) error {
	if r.job.GitHub == nil {
		return nil
	}
	var err error
	r.page, err = r.job.GitHub.Draft(ctx, github.Release{
		Tag: r.job.Version, Name: "Kata Containers " + r.job.Version, Target: r.job.Commit, Prerelease: semver.Prerelease(r.job.Version),
		Body: SpliceNotes("", r.notes),
	})
	if err != nil {
		return err
	}
	// A release that is replaced by force must not keep the digests of its old files.
	if r.page.Draft || r.job.Force {
		if r.page, err = r.job.GitHub.Describe(ctx, r.page, SpliceNotes(r.page.Body, r.notes)); err != nil {
			return err
		}
	}
	r.released.URL, r.released.Draft = r.page.URL, r.page.Draft
	changes, others, err := r.job.GitHub.Compare(ctx, r.page, githubFiles(r.released.Files))
	if err != nil {
		return err
	}
	for i, change := range changes {
		r.released.Files[i].Action = change.Action
	}
	for _, other := range others {
		if r.job.generated(other.Name) {
			return fmt.Errorf("%s has %s, which an earlier run left and which is not a file of this release: delete it there", r.page.URL, other.Name)
		}
		r.job.Report.Note("github", other.Name+" is not a file of this release: it stays")
	}
	if err := r.job.GitHub.Sync(ctx, r.page, changes, r.job.Force); err != nil {
		return fmt.Errorf("uploading to %s: %w", r.page.URL, err)
	}
	return nil
}

func githubFiles(files []File) (all []github.File) {
	for _, f := range files {
		all = append(all, f.File)
	}
	return all
}

// verify checks that GitHub has what was sent: a publication cannot be taken back.
func (r *run) verify(ctx context.Context) error {
	if r.job.GitHub == nil {
		return nil
	}
	changes, others, err := r.job.GitHub.Compare(ctx, r.page, githubFiles(r.released.Files))
	if err != nil {
		return err
	}
	var wrong []string
	for _, change := range changes {
		if change.Action != github.Keep {
			wrong = append(wrong, change.File.Name)
		}
	}
	for _, other := range others {
		if !other.Whole() {
			wrong = append(wrong, other.Name)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("refusing to publish %s: after the upload these differ from what was sent: %s: run it again, or delete them there", r.page.URL, strings.Join(wrong, ", "))
	}
	return nil
}

func (r *run) publish(ctx context.Context) error {
	if r.job.GitHub == nil || r.job.KeepDraft {
		return nil
	}
	published, err := r.job.GitHub.Publish(ctx, r.page, r.plan.newest)
	if err != nil {
		return err
	}
	r.released.URL, r.released.Draft = published.URL, published.Draft
	return nil
}
