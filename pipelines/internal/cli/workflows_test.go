package cli

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/matrix"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// What follows holds .github/workflows to rules that actionlint, which `make lint`
// runs, does not know: those of this repository.

// repoRoot is its root, as the tests of this package see it.
const repoRoot = "../../.."

// workflow is as much of a workflow as the rules are about.
type workflow struct {
	On          map[string]yaml.Node `yaml:"on"`
	Permissions map[string]string    `yaml:"permissions"`
	Concurrency *struct {
		Group string `yaml:"group"`
	} `yaml:"concurrency"`
	Env  map[string]string      `yaml:"env"`
	Jobs map[string]workflowJob `yaml:"jobs"`

	root yaml.Node
}

type workflowJob struct {
	Needs       yaml.Node         `yaml:"needs"`
	If          string            `yaml:"if"`
	Uses        string            `yaml:"uses"`
	RunsOn      string            `yaml:"runs-on"`
	Container   string            `yaml:"container"`
	Timeout     int               `yaml:"timeout-minutes"`
	Permissions map[string]string `yaml:"permissions"`
	Secrets     map[string]string `yaml:"secrets"`
	With        map[string]string `yaml:"with"`
	Env         map[string]string `yaml:"env"`
	Steps       []workflowStep    `yaml:"steps"`
}

type workflowStep struct {
	If   string            `yaml:"if"`
	Uses string            `yaml:"uses"`
	Run  string            `yaml:"run"`
	With map[string]string `yaml:"with"`
	Env  map[string]string `yaml:"env"`
}

func parseWorkflow(data []byte) (workflow, error) {
	var w workflow
	if err := yaml.Unmarshal(data, &w.root); err != nil {
		return w, err
	}
	return w, w.root.Decode(&w)
}

// workflows returns those of the repository by the names of their files.
func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repoRoot, ".github", "workflows", "*.y*ml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows: %v", err)
	}
	all := map[string]workflow{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if all[filepath.Base(file)], err = parseWorkflow(data); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return all
}

func TestWorkflows(t *testing.T) {
	needMake(t)
	all := workflows(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, problem := range slices.Concat(startRules(all[name]), tokenRules(all[name]), pinRules(all[name]), lineRules(t.Context(), all[name])) {
			t.Errorf("%s: %s", name, problem)
		}
		for _, id := range slices.Sorted(maps.Keys(all[name].Jobs)) {
			job := all[name].Jobs[id]
			called, local := strings.CutPrefix(job.Uses, "./.github/workflows/")
			if _, found := all[called]; local && !found {
				t.Errorf("%s: job %s calls %s, which is not there", name, id, job.Uses)
			}
		}
	}
}

// called reports whether only other workflows start this one.
func (w workflow) called() bool {
	_, called := w.On["workflow_call"]
	return called && len(w.On) == 1
}

// ofForks reports whether a fork can start the workflow.
func (w workflow) ofForks() bool { _, pull := w.On["pull_request"]; return pull }

// TestWorkflowStages: every stage that the catalog has is built, after those
// before it, and skipped by the line that the verb matrix prints for none.
func TestWorkflowStages(t *testing.T) {
	tree, err := workspace.Open(t.Context(), workspace.Options{Root: repoRoot, CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	stages := 0
	for _, arch := range catalog.Arches() {
		m, _, err := matrix.New(tree.Catalog, tree.Resolver, matrix.Options{Arch: arch})
		if err != nil {
			t.Fatal(err)
		}
		for _, job := range m.Include {
			stages = max(stages, job.Stage)
		}
	}
	if stages == 0 {
		t.Fatal("the catalog has no stage")
	}
	build := workflows(t)["build.yml"]
	for n := 1; n <= stages; n++ {
		id := fmt.Sprintf("stage-%d", n)
		job, found := build.Jobs[id]
		if !found || !strings.Contains(job.If, "needs.matrix.outputs."+id+` != '{"include":[]}'`) || !strings.Contains(job.With["matrix"], "needs.matrix.outputs."+id+" ") {
			t.Errorf("the catalog has %d stages, and build.yml has no job %s for the matrix of that: %+v", stages, id, job)
		}
		for name, value := range build.Jobs["stage-1"].With {
			if name != "matrix" && job.With[name] != value {
				t.Errorf("build.yml: job %s has %s: %q, and stage-1 has %q", id, name, job.With[name], value)
			}
		}
	}
}

// TestWorkflowProofs: nothing is pushed before verify passed, and no release follows a
// build that failed.
func TestWorkflowProofs(t *testing.T) {
	all := workflows(t)
	pushes := 0
	for name, w := range all {
		for id, job := range w.Jobs {
			verified := map[string]bool{}
			for _, step := range job.Steps {
				if strings.Contains(step.Run, " verify ") {
					verified[step.If] = true
				}
				if strings.Contains(step.Run, "build-asset") && strings.Contains(step.Run, "--push") {
					t.Errorf("%s: job %s builds and pushes in one step: verify goes between", name, id)
				}
				if !strings.Contains(step.Run, "cache push") {
					continue
				}
				pushes++
				if !verified["${{ !matrix.root }}"] || !verified["${{ matrix.root }}"] || strings.Contains(step.If, "()") {
					t.Errorf("%s: job %s pushes what was not verified, in `%s` if %q", name, id, step.Run, step.If)
				}
			}
		}
	}
	if pushes == 0 {
		t.Error("no workflow pushes artifacts")
	}
	release := all["release.yml"].Jobs["release"]
	for _, function := range []string{"always()", "cancelled()", "failure()"} {
		if strings.Contains(release.If, function) {
			t.Errorf("release.yml releases whatever the build did: %s", release.If)
		}
	}
	if release.Needs.Value != "build" {
		t.Errorf("release.yml does not wait for the build: %+v", release.Needs)
	}
	// Otherwise an asset that does not build could not be left out of a release.
	if without := all["release.yml"].Jobs["build"].With["without"]; without != "${{ inputs.without }}" {
		t.Errorf("release.yml builds what the release leaves out: %q", without)
	}
}

// TestWorkflowSecrets: what the catalog declares reaches the job that builds.
func TestWorkflowSecrets(t *testing.T) {
	tree, err := workspace.Open(t.Context(), workspace.Options{Root: repoRoot, CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	stage := workflows(t)["stage.yml"]
	for _, asset := range tree.Catalog.Assets {
		for _, name := range slices.Sorted(maps.Keys(asset.Secrets)) {
			want := fmt.Sprintf("${{ contains(matrix.secrets, '%s') && secrets.%s || '' }}", name, name)
			if !slices.ContainsFunc(stage.Jobs["build"].Steps, func(s workflowStep) bool { return s.Env[name] == want }) {
				t.Errorf("%s needs the secret %s: no step of stage.yml has it as %s", asset.Name, name, want)
			}
		}
	}
}

// TestLines: the calls of verbs that the Makefile and the READMEs have are such as
// the program takes.
func TestLines(t *testing.T) {
	needMake(t)
	if err := checkMake(t.Context(), []string{"check", "kernel-debug-tarball", "kata-tarball", "merge"}); err != nil {
		t.Errorf("Makefile: %v", err)
	}
	seen := 0
	err := filepath.WalkDir(repoRoot, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || path.Ext(file) != ".md" {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			line, _, _ = strings.Cut(line, " #")
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "go run ./pipelines ") {
				continue
			}
			seen++
			if err := checkLine(t.Context(), line, nil); err != nil {
				t.Errorf("%s: %s: %v", file, line, err)
			}
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Errorf("%d lines in the READMEs, %v", seen, err)
	}
}
