package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// state is what GitHub has before anything is done.
type state struct {
	// release is that of the version; its ID is 0 where there is none.
	release github.Release
	// finished is true where it is published, with all its files and images.
	finished bool
	// previous is the release before this one, with its assets.
	previous *github.Release
	assets   []github.Asset
	// latest tells whether this one is going to be the latest.
	latest bool
}

// pinsFile and reportFile are the names of files of a release.
func pinsFile(version string) string { return "kata-containers-" + version + "-versions.yaml" }

func reportFile(tarball string) string {
	return strings.TrimSuffix(tarball, tarballSuffix) + ".report.json"
}

// fileNames are those of the files of the release.
func (j *Job) fileNames() []string {
	var names []string
	for _, arch := range j.Arches {
		for _, set := range j.sets(arch) {
			tarball := PublishedFile(set.Name, j.Version, arch)
			names = append(names, tarball, reportFile(tarball))
		}
	}
	return append(names, pinsFile(j.Version), SumsName)
}

// look finds out what GitHub has, and refuses early what must not be released.
func (j *Job) look(ctx context.Context) (state, error) {
	s := state{latest: !semver.Prerelease(j.Version)}
	if j.GitHub == nil {
		return s, nil
	}
	if err := j.GitHub.CheckName(ctx); err != nil {
		return s, err
	}
	if j.Commit != "" { // A plan may have none.
		if err := j.checkCommit(ctx); err != nil {
			return s, err
		}
	}
	if err := j.lookBefore(ctx, &s); err != nil {
		return s, err
	}
	var err error
	s.release, err = j.GitHub.Find(ctx, j.Version)
	if errors.Is(err, github.ErrNotFound) {
		return s, nil
	}
	if err != nil || s.release.Draft || j.Force {
		return s, err
	}
	missing, err := j.lacking(ctx, s.release)
	switch {
	case err != nil:
		return s, err
	case len(missing) > 0:
		return s, fmt.Errorf("%s: %w without %s: make a release of another version, or add them all the same with --force", s.release.URL, github.ErrPublished, strings.Join(missing, ", "))
	}
	// A Job publishes the page last. Somebody may have done so by hand, before the
	// images had their tags, or have named another repository since.
	s.finished, err = j.tagged(ctx)
	return s, err
}

// lookBefore finds out which release was before this one, and whether this one is
// going to be the latest.
func (j *Job) lookBefore(ctx context.Context, s *state) error {
	latest, err := j.GitHub.Latest(ctx)
	if errors.Is(err, github.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s.latest = s.latest && !semver.Newer(latest.Tag, j.Version)
	s.previous = &latest
	if !semver.Newer(j.Version, latest.Tag) { // It is this one, or this one is a fix of an older one.
		if s.previous, err = j.below(ctx); err != nil {
			return err
		}
	}
	if s.previous != nil {
		s.assets, err = j.GitHub.Assets(ctx, *s.previous)
	}
	return err
}

// below returns the highest release below this one, or nil.
func (j *Job) below(ctx context.Context) (*github.Release, error) {
	releases, err := j.GitHub.Releases(ctx)
	if err != nil {
		return nil, err
	}
	var found *github.Release
	for _, release := range releases {
		switch {
		case release.Draft, release.Prerelease, !semver.Valid(release.Tag), !semver.Newer(j.Version, release.Tag):
		case found == nil, semver.Newer(release.Tag, found.Tag):
			found = &release
		}
	}
	return found, nil
}

// tagged tells whether all repositories have the index of the release. One that does
// not show it has it not: what is pushed there next tells who may.
func (j *Job) tagged(ctx context.Context) (bool, error) {
	if j.KeepDraft {
		return true, nil // It would give no tags.
	}
	for _, repository := range j.Repositories {
		there, err := repository.Resolve(ctx, j.Version)
		if err != nil && !payload.Hidden(err) {
			return false, err
		}
		if there.Digest == "" {
			return false, nil
		}
	}
	return true, nil
}

// checkCommit refuses a version that is another commit's, and a commit that GitHub
// does not have: a tag could not be made of it.
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

// lacking returns the names of files that a release does not have whole.
func (j *Job) lacking(ctx context.Context, release github.Release) ([]string, error) {
	assets, err := j.GitHub.Assets(ctx, release)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(j.fileNames(), func(name string) bool {
		return slices.ContainsFunc(assets, func(asset github.Asset) bool { return asset.Name == name && asset.Whole() })
	}), nil
}

// fetch downloads a file of the previous release, small ones alone; "" is the path
// of one that there is not.
func (r *run) fetch(ctx context.Context, name string) (path string, err error) {
	i := slices.IndexFunc(r.github.assets, func(asset github.Asset) bool { return asset.Name == name && asset.Whole() })
	if i < 0 || r.github.assets[i].Size > sizes.MaxReport {
		return "", nil
	}
	content, err := r.GitHub.Download(ctx, r.github.assets[i])
	if err != nil {
		return "", err
	}
	path = filepath.Join(r.Output, "previous", name)
	return path, writeFile(path, content)
}

// previousReport returns what the previous release says of a tarball, nil where it
// says nothing that this program understands: nothing depends on it.
func (r *run) previousReport(ctx context.Context, set string, arch catalog.Arch) (*sizes.Previous, error) {
	if r.github.previous == nil {
		return nil, nil
	}
	tag := r.github.previous.Tag
	path, err := r.fetch(ctx, reportFile(PublishedFile(set, tag, arch)))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err == nil && path == "" {
		return nil, nil
	}
	var previous *sizes.Previous
	if err == nil {
		previous, err = sizes.ReadPrevious(path)
	}
	if err != nil {
		r.Report.Note("release", fmt.Sprintf("what grew since %s is not known: %v", tag, err))
		return nil, nil
	}
	return previous, nil
}

// previousPins returns the changes since the versions.yaml of the previous release,
// or why they are not known.
func (r *run) previousPins(ctx context.Context) (changes []PinChange, unknown string, err error) {
	name := pinsFile(r.github.previous.Tag)
	path, err := r.fetch(ctx, name)
	switch {
	case ctx.Err() != nil:
		return nil, "", context.Cause(ctx)
	case err != nil:
		r.Report.Note("release", err.Error())
		return nil, name + " of that release could not be had", nil
	case path == "":
		return nil, "that release has no " + name, nil
	}
	before, _, err := versions.Load(path)
	if err != nil {
		r.Report.Note("release", err.Error())
		return nil, name + " of that release cannot be read", nil
	}
	return ComparePins(before, r.Versions), "", nil
}

// writeFile writes a small file, which appears complete or not at all; one with the
// same content is left alone.
func writeFile(path string, content []byte) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the folder of %s: %w", path, err)
	}
	temp := path + ".partial" // The lock on the folder keeps others from it.
	if err := os.WriteFile(temp, content, 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
