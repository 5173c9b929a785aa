package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Executor executes plans.
type Executor struct {
	Store   Store
	Builder Builder
	// Rebuild, if it is set, builds each requested asset again without any cache,
	// and Execute compares the bytes.
	Rebuild Builder
	// Push publishes each artifact, dependencies included, once it is in place,
	// and points the moving tags at it.
	Push bool
	Tags []string
	// Parallel is how many builds may run at once; less than 1 counts as 1.
	Parallel int
	// Output is the folder for the tarballs of the requested assets.
	Output string
}

// Execute puts the tarballs of the plan's requested assets into Output. It first
// checks everything that it has to build, and reports all problems at once.
// Builds start in the order of the plan, each as soon as its dependencies are in
// place. Execute stops at the first failure, whose error names the asset; the
// results, never nil, are the assets that are in place.
func (e *Executor) Execute(ctx context.Context, plan Plan) (results []Result, err error) {
	results = []Result{}
	if err := e.check(ctx, plan); err != nil {
		return results, err
	}
	x := &execution{Executor: e, plan: plan, byName: map[string]*node{}, finished: make(chan outcome)}
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

// check checks everything that may have to be built. It includes
// pending steps, since most of them become builds hours later.
func (e *Executor) check(ctx context.Context, plan Plan) error {
	var builds []Step
	var problems []error
	for _, step := range plan.Steps {
		switch {
		case step.State == OutOfReach:
			problems = append(problems, fmt.Errorf("building %q: %s", step.Asset, step.Why))
		case step.State != Hit, e.Rebuild != nil && slices.Contains(plan.Names, step.Asset):
			builds = append(builds, step)
		}
	}
	if len(builds) > 0 {
		problems = append(problems, e.Builder.Check(ctx, builds, max(1, e.Parallel)))
	}
	return errors.Join(problems...)
}

// execution is the execution of one plan.
type execution struct {
	*Executor
	plan   Plan
	nodes  []*node // in the order of the plan
	byName map[string]*node

	finished          chan outcome
	running, building int
}

// node is a step under way. One goroutine at a time works on it.
type node struct {
	Step
	asked, builds bool
	begun, done   bool
	result        Result
	// damaged counts the stored artifacts of the step that turned out damaged.
	damaged int
	// lost is the digest of an artifact that is incomplete in the registry, so that
	// the step is built whatever the store has; "" for none.
	lost string

	// needed is held while one of the dependents finds the tarballs of the node.
	needed sync.Mutex
}

// tiers is how many tiers a store has: each can have a damaged artifact.
const tiers = 2

// outcome is the outcome of work on a node.
type outcome struct {
	*node
	again State
	err   error
}

// run works on all nodes, up to the first failure.
func (x *execution) run(ctx context.Context) (failed error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		if failed == nil {
			failed = x.start(ctx)
		}
		if failed != nil {
			cancel()
		}
		if x.running == 0 {
			return failed
		}
		o := <-x.finished
		x.running--
		if o.builds {
			x.building--
		}
		switch {
		case o.err != nil:
			failed = cmp.Or(failed, o.err)
		case o.again != "":
			o.State, o.begun = o.again, false
		default:
			o.done = true
		}
	}
}

// start starts the work on the nodes whose dependencies are done, in order, with at
// most Parallel builds at once.
func (x *execution) start(ctx context.Context) error {
	for _, n := range x.nodes {
		if n.begun || slices.ContainsFunc(n.Dependencies, func(name string) bool { return !x.byName[name].done }) {
			continue
		}
		if err := x.decide(ctx, n); err != nil {
			return fmt.Errorf("building %q: %w", n.Asset, err)
		}
		n.builds = n.State == Miss || x.Rebuild != nil && n.asked
		if n.builds && x.building >= max(1, x.Parallel) {
			continue
		}
		if n.builds {
			x.building++
		}
		x.running++
		n.begun = true
		go func() {
			again, err := x.work(ctx, n)
			x.finished <- outcome{n, again, err}
		}()
	}
	return nil
}

// decide looks up a pending node, whose dependencies are done now.
func (x *execution) decide(ctx context.Context, n *node) error {
	if n.State != Pending {
		return nil
	}
	digests := map[string]recipe.Digests{}
	for _, name := range n.Dependencies {
		digests[name] = Contents(x.byName[name].artifact)
	}
	n.PendingOn = nil
	return n.lookUp(ctx, x.plan.resolver, x.Store, digests)
}
