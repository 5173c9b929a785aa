package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Job is the release of one version, from assets to what users download. Every
// step looks at what is there and does what is missing, so that a run that was
// killed anywhere is finished by the next one. What users see comes last: the
// tags of the release, then its page.
type Job struct {
	// Version is the release, "3.28.0", and the tag on GitHub. Commit, in hex, is
	// what it is built from.
	Version, Commit string
	// Arches are those that it is for.
	Arches []catalog.Arch
	// Catalog has the assets and the release sets, Pins is the content of
	// versions.yaml, and Versions what it says.
	Catalog  *catalog.Catalog
	Pins     []byte
	Versions *versions.File
	// Output is the folder for the files of the release, and for the tarballs of
	// the assets, below the name of each architecture.
	Output string
	// Cache is the folder for verdicts and copies: see archive.Options.
	Cache string
	// Tarballs brings the tarballs of assets into a folder, from a cache or by
	// building them.
	Tarballs func(ctx context.Context, names []string, arch catalog.Arch, dir string) ([]Tarball, error)
	// Image puts the image of an architecture together, of the tarballs of
	// PayloadSet. Repositories are where it is pushed to, with the index of all
	// architectures, which Labels describe.
	Image        func(ctx context.Context, arch catalog.Arch, tarballs []Tarball) (*payload.Image, error)
	PayloadSet   string
	Repositories []*payload.Repository
	Labels       payload.Labels
	// GitHub is where the files are released; nil for nowhere.
	GitHub *github.Client
	// Limit is the size in bytes that a tarball must stay below, 0 for GitHub's.
	Limit int64
	// Strict makes a component over its budget an error, Force changes what is
	// released already, and KeepDraft leaves the release a draft, without the tags
	// of images.
	Strict, Force, KeepDraft bool
	// Report shows how far it is.
	Report *progress.Reporter
}

// Tarball is that of an asset.
type Tarball struct {
	Asset string       `json:"asset"`
	Arch  catalog.Arch `json:"arch"`
	Path  string       `json:"path"`
	// Key is that of the recipe, Digest "sha256:<hex>", Size in bytes.
	Key    string `json:"key"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// Released is what there is after a Job.
type Released struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// URL is the page of the release, "" where it is not on GitHub; Draft is true
	// where only its makers see it.
	URL   string `json:"url"`
	Draft bool   `json:"draft"`
	// Files are those of the release.
	Files []ReleasedFile `json:"files"`
	// Images are the index of each repository, and the images in it.
	Images []ReleasedImage `json:"images"`
	// Finished is true where an earlier run had published all of it already: then
	// this one has made nothing, and Files and Images are empty.
	Finished bool `json:"finished"`
}

// ReleasedFile is a file of a release.
type ReleasedFile struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// Digest is "sha256:<hex>", Size in bytes.
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Action is what it needed on GitHub, "" where it is not there.
	Action github.Action `json:"action,omitempty"`
}

// ReleasedImage is an image, or the index of images.
type ReleasedImage struct {
	// GoArch is the architecture, "" for the index.
	GoArch string `json:"goarch,omitempty"`
	payload.Pushed
}

// run is one run of a Job.
type run struct {
	*Job
	github   state
	tarballs map[catalog.Arch][]Tarball
	plans    []*MergePlan
	images   []*payload.Image
	pushed   []pushedTo
	files    []github.File
	released Released
}

// Run makes the release. It holds a lock on the output folder.
func (j *Job) Run(ctx context.Context) (released Released, err error) {
	if j.Commit == "" {
		return Released{}, errors.New("a release is of a commit: commit what it is made of")
	}
	r := &run{Job: j, tarballs: map[catalog.Arch][]Tarball{}, released: Released{
		Version: j.Version, Commit: j.Commit, Files: []ReleasedFile{}, Images: []ReleasedImage{},
	}}
	if r.github, err = j.look(ctx); err != nil {
		return r.released, err
	}
	if r.github.finished {
		r.released.URL, r.released.Finished = r.github.release.URL, true
		return r.released, nil
	}
	unlock, err := lockFolder(j.Output)
	if err != nil {
		return r.released, err
	}
	defer func() { err = errors.Join(err, r.closeImages(), unlock()) }()
	for _, step := range []func(context.Context) error{
		r.bring, r.merge, r.pushImages, r.checkTags, r.writeFiles, r.upload, r.verify, r.tagImages, r.publish,
	} {
		if err := step(ctx); err != nil {
			return r.released, err
		}
	}
	return r.released, nil
}

// lockFolder keeps other releases out of a folder.
func lockFolder(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the output folder: %w", err)
	}
	lock := flock.New(filepath.Join(dir, ".lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the output folder: %w", err)
	}
	if !locked {
		return nil, fmt.Errorf("another release is at work in %s: wait for its end, or name another folder with --output", dir)
	}
	return lock.Unlock, nil
}

// sets returns the release sets that have assets on an architecture.
func (j *Job) sets(arch catalog.Arch) []catalog.Set {
	var sets []catalog.Set
	for _, set := range j.Catalog.Sets {
		if len(set.Components[arch]) > 0 {
			sets = append(sets, set)
		}
	}
	return sets
}

// components returns the assets of all release sets on an architecture, each once.
func (j *Job) components(arch catalog.Arch) []string {
	var names []string
	seen := map[string]bool{}
	for _, set := range j.sets(arch) {
		for _, name := range set.Components[arch] {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// folder is where the tarballs of the assets of an architecture are put.
func (j *Job) folder(arch catalog.Arch) string { return filepath.Join(j.Output, arch.GoArch()) }
