package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/git"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// VersionFile holds the release that the tree is.
const VersionFile = "VERSION"

// maxRelease is how long a release may be: it is a part of tags.
const maxRelease = 64

// Version reads the release that the tree is.
func (w *Workspace) Version() (string, error) {
	data, err := w.Resolver.Tree.ReadFile(VersionFile)
	if err != nil {
		return "", fmt.Errorf("reading the release: %w", err)
	}
	version := strings.TrimSpace(string(data))
	if !semver.Valid(version) || len(version) > maxRelease {
		return "", fmt.Errorf("%s has %q: write one release into it, such as 3.28.0, or 3.29.0-rc0 before it", VersionFile, version)
	}
	return version, nil
}

// Moving holds what the moving tags of pushed artifacts are named after; "" for
// one that there is not.
type Moving struct {
	Branch, Commit, Release string
}

// Tags returns the moving tags of an artifact.
func (m Moving) Tags(arch string) []string {
	var tags []string
	for _, tag := range []struct{ kind, name string }{{"latest", m.Branch}, {"commit", m.Commit}, {"release", m.Release}} {
		if tag.name != "" {
			tags = append(tags, store.MovingTag(tag.kind, tag.name, arch))
		}
	}
	return tags
}

// Moving returns what the moving tags of the assets name: the branch of the pushed
// tree, its commit, and its release. A tree with uncommitted inputs is refused
// unless dirty ones are allowed, and is never a release.
func (w *Workspace) Moving(ctx context.Context, names []string, arch catalog.Arch, allowDirty bool) (Moving, error) {
	release, err := w.Environment.Release.On(false)
	if err != nil {
		return Moving{}, err
	}
	moving := Moving{Branch: w.Environment.Branch}
	if moving.Branch == "" {
		moving.Branch = w.Git.Branch(ctx)
	}
	in, err := w.Inputs(names, arch)
	if err != nil {
		return Moving{}, err
	}
	if release {
		if moving.Release, err = w.Version(); err != nil {
			return Moving{}, err
		}
		in.Files = append(in.Files, VersionFile)
	}
	moving.Commit, err = w.Committed(ctx, in)
	switch {
	case err == nil:
		return moving, nil
	case ctx.Err() != nil:
		return Moving{}, context.Cause(ctx)
	case release:
		return Moving{}, fmt.Errorf("refusing to push uncommitted changes as a release: %w", err)
	case allowDirty:
		return moving, nil
	}
	return Moving{}, fmt.Errorf("refusing to push: %w (or pass --allow-dirty)", err)
}

// Revision returns the files of a git revision, without checking it out.
func (w *Workspace) Revision(ctx context.Context, name string) (fs.FS, error) {
	commit, err := w.Git.Commit(ctx, name)
	if err != nil {
		return nil, Usage(err)
	}
	files, err := w.Git.Files(ctx, commit)
	if err != nil {
		return nil, fmt.Errorf("reading the tree of %s: %w", name, err)
	}
	return files, nil
}

// CheckRaised refuses fragments that changed since HEAD left the base branch, if
// the configuration version did not grow. The base may be named as GitHub does,
// without its remote.
func (w *Workspace) CheckRaised(ctx context.Context, base string) error {
	commit, err := w.Git.Commit(ctx, base)
	if errors.Is(err, git.ErrUnknown) {
		var remote error
		if commit, remote = w.Git.Commit(ctx, "origin/"+base); remote != nil {
			return Usage(err)
		}
	} else if err != nil {
		return err
	}
	fork, err := w.Git.MergeBase(ctx, commit)
	if err != nil {
		return fmt.Errorf("finding where this branch left %s (a shallow clone does not know: fetch more of it): %w", base, err)
	}
	earlier, err := w.Revision(ctx, fork)
	if err != nil {
		return err
	}
	return kconfig.CheckRaised(earlier, w.Files(), base)
}
