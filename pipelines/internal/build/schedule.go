package build

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// schedule is one run of a Scheduler: a node for each asset, each settled by a
// goroutine of its own that waits for those of its dependencies.
type schedule struct {
	*Scheduler
	arch  catalog.Arch
	nodes map[string]*node
	// building has room for the builds that may run at once.
	building chan struct{}
	scratch  scratch
}

// node is one asset of a run.
type node struct {
	asset catalog.Asset
	asked bool
	// settled is closed once the fields below are final.
	settled  chan struct{}
	plan     recipe.Plan
	artifact store.Artifact
	result   Result
	// tarballs are those in the scratch folder, for the builds of dependents:
	// "" is the main one. The first of these builds brings them.
	exporting sync.Mutex
	tarballs  map[string]string
}

func newSchedule(s *Scheduler, closure []catalog.Asset, asked []string, arch catalog.Arch) *schedule {
	schedule := &schedule{
		Scheduler: s, arch: arch, nodes: map[string]*node{},
		building: make(chan struct{}, max(1, s.Parallel)), scratch: scratch{parent: s.Scratch},
	}
	for _, asset := range closure {
		schedule.nodes[asset.Name] = &node{asset: asset, asked: slices.Contains(asked, asset.Name), settled: make(chan struct{})}
	}
	return schedule
}

// settle waits for the dependencies of a node and brings its artifact about.
func (s *schedule) settle(ctx context.Context, n *node) (err error) {
	digests := map[string]recipe.Digests{}
	for _, name := range n.asset.Dependencies {
		select {
		case <-s.nodes[name].settled:
			digests[name] = Contents(s.nodes[name].artifact)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if n.plan, err = s.Resolver.Resolve(n.asset, s.arch, digests); err != nil {
		return err
	}
	if err := s.place(ctx, n, false); err != nil {
		return fmt.Errorf("building %q: %w", n.asset.Name, err)
	}
	if s.Rebuild != nil && n.asked {
		if err := s.rebuild(ctx, n); err != nil {
			return fmt.Errorf("building %q again: %w", n.asset.Name, err)
		}
	}
	if err := s.publish(ctx, n); err != nil {
		return fmt.Errorf("publishing %q: %w", n.asset.Name, err)
	}
	close(n.settled)
	return nil
}

// publish publishes the artifact of a node. Where the registry's is not whole
// and the local store has none, it is built again: that can be sent.
func (s *schedule) publish(ctx context.Context, n *node) error {
	if s.Publish == nil {
		return nil
	}
	err := s.Publish(ctx, n.artifact)
	if !store.IsNotFound(err) {
		return err
	}
	digest := n.artifact.Digest
	if err := s.place(ctx, n, true); err != nil {
		return err
	}
	if n.artifact.Digest != digest {
		// The one in place was good, and other builds may know it by its digest.
		return fmt.Errorf("the registry's artifact is not whole, and building it again gave %s instead of %s: run the command once more", n.artifact.Digest, digest)
	}
	return s.Publish(ctx, n.artifact)
}

// Contents returns the digests of an artifact that go into the keys of its
// dependents.
func Contents(artifact store.Artifact) recipe.Digests {
	digests := recipe.Digests{Tarball: artifact.Digest, Outputs: map[string]string{}}
	for _, output := range artifact.Outputs {
		digests.Outputs[output.Name] = output.Digest
	}
	return digests
}

func (n *node) ref() store.Ref {
	return store.Ref{Asset: n.plan.Recipe.Asset, Arch: n.plan.Recipe.Arch, Key: n.plan.Key}
}

// place finds or builds the artifact of a node, and brings one that was asked
// for to its path. Anew has it built whatever the store has. A stored artifact
// that turns out to be damaged is not offered again: the store's other tier may
// have it, or else it is built.
func (s *schedule) place(ctx context.Context, n *node, anew bool) error {
	for attempt := 1; ; attempt++ {
		artifact, cached, err := s.find(ctx, n, anew)
		if err != nil {
			return err
		}
		n.artifact = artifact
		if !n.asked {
			return nil
		}
		result := Result{
			Asset: artifact.Asset, Arch: artifact.Arch, Key: artifact.Key,
			Digest: artifact.Digest, Size: artifact.Size, Cached: cached, Outputs: map[string]string{},
		}
		err = s.export(ctx, artifact, &result)
		if store.IsNotFound(err) && attempt <= tiers {
			continue
		}
		if err == nil {
			n.result = result
		}
		return err
	}
}

// tiers is how many a store has: a damaged artifact can be met in each.
const tiers = 2

// export writes all tarballs of an artifact to the output folder.
func (s *schedule) export(ctx context.Context, artifact store.Artifact, result *Result) error {
	for _, output := range outputs(artifact) {
		path := filepath.Join(s.Output, fileName(artifact.Asset, output))
		if output == "" {
			result.Path = path
		} else {
			result.Outputs[output] = path
		}
		changed, err := s.Store.Export(ctx, artifact, output, path)
		if err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		result.Changed = result.Changed || changed
	}
	return nil
}

// outputs names the tarballs of an artifact; "" is the main one.
func outputs(artifact store.Artifact) []string {
	names := []string{""}
	for _, output := range artifact.Outputs {
		names = append(names, output.Name)
	}
	return names
}

func fileName(asset, output string) string {
	if output == "" {
		return TarballName(asset)
	}
	return OutputName(asset, output)
}

// find finds the artifact of a node or builds it, while other processes that
// want the same one wait. Anew has it built in any case.
func (s *schedule) find(ctx context.Context, n *node, anew bool) (found store.Artifact, cached bool, err error) {
	ref := n.ref()
	if !anew {
		found, err = s.Store.Get(ctx, ref)
		if err == nil || !store.IsNotFound(err) {
			return found, true, err
		}
	}
	unlock, err := s.Store.Lock(ctx, ref)
	if err != nil {
		return found, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if !anew {
		found, err = s.Store.Get(ctx, ref)
		if err == nil || !store.IsNotFound(err) {
			return found, true, err
		}
	}
	found, err = s.make(ctx, n)
	return found, false, err
}

// make builds a node, whose lock is held, and stores its artifact.
func (s *schedule) make(ctx context.Context, n *node) (made store.Artifact, err error) {
	built, err := s.build(ctx, s.Builder, n)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, built.Discard()) }()
	canonical, err := n.plan.Recipe.Canonical()
	if err != nil {
		return made, err
	}
	made, err = s.Store.Put(ctx, store.Put{Ref: n.ref(), Tarball: built.Tarball, Outputs: built.Outputs, Recipe: canonical, Record: built.Record})
	if err != nil {
		return made, fmt.Errorf("storing the artifact: %w", err)
	}
	return made, nil
}

// build has a Builder build a node once there is room for another build.
func (s *schedule) build(ctx context.Context, builder Builder, n *node) (Built, error) {
	dependencies := map[string]string{}
	for _, name := range n.asset.Dependencies {
		tarballs, err := s.bring(ctx, s.nodes[name])
		if err != nil {
			return Built{}, fmt.Errorf("bringing the dependency %q: %w", name, err)
		}
		for output, path := range tarballs {
			if output != "" {
				output = "-" + output
			}
			dependencies[name+output] = path
		}
	}
	select {
	case s.building <- struct{}{}:
		defer func() { <-s.building }()
	case <-ctx.Done():
		return Built{}, context.Cause(ctx)
	}
	return builder.Build(ctx, n.plan, dependencies)
}

// bring puts the tarballs of a dependency, which is settled, into the scratch
// folder. One that turns out to be damaged is built again: the keys of its
// dependents hold only if that gives the same bytes.
func (s *schedule) bring(ctx context.Context, n *node) (map[string]string, error) {
	n.exporting.Lock()
	defer n.exporting.Unlock()
	if n.tarballs != nil {
		return n.tarballs, nil
	}
	tarballs, err := s.toScratch(ctx, n.artifact)
	for attempt := 1; store.IsNotFound(err) && attempt <= tiers; attempt++ {
		var again store.Artifact
		if again, _, err = s.find(ctx, n, false); err != nil {
			return nil, err
		}
		if again.Digest != n.artifact.Digest || !slices.Equal(again.Outputs, n.artifact.Outputs) {
			return nil, fmt.Errorf("its artifact was damaged, and building it again gave %s instead of %s: run the command once more", again.Digest, n.artifact.Digest)
		}
		tarballs, err = s.toScratch(ctx, again)
	}
	if err == nil {
		n.tarballs = tarballs
	}
	return tarballs, err
}

func (s *schedule) toScratch(ctx context.Context, artifact store.Artifact) (map[string]string, error) {
	dir, err := s.scratch.path()
	if err != nil {
		return nil, err
	}
	tarballs := map[string]string{}
	for _, output := range outputs(artifact) {
		path := filepath.Join(dir, fileName(artifact.Asset, output))
		if _, err := s.Store.Export(ctx, artifact, output, path); err != nil {
			return nil, err
		}
		tarballs[output] = path
	}
	return tarballs, nil
}
