package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/graph"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// matrix is that of a job of GitHub Actions. One with nothing in it is no error
// here, but GitHub refuses to start a job of it: a workflow skips that job.
type matrix struct {
	// Include is never nil.
	Include []matrixJob `json:"include"`
}

// matrixJob is one asset to build.
type matrixJob struct {
	Asset string       `json:"asset"`
	Arch  catalog.Arch `json:"arch"`
	// Stage counts from 1; see graph.Graph.
	Stage int `json:"stage"`
	// Runner is the label of the machines that can build it.
	Runner string `json:"runner"`
	// Secrets are the names of those that it is built with, never nil: a job gets
	// no others.
	Secrets []string `json:"secrets"`
}

// runners are the labels of machines by their architecture: those of GitHub, and
// those that Kata's CI has of others.
var runners = map[catalog.Arch]string{
	catalog.X86_64:  "ubuntu-24.04",
	catalog.AArch64: "ubuntu-24.04-arm",
	catalog.S390X:   "ubuntu-24.04-s390x",
	catalog.PPC64LE: "ubuntu-24.04-ppc64le",
	catalog.RISCV64: "riscv-builder",
}

type matrixOptions struct {
	arch    string
	stage   int
	anybody bool
}

func matrixCmd(a *app) *cobra.Command {
	var o matrixOptions
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Print the assets as the matrix of a job of GitHub Actions",
		Long: `Print the assets of an architecture as the matrix of a job of GitHub Actions, one
line of JSON, dependencies first: of one stage, or of all. The assets of a stage
depend on such of the stages before alone, so they can be built at the same time; a
stage that does not exist has none. Each has the label of a machine that builds it:
x86_64 where there are cross compilers, else one of its own architecture. What needs
a source whose commit nobody has written down is left out with all that depends on
it, and said; so is, with --anybody, what needs a secret.

In a step of GitHub Actions the output "matrix" of the step is set as well.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("stage") && o.stage < 1 {
				return usage(fmt.Errorf("--stage %d: stages count from 1", o.stage))
			}
			ws, err := a.open(cmd.Context(), "")
			if err != nil {
				return err
			}
			defer ws.Close()
			return runMatrix(a, o, ws)
		},
	}
	archFlag(cmd.Flags(), &o.arch)
	cmd.Flags().IntVar(&o.stage, "stage", 0, "print this stage alone, counted from 1 (default: all)")
	cmd.Flags().BoolVar(&o.anybody, "anybody", false, "leave out what needs a secret")
	return cmd
}

func runMatrix(a *app, o matrixOptions, ws *workspace.Workspace) error {
	m, left, err := newMatrix(ws, o)
	if err != nil {
		return err
	}
	for _, why := range left {
		fmt.Fprintf(a.Stderr, "left out: %s\n", why)
	}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.Stdout, "%s\n", line); err != nil {
		return err
	}
	return a.output("matrix", string(line))
}

// newMatrix returns the assets of a stage, or of all where it is 0, by stage and
// name, and a line for each that is left out of the architecture.
func newMatrix(ws *workspace.Workspace, o matrixOptions) (m matrix, left []string, err error) {
	names, arch, err := ws.Select(workspace.Selection{All: true, Arch: o.arch})
	if err != nil {
		return m, nil, err
	}
	closure, err := ws.Catalog.Closure(names, arch) // dependencies first
	if err != nil {
		return m, nil, err
	}
	var nodes []graph.Node
	jobs := map[string]matrixJob{}
	for _, asset := range closure {
		why, err := reserved(ws, asset, jobs, o.anybody)
		if err != nil {
			return m, nil, err
		}
		if why != "" {
			left = append(left, asset.Name+" "+why)
			continue
		}
		nodes = append(nodes, graph.Node{Name: asset.Name, Dependencies: asset.Dependencies})
		secrets := slices.Sorted(maps.Keys(asset.Secrets))
		jobs[asset.Name] = matrixJob{Asset: asset.Name, Arch: arch, Runner: runnerFor(asset, arch), Secrets: append([]string{}, secrets...)}
	}
	g, err := graph.New(nodes)
	if err != nil {
		return m, nil, err
	}
	m.Include = []matrixJob{}
	for _, node := range g.Nodes {
		if o.stage == 0 || node.Stage == o.stage {
			job := jobs[node.Name]
			job.Stage = node.Stage
			m.Include = append(m.Include, job)
		}
	}
	return m, left, nil
}

// reserved says why an asset, whose dependencies have jobs unless they are left out,
// cannot be built, or not by anybody; it returns "" where it can.
func reserved(ws *workspace.Workspace, asset catalog.Asset, jobs map[string]matrixJob, anybody bool) (string, error) {
	if anybody && len(asset.Secrets) > 0 {
		return "needs the secret " + strings.Join(slices.Sorted(maps.Keys(asset.Secrets)), ", "), nil
	}
	for _, name := range asset.Dependencies {
		if _, found := jobs[name]; !found {
			return "depends on " + name, nil
		}
	}
	for _, path := range slices.Sorted(maps.Values(asset.Sources)) {
		source, err := ws.Resolver.Versions.Source(path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", asset.Pos, err)
		}
		if !slices.ContainsFunc(source.Places, func(p versions.Place) bool { return p.Git == nil || p.Git.Ref == "" }) {
			return "needs the source " + path + ", whose commit nobody has written down", nil
		}
	}
	return "", nil
}

// runnerFor returns the label of the machines that can build an asset. Those of
// x86_64 are many, and what they build is what most desks build.
func runnerFor(asset catalog.Asset, arch catalog.Arch) string {
	if _, crosses := asset.Builder.Cross[arch]; crosses {
		return runners[catalog.X86_64]
	}
	return runners[arch]
}
