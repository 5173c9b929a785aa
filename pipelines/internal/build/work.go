package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// work builds a node that is a miss, exports one that was requested, and publishes.
// It returns the state of a node that must be looked up or built again, "" for one
// that is done.
func (x *execution) work(ctx context.Context, n *node) (again State, err error) {
	cached := true
	if n.State == Miss {
		if n.artifact, cached, err = x.obtain(ctx, n); err != nil {
			return "", fmt.Errorf("building %q: %w", n.Asset, err)
		}
	}
	if n.asked {
		err := x.export(ctx, n, cached)
		if store.IsNotFound(err) && n.damaged < tiers {
			// The store does not offer it again, but its other tier may have a good one.
			n.damaged++
			return Pending, nil
		}
		if err != nil {
			return "", fmt.Errorf("building %q: %w", n.Asset, err)
		}
		if x.Rebuild != nil {
			if err := x.rebuild(ctx, n); err != nil {
				return "", fmt.Errorf("building %q again: %w", n.Asset, err)
			}
		}
	}
	if !x.Push {
		return "", nil
	}
	if again, err = x.publish(ctx, n); err != nil {
		return "", fmt.Errorf("publishing %q: %w", n.Asset, err)
	}
	return again, nil
}

// publish publishes the artifact of a node. If the registry's copy is incomplete and
// the local store has none, the node is built again, so that there is one to push.
func (x *execution) publish(ctx context.Context, n *node) (again State, err error) {
	if n.lost != "" && n.lost != n.artifact.Digest {
		// Keys of other builds may have the digest of the first one.
		return "", fmt.Errorf("the registry's artifact is incomplete, and building it again gave %s instead of %s: run the command again", n.artifact.Digest, n.lost)
	}
	err = x.Store.Publish(ctx, n.artifact, x.Tags)
	if store.IsNotFound(err) && n.lost == "" {
		n.lost = n.artifact.Digest
		return Miss, nil
	}
	return "", err
}

// obtain builds a node, unless another process has built the same artifact in the
// meantime.
func (x *execution) obtain(ctx context.Context, n *node) (found store.Artifact, cached bool, err error) {
	unlock, err := x.Store.Lock(ctx, n.ref())
	if err != nil {
		return found, false, err
	}
	defer unlock()
	if n.lost == "" {
		found, _, err = x.Store.Find(ctx, n.ref())
		if err == nil || !store.IsNotFound(err) {
			return found, true, err
		}
	}
	found, err = x.make(ctx, n)
	return found, false, err
}

// make builds a node, whose lock is held, and stores its artifact.
func (x *execution) make(ctx context.Context, n *node) (made store.Artifact, err error) {
	built, err := x.build(ctx, x.Builder, n)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, built.Remove()) }()
	canonical, err := n.Resolved.Recipe.Canonical()
	if err != nil {
		return made, err
	}
	put := store.Put{Ref: n.ref(), Tarball: built.Tarballs[""], Outputs: maps.Clone(built.Tarballs), Recipe: canonical, Record: built.Record}
	delete(put.Outputs, "")
	made, err = x.Store.Put(ctx, put)
	if err != nil {
		return made, fmt.Errorf("storing the artifact: %w", err)
	}
	return made, nil
}

// build has a Builder build a node.
func (x *execution) build(ctx context.Context, builder Builder, n *node) (Built, error) {
	dependencies := map[string]string{}
	for _, name := range n.Dependencies {
		tarballs, err := x.dependency(ctx, x.byName[name])
		if err != nil {
			return Built{}, fmt.Errorf("finding the dependency %q: %w", name, err)
		}
		for output, path := range tarballs {
			if output != "" {
				output = "-" + output
			}
			dependencies[name+output] = path
		}
	}
	return builder.Build(ctx, n.Resolved, dependencies)
}

// export puts all tarballs of a node's artifact into the output folder.
func (x *execution) export(ctx context.Context, n *node, cached bool) error {
	artifact := n.artifact
	result := Result{
		Asset: artifact.Asset, Arch: artifact.Arch, Key: artifact.Key,
		Digest: artifact.Digest, Size: artifact.Size, Cached: cached, Outputs: map[string]string{},
	}
	for _, output := range outputs(artifact) {
		path := filepath.Join(x.Output, OutputName(artifact.Asset, output))
		if output == "" {
			result.Path = path
		} else {
			result.Outputs[output] = path
		}
		changed, err := x.Store.Export(ctx, artifact, output, path)
		if err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		result.Changed = result.Changed || changed
	}
	n.result = result
	return nil
}

// dependency returns the paths of the tarballs of a node that is done; "" is the main
// one. A damaged artifact is built again: the keys of its dependents stay valid only
// if that gives the same bytes.
func (x *execution) dependency(ctx context.Context, n *node) (map[string]string, error) {
	n.needed.Lock()
	defer n.needed.Unlock()
	artifact := n.artifact
	for attempt := 0; ; attempt++ {
		tarballs, err := x.blobs(ctx, artifact)
		if !store.IsNotFound(err) || attempt == tiers {
			return tarballs, err
		}
		if artifact, _, err = x.obtain(ctx, n); err != nil {
			return nil, err
		}
		if artifact.Digest != n.artifact.Digest || !slices.Equal(artifact.Outputs, n.artifact.Outputs) {
			return nil, fmt.Errorf("its artifact was damaged, and building it again gave %s instead of %s: run the command again", artifact.Digest, n.artifact.Digest)
		}
	}
}

func (x *execution) blobs(ctx context.Context, artifact store.Artifact) (map[string]string, error) {
	tarballs := map[string]string{}
	for _, output := range outputs(artifact) {
		path, err := x.Store.Blob(ctx, artifact, output)
		if err != nil {
			return nil, err
		}
		tarballs[output] = path
	}
	return tarballs, nil
}

// shownMembers is how many differing members an error names.
const shownMembers = 20

// rebuild builds a node again and compares the result with the tarballs in place.
func (x *execution) rebuild(ctx context.Context, n *node) (err error) {
	unlock, err := x.Store.Lock(ctx, n.ref())
	if err != nil {
		return err
	}
	defer unlock()
	built, err := x.build(ctx, x.Rebuild, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, built.Remove()) }()
	var differences []error
	for _, output := range outputs(n.artifact) {
		first := filepath.Join(x.Output, OutputName(n.Asset, output))
		differences = append(differences, compare(ctx, first, built.Tarballs[output]))
	}
	err = errors.Join(differences...)
	n.result.Reproduced = err == nil
	return err
}

// compare fails if two tarballs differ in any byte. It then keeps the second in a
// folder next to the first, in place of an earlier one.
func compare(ctx context.Context, first, second string) error {
	kept := filepath.Join(filepath.Dir(first), "rebuild", filepath.Base(first))
	if err := os.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an earlier rebuild: %w", err)
	}
	before, _, err := files.Hash(ctx, first)
	if err != nil {
		return err
	}
	after, _, err := files.Hash(ctx, second)
	if err != nil || before == after {
		return err
	}
	changes, err := archive.DiffFiles(first, second)
	if err == nil {
		err = files.CopyFile(ctx, second, kept)
	}
	if err != nil {
		return fmt.Errorf("comparing with the second build: %w", err)
	}
	lines := []string{fmt.Sprintf("%s is not reproducible; the second build is %s", filepath.Base(first), kept)}
	for _, change := range changes[:min(shownMembers, len(changes))] {
		lines = append(lines, change.String())
	}
	switch more := len(changes) - shownMembers; {
	case len(changes) == 0:
		lines = append(lines, "every member is the same: the compression differs")
	case more > 0:
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return errors.New(strings.Join(lines, "\n  "))
}
