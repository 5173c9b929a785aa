package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/git"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/parity"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// VersionFile holds the version of the release that the tree makes.
const VersionFile = "VERSION"

// maxRelease is the largest length of a version: it is a part of tags.
const maxRelease = 64

// Version reads the version of the release that the tree makes.
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

// Moving holds what the moving tags of pushed artifacts are named after. An empty field
// gives no tag.
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

// Moving returns what the moving tags of the assets are named after: the branch of the
// pushed tree, its commit, and its release. Uncommitted inputs are refused unless dirty
// ones are allowed, and are never a release.
func (w *Workspace) Moving(ctx context.Context, names []string, arch catalog.Arch, allowDirty bool) (Moving, error) {
	release, err := w.Environment.Release.On(false)
	if err != nil {
		return Moving{}, err
	}
	in, err := w.Inputs(names, arch)
	if err != nil {
		return Moving{}, err
	}
	if release {
		in = append(in, VersionFile)
	}
	moving := Moving{Branch: cmp.Or(w.Environment.Branch, w.Git.Branch(ctx))}
	var dirty error
	if moving.Commit, dirty = w.Committed(ctx, in); ctx.Err() != nil {
		return Moving{}, context.Cause(ctx)
	}
	if given := w.undeclared(names, arch); given != nil {
		// No tag may say that the artifact is the branch's or the commit's.
		moving, dirty = Moving{}, cmp.Or(dirty, given)
	}
	moving.Release, err = w.Release(release, dirty, allowDirty)
	return moving, err
}

// Release returns the version of the release that is pushed, "" for none. Dirty says why
// the inputs are not committed, if they are not: then a push is refused unless dirty
// inputs are allowed, and a release always.
func (w *Workspace) Release(release bool, dirty error, allowDirty bool) (version string, err error) {
	if release {
		version, err = w.Version()
	}
	switch {
	case err != nil:
	case dirty != nil && release:
		err = fmt.Errorf("refusing to push uncommitted changes as a release: %w", dirty)
	case errors.Is(dirty, git.ErrForeign) && !allowDirty:
		err = fmt.Errorf("refusing to push: %w", dirty)
	case dirty != nil && !allowDirty:
		err = fmt.Errorf("refusing to push: %w (or pass --allow-dirty)", dirty)
	}
	return version, err
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

// CheckRaised fails if fragments changed since HEAD left the base branch and the
// configuration version was not raised. The base may be named as GitHub names it,
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
		return fmt.Errorf("finding where this branch left %s (a shallow clone may lack it: fetch more history): %w", base, err)
	}
	earlier, err := w.Revision(ctx, fork)
	if err != nil {
		return err
	}
	return kconfig.CheckRaised(earlier, w.Files(), base)
}

// Walk calls visit with the current key of each named asset and of all it depends on,
// dependencies first: a key contains their digests. It visits everything that it can,
// and then fails with the list of what it could not.
func (w *Workspace) Walk(names []string, arch catalog.Arch, visit func(store.Ref) (store.Artifact, error)) error {
	closure, err := w.Catalog.Closure(names, arch)
	if err != nil {
		return Usage(err)
	}
	digests := map[string]recipe.Digests{}
	var missing []error
	for _, asset := range closure {
		key, err := w.key(asset, arch, digests)
		if err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", asset.Name, err))
			continue
		}
		artifact, err := visit(store.Ref{Asset: asset.Name, Arch: string(arch), Key: key})
		if err == nil {
			digests[asset.Name] = build.Contents(artifact)
			continue
		}
		missing = append(missing, fmt.Errorf("%s: %w", asset.Name, err))
		if !store.IsNotFound(err) {
			break // The registry fails, and would for the others.
		}
	}
	return errors.Join(missing...)
}

func (w *Workspace) key(asset catalog.Asset, arch catalog.Arch, digests map[string]recipe.Digests) (string, error) {
	for _, name := range asset.Dependencies {
		if _, found := digests[name]; !found {
			return "", fmt.Errorf("its key is pending on %s", name)
		}
	}
	plan, err := w.Resolver.Resolve(asset, arch, digests)
	if err == nil && plan.Key == "" {
		err = errors.New(strings.Join(plan.Unlocked, "; "))
	}
	return plan.Key, err
}

// Artifact returns the artifact for the current key of an asset from the caches.
func (w *Workspace) Artifact(ctx context.Context, name string, arch catalog.Arch) (artifact store.Artifact, err error) {
	err = w.Walk([]string{name}, arch, func(ref store.Ref) (store.Artifact, error) {
		artifact, err = w.Store.Get(ctx, ref)
		if store.IsNotFound(err) {
			err = fmt.Errorf("the caches have none for %s with the key %.12s: run `build-asset %s`", ref.Arch, ref.Key, ref.Asset)
		}
		return artifact, err
	})
	return artifact, err
}

// PayloadSet is the release set whose assets go into the kata-deploy image.
const PayloadSet = "kata-static"

// Check resolves every asset on every architecture, compares what the assets of each
// release set ship, and reports all problems at once. It returns how many recipes it
// checked.
func (w *Workspace) Check(ctx context.Context) (checked int, err error) {
	var problems []error
	seen := map[string]bool{}
	for _, asset := range w.Catalog.Assets {
		for _, arch := range asset.Arches {
			checked++
			plan, err := w.Resolve(asset, arch)
			// A problem of a shared file has the same cause in every asset.
			if cause := cmp.Or(errors.Unwrap(err), err); err != nil && !seen[cause.Error()] {
				seen[cause.Error()] = true
				problems = append(problems, err)
			}
			for _, lockErr := range w.checkLocks(plan) {
				if !seen[lockErr.Error()] {
					seen[lockErr.Error()] = true
					problems = append(problems, lockErr)
				}
			}
			for _, why := range plan.Unlocked {
				if !seen[why] {
					seen[why] = true
					w.Report.Note(asset.Name, "cannot be built: "+why)
				}
			}
		}
	}
	if len(problems) == 0 {
		problems = append(problems, w.checkShipped(ctx))
	}
	_, parityErr := w.Parity()
	if errors.Is(parityErr, fs.ErrNotExist) {
		parityErr = nil
	}
	_, imagesErr := w.Catalog.LoadImages(w.Files())
	return checked, errors.Join(append(problems, w.checkShims(), imagesErr, parityErr)...)
}

// Parity returns the rules for the comparison of our kernels with Kata's. The error wraps
// fs.ErrNotExist if the tree has none.
func (w *Workspace) Parity() (*parity.Rules, error) {
	var kernels []string
	for _, asset := range w.Catalog.Assets {
		if asset.Kernel != nil {
			kernels = append(kernels, asset.Name)
		}
	}
	return parity.Load(w.Files(), kernels)
}

// checkLocks reads the locks that the places of a plan name.
func (w *Workspace) checkLocks(plan recipe.Plan) (problems []error) {
	for _, s := range plan.Sources {
		for _, place := range s.Places {
			if err := w.Sources.CheckLock(place); err != nil {
				problems = append(problems, fmt.Errorf("%s:%d: place %q: %w", versions.LockFile, place.Line, place.Name, err))
			}
		}
	}
	return problems
}

// checkShims compares the shims of the kata-deploy image, if the tree has any, with
// the assets and with what the image will hold.
func (w *Workspace) checkShims() error {
	shims, err := w.Catalog.LoadShims(w.Files())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	set, err := w.Catalog.FindSet(PayloadSet)
	if err != nil {
		return fmt.Errorf("%s: %w", catalog.ShimsFile, err)
	}
	var problems []error
	for _, arch := range catalog.Arches() {
		if len(set.Components[arch]) > 0 {
			problems = append(problems, shims.Check(arch, set.Components[arch]))
		}
	}
	return errors.Join(problems...)
}
