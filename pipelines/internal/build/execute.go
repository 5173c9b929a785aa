package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Executor executes plans.
type Executor struct {
	Store   Store
	Builder Builder
	// Rebuild, where it is set, builds each of the assets asked for once more,
	// without any cache, and Execute compares: see Difference.
	Rebuild Builder
	// Push publishes each artifact, dependencies included, once it is in place,
	// and points the moving tags at it.
	Push bool
	Tags []string
	// Parallel is how many builds may run at once; less than 1 counts as 1.
	Parallel int
	// Output is the folder for the tarballs of the assets asked for.
	Output string
	// Scratch is the folder for the tarballs of their dependencies.
	Scratch string
}

// Execute puts the tarballs of the assets that the plan is about into Output.
// It first checks all that it has to build, and reports all problems at once.
// Builds start in the order of the plan, each as soon as its dependencies are in
// place. Execute stops at the first failure, whose error names the asset; the
// results, never nil, are the assets that are in place.
func (e *Executor) Execute(ctx context.Context, plan Plan) (results []Result, err error) {
	results = []Result{}
	if err := e.check(ctx, plan); err != nil {
		return results, err
	}
	x := &execution{Executor: e, plan: plan, byName: map[string]*node{}, scratch: scratch{parent: e.Scratch}}
	defer func() { err = errors.Join(err, x.scratch.remove()) }()
	for _, step := range plan.Steps {
		n := &node{Step: step, asked: slices.Contains(plan.Names, step.Asset)}
		x.nodes, x.byName[step.Asset] = append(x.nodes, n), n
	}
	err = x.run(ctx)
	for _, n := range x.nodes {
		if n.result.Path != "" {
			results = append(results, n.result)
		}
	}
	return results, err
}

// check checks what the builders have to build. A step that is pending counts:
// most of them turn out to be misses, hours later.
func (e *Executor) check(ctx context.Context, plan Plan) error {
	var misses, again []Step
	for _, step := range plan.Steps {
		if step.State != Hit {
			misses = append(misses, step)
		} else if e.Rebuild != nil && slices.Contains(plan.Names, step.Asset) {
			again = append(again, step)
		}
	}
	if misses = append(misses, again...); len(misses) == 0 {
		return nil
	}
	return e.Builder.Check(ctx, misses, max(1, e.Parallel))
}

// execution is the execution of one plan.
type execution struct {
	*Executor
	plan    Plan
	nodes   []*node // in the order of the plan
	byName  map[string]*node
	scratch scratch
}

// node is a step under way. One goroutine at a time works on it.
type node struct {
	Step
	asked       bool
	begun, done bool
	result      Result
	// damaged counts the stored artifacts of the step that turned out damaged.
	damaged int
	// lost is the digest of an artifact that the registry has but not whole, so
	// that the step is built whatever the store has; "" for none.
	lost string

	// tarballs are those in the scratch folder, for the builds of dependents: ""
	// is the main one. The first of these builds exports them.
	exporting sync.Mutex
	tarballs  map[string]string
}

// tiers is how many a store has: a damaged artifact can be met in each.
const tiers = 2

// run works on all nodes: it starts those whose dependencies are done, in order,
// and as many builds at once as may be.
func (x *execution) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		*node
		built bool
		err   error
	}
	finished := make(chan outcome)
	running, building := 0, 0
	var failed error
	for {
		for _, n := range x.nodes {
			if failed != nil || n.begun || !x.ready(n) {
				continue
			}
			if err := x.decide(ctx, n); err != nil {
				failed = fmt.Errorf("building %q: %w", n.Asset, err)
				cancel()
				break
			}
			builds := n.State == Miss || x.Rebuild != nil && n.asked
			if builds && building >= max(1, x.Parallel) {
				continue
			}
			if builds {
				building++
			}
			running++
			n.begun = true
			go func() { finished <- outcome{n, builds, x.work(ctx, n)} }()
		}
		if running == 0 {
			return failed
		}
		o := <-finished
		running--
		if o.built {
			building--
		}
		if o.err != nil && failed == nil {
			failed = o.err
			cancel()
		}
	}
}

func (x *execution) ready(n *node) bool {
	return !slices.ContainsFunc(n.Dependencies, func(name string) bool { return !x.byName[name].done })
}

// decide looks a pending node up, whose dependencies are done by now.
func (x *execution) decide(ctx context.Context, n *node) error {
	if n.State != Pending {
		return nil
	}
	digests := map[string]recipe.Digests{}
	for _, name := range n.Dependencies {
		digests[name] = Contents(x.byName[name].artifact)
	}
	var err error
	if n.Resolved, err = x.plan.resolver.Resolve(n.declared, x.plan.Arch, digests); err != nil {
		return err
	}
	n.artifact, n.Where, err = x.Store.Find(ctx, n.ref())
	switch {
	case err == nil:
		n.State = Hit
	case store.IsNotFound(err):
		n.State = Miss
	default:
		return err
	}
	return nil
}

// work builds a node that is a miss, puts the tarballs of one that was asked for
// in place, and publishes. A node that has to be looked up or built once more is
// left as not begun.
func (x *execution) work(ctx context.Context, n *node) error {
	cached := true
	if n.State == Miss {
		var err error
		if n.artifact, cached, err = x.obtain(ctx, n); err != nil {
			return fmt.Errorf("building %q: %w", n.Asset, err)
		}
	}
	if n.asked {
		err := x.export(ctx, n, cached)
		if store.IsNotFound(err) && n.damaged < tiers {
			// The store does not offer it again: its other tier may have it whole.
			n.damaged++
			n.State, n.begun = Pending, false
			return nil
		}
		if err == nil && x.Rebuild != nil {
			if err = x.rebuild(ctx, n); err != nil {
				return fmt.Errorf("building %q again: %w", n.Asset, err)
			}
		}
		if err != nil {
			return fmt.Errorf("building %q: %w", n.Asset, err)
		}
	}
	if err := x.publish(ctx, n); err != nil {
		return fmt.Errorf("publishing %q: %w", n.Asset, err)
	}
	return nil
}

// publish publishes the artifact of a node, which is done then. Where the
// registry's is not whole and the local store has none, it is built again: that
// one can be sent.
func (x *execution) publish(ctx context.Context, n *node) error {
	if x.Push {
		if n.lost != "" && n.lost != n.artifact.Digest {
			// The one in place was good, and other builds may know it by its digest.
			return fmt.Errorf("the registry's artifact is not whole, and building it again gave %s instead of %s: run the command once more", n.artifact.Digest, n.lost)
		}
		err := x.Store.Publish(ctx, n.artifact, x.Tags)
		if store.IsNotFound(err) && n.lost == "" {
			n.lost, n.State, n.begun = n.artifact.Digest, Miss, false
			return nil
		}
		if err != nil {
			return err
		}
	}
	n.done = true
	return nil
}

// obtain builds a node, unless another process that wants the same artifact has
// built it meanwhile.
func (x *execution) obtain(ctx context.Context, n *node) (found store.Artifact, cached bool, err error) {
	unlock, err := x.Store.Lock(ctx, n.ref())
	if err != nil {
		return found, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
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
	defer func() { err = errors.Join(err, os.RemoveAll(built.Work)) }()
	canonical, err := n.Resolved.Recipe.Canonical()
	if err != nil {
		return made, err
	}
	made, err = x.Store.Put(ctx, store.Put{Ref: n.ref(), Tarball: built.Tarball, Outputs: built.Outputs, Recipe: canonical, Record: built.Record})
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
			return Built{}, fmt.Errorf("exporting the dependency %q: %w", name, err)
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
		path := filepath.Join(x.Output, fileName(artifact.Asset, output))
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

// dependency puts the tarballs of a node, which is done, into the scratch
// folder. A damaged one is built again: the keys of its dependents hold only if
// that gives the same bytes.
func (x *execution) dependency(ctx context.Context, n *node) (map[string]string, error) {
	n.exporting.Lock()
	defer n.exporting.Unlock()
	if n.tarballs != nil {
		return n.tarballs, nil
	}
	tarballs, err := x.toScratch(ctx, n.artifact)
	for attempt := 1; store.IsNotFound(err) && attempt <= tiers; attempt++ {
		var again store.Artifact
		if again, _, err = x.obtain(ctx, n); err != nil {
			return nil, err
		}
		if again.Digest != n.artifact.Digest || !slices.Equal(again.Outputs, n.artifact.Outputs) {
			return nil, fmt.Errorf("its artifact was damaged, and building it again gave %s instead of %s: run the command once more", again.Digest, n.artifact.Digest)
		}
		tarballs, err = x.toScratch(ctx, again)
	}
	if err == nil {
		n.tarballs = tarballs
	}
	return tarballs, err
}

func (x *execution) toScratch(ctx context.Context, artifact store.Artifact) (map[string]string, error) {
	dir, err := x.scratch.path()
	if err != nil {
		return nil, err
	}
	tarballs := map[string]string{}
	for _, output := range outputs(artifact) {
		path := filepath.Join(dir, fileName(artifact.Asset, output))
		if _, err := x.Store.Export(ctx, artifact, output, path); err != nil {
			return nil, err
		}
		tarballs[output] = path
	}
	return tarballs, nil
}
