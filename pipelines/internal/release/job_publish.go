package release

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// upload brings the files to the draft.
func (r *run) upload(ctx context.Context) error {
	if r.GitHub == nil {
		return nil
	}
	notes, err := os.ReadFile(filepath.Join(r.Output, NotesName))
	if err != nil {
		return fmt.Errorf("reading the notes: %w", err)
	}
	r.github.release, err = r.GitHub.Draft(ctx, github.Wanted{
		Tag: r.Version, Name: "Kata Containers " + r.Version, Target: r.Commit, Prerelease: semver.Prerelease(r.Version),
		Body: SpliceNotes("", string(notes)),
	})
	if err != nil {
		return err
	}
	// A release that is replaced by force must not keep the digests of its old files.
	if r.github.release.Draft || r.Force {
		if r.github.release, err = r.GitHub.Describe(ctx, r.github.release, SpliceNotes(r.github.release.Body, string(notes))); err != nil {
			return err
		}
	}
	r.released.URL, r.released.Draft = r.github.release.URL, r.github.release.Draft
	changes, others, err := r.GitHub.Compare(ctx, r.github.release, r.files)
	if err != nil {
		return err
	}
	for i, change := range changes {
		r.released.Files[i].Action = change.Action
	}
	for _, other := range others {
		if r.generated(other.Name) {
			return fmt.Errorf("%s has %s, which an earlier run left and this release does not have: delete it there", r.github.release.URL, other.Name)
		}
		r.Report.Note("github", other.Name+" was added by somebody else: it stays")
	}
	if err := r.GitHub.Sync(ctx, r.github.release, changes, r.Force); err != nil {
		return fmt.Errorf("uploading to %s: %w", r.github.release.URL, err)
	}
	return nil
}

// verify sees that GitHub has what was sent: what is published cannot be taken back.
func (r *run) verify(ctx context.Context) error {
	if r.GitHub == nil {
		return nil
	}
	changes, others, err := r.GitHub.Compare(ctx, r.github.release, r.files)
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
		return fmt.Errorf("not publishing %s: after the upload these are not as they were sent: %s: run it again, or delete them there", r.github.release.URL, strings.Join(wrong, ", "))
	}
	return nil
}

// publish publishes the draft.
func (r *run) publish(ctx context.Context) error {
	if r.GitHub == nil || r.KeepDraft {
		return nil
	}
	published, err := r.GitHub.Publish(ctx, r.github.release, r.github.latest)
	if err != nil {
		return err
	}
	r.released.URL, r.released.Draft = published.URL, published.Draft
	return nil
}

// generated tells whether a name is one that a Job gives: an architecture or a set
// that it had once leaves such files in a draft, of another commit perhaps.
func (j *Job) generated(name string) bool {
	for _, set := range j.Catalog.Sets {
		for _, arch := range catalog.Arches() {
			tarball := PublishedFile(set.Name, j.Version, arch)
			if name == tarball || name == reportFile(tarball) {
				return true
			}
		}
	}
	return false
}
