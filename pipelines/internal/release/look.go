package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// state is what GitHub has before anything is done.
type state struct {
	// release is that of the version, with its files; its ID is 0 if there is none.
	release github.Release
	there   []github.Asset
	// published is true if it is published, with all its files.
	published bool
	// previous is the release before this one, with its files.
	previous *github.Release
	assets   []github.Asset
	// latest is true if this one is going to be the latest.
	latest bool
}

// look finds out what GitHub has. The error says why this must not be released.
func (j *Job) look(ctx context.Context) (state, error) {
	s := state{latest: !semver.Prerelease(j.Version)}
	if j.GitHub == nil {
		return s, nil
	}
	if err := j.GitHub.CheckName(ctx); err != nil {
		return s, err
	}
	if j.Commit != "" {
		if err := j.checkCommit(ctx); err != nil {
			return s, err
		}
	}
	if err := j.lookBefore(ctx, &s); err != nil {
		return s, err
	}
	return s, j.lookAt(ctx, &s)
}

// lookAt finds out what there is of this version.
func (j *Job) lookAt(ctx context.Context, s *state) (err error) {
	s.release, err = j.GitHub.Find(ctx, j.Version)
	if errors.Is(err, github.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.there, err = j.GitHub.Assets(ctx, s.release); err != nil || s.release.Draft || j.Force {
		return err
	}
	missing := slices.DeleteFunc(j.fileNames(), func(name string) bool {
		return slices.ContainsFunc(s.there, func(asset github.Asset) bool { return asset.Name == name && asset.Whole() })
	})
	if len(missing) > 0 {
		return fmt.Errorf("%s: %w without %s: make a release of another version, or add them with --force", s.release.URL, github.ErrPublished, strings.Join(missing, ", "))
	}
	s.published = true
	return nil
}

// lookBefore finds out which release came before this one, the highest below it, and
// whether this one is going to be the latest: none above it is published.
func (j *Job) lookBefore(ctx context.Context, s *state) error {
	releases, err := j.GitHub.Releases(ctx)
	if err != nil {
		return err
	}
	for _, release := range releases {
		switch {
		case release.Draft, release.Prerelease, !semver.Valid(release.Tag):
		case semver.Newer(release.Tag, j.Version):
			s.latest = false
		case release.Tag == j.Version:
		case s.previous == nil, semver.Newer(release.Tag, s.previous.Tag):
			s.previous = &release
		}
	}
	if s.previous != nil {
		s.assets, err = j.GitHub.Assets(ctx, *s.previous)
	}
	return err
}

// checkCommit refuses a version that belongs to another commit, and a commit that
// GitHub does not have: it could not be tagged.
func (j *Job) checkCommit(ctx context.Context) error {
	tagged, err := j.GitHub.Commit(ctx, "tags/"+j.Version)
	switch {
	case err == nil && tagged == j.Commit:
		return nil
	case err == nil:
		return fmt.Errorf("the tag %s of %s is commit %s, and this tree is %s: raise VERSION, or check that commit out", j.Version, j.GitHub.Repository(), tagged, j.Commit)
	case !errors.Is(err, github.ErrNotFound):
		return err
	}
	if _, err := j.GitHub.Commit(ctx, j.Commit); errors.Is(err, github.ErrNotFound) {
		return fmt.Errorf("%s has no commit %s: push it first (%w)", j.GitHub.Repository(), j.Commit, err)
	} else if err != nil {
		return err
	}
	return nil
}
