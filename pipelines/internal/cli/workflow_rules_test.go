package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// startRules are about how often and how long a workflow runs. One that is called
// is part of a run that has a group already, and would wait for itself.
func startRules(w workflow) (problems []string) {
	if (w.Concurrency == nil) != w.called() {
		problems = append(problems, "want a concurrency group where it starts by itself, and none where it is called")
	}
	if w.Concurrency != nil && strings.Contains(w.Concurrency.Group, "head_ref") {
		problems = append(problems, "its concurrency group is one that a fork can name")
	}
	for _, trigger := range []string{"pull_request_target", "workflow_run", "issue_comment"} {
		if _, found := w.On[trigger]; found {
			problems = append(problems, trigger+" runs what a fork wrote with this repository's rights")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.Jobs)) {
		job := w.Jobs[id]
		if job.Uses == "" && (job.Timeout < 1 || job.Timeout > 360) {
			problems = append(problems, "job "+id+" has no timeout-minutes")
		}
	}
	return problems
}

// trusted is in the condition of every job that may write: it keeps copies of the
// repository out.
const trusted = "github.repository == 'kata-containers/kata-pipelines'"

// tokenRules are about what a job may do, and what it is told.
func tokenRules(w workflow) (problems []string) {
	if !w.called() && (w.Permissions == nil || len(w.Permissions) > 0) {
		problems = append(problems, "want `permissions: {}`, so that each job says what it needs")
	}
	for _, id := range slices.Sorted(maps.Keys(w.Jobs)) {
		job := w.Jobs[id]
		// A job of a called workflow may leave them to its caller, which may have
		// more or less to give.
		if job.Permissions == nil && !w.called() {
			problems = append(problems, "job "+id+" declares no permissions")
		}
		writes := slices.Contains(slices.Collect(maps.Values(job.Permissions)), "write")
		if w.ofForks() && (writes || len(job.Secrets) > 0 || job.With["push"] != "" && job.With["push"] != "false") {
			problems = append(problems, "job "+id+" of a pull request may write, or push, or has a secret")
		}
		if writes && !w.called() && !strings.Contains(job.If, trusted) {
			problems = append(problems, "job "+id+" may write, and its condition lacks "+trusted)
		}
		for _, step := range job.Steps {
			if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != "false" {
				problems = append(problems, "job "+id+" keeps the token of its checkout: want persist-credentials: false")
			}
		}
	}
	if w.ofForks() && strings.Contains(text(w.root), "secrets.") {
		problems = append(problems, "it names a secret, and forks start it")
	}
	return problems
}

func text(node yaml.Node) string {
	data, err := yaml.Marshal(&node)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

var (
	pinnedAction  = regexp.MustCompile(`^[\w-]+/[\w./-]+@[0-9a-f]{40}$`)
	pinnedImage   = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)
	versionRemark = regexp.MustCompile(`^# v\d+\.\d+\.\d+$`)
)

// pinRules are about whose programs run: those of one commit, or of one digest.
func pinRules(w workflow) (problems []string) {
	var visit func(node *yaml.Node)
	visit = func(node *yaml.Node) {
		for i := 0; node.Kind == yaml.MappingNode && i < len(node.Content); i += 2 {
			value := node.Content[i+1]
			if node.Content[i].Value != "uses" || strings.HasPrefix(value.Value, "./") {
				continue
			}
			if !pinnedAction.MatchString(value.Value) || !versionRemark.MatchString(value.LineComment) {
				problems = append(problems, fmt.Sprintf("line %d: %s %s: want owner/name@<40 digits> # vX.Y.Z", value.Line, value.Value, value.LineComment))
			}
		}
		for _, child := range node.Content {
			visit(child)
		}
	}
	visit(&w.root)
	for _, id := range slices.Sorted(maps.Keys(w.Jobs)) {
		job := w.Jobs[id]
		if job.Container != "" && !pinnedImage.MatchString(job.Container) {
			problems = append(problems, "job "+id+" runs in "+job.Container+": want it by digest")
		}
	}
	return problems
}

// setUp are commands of a GitHub runner, in addition to those of this repository.
var setUp = regexp.MustCompile(`^(sudo )?apt-get (update|install --yes --no-install-recommends( [a-z0-9.+-]+)+)$`)

// lineRules are about the commands: one a step, which a desk can run as well.
func lineRules(ctx context.Context, w workflow) (problems []string) {
	for _, id := range slices.Sorted(maps.Keys(w.Jobs)) {
		job := w.Jobs[id]
		for _, step := range job.Steps {
			line := strings.TrimSpace(step.Run)
			if line == "" || setUp.MatchString(line) {
				continue
			}
			env := map[string]string{}
			for _, level := range []map[string]string{w.Env, job.Env, step.Env} {
				maps.Copy(env, level)
			}
			if err := checkLine(ctx, line, env); err != nil {
				problems = append(problems, fmt.Sprintf("job %s: %s: %v", id, line, err))
			}
		}
	}
	return problems
}

var (
	shellVariable = regexp.MustCompile(`\$\{?(\w+)\}?`)
	shellWord     = regexp.MustCompile(`"[^"]*"|[^\s"]+("[^"]*")?`)
)

// samples are values for variables that get theirs from GitHub.
var samples = map[string]string{"ARCH": "x86_64", "ASSET": "kernel", "PUSH": "true", "ANYBODY": "true", "DRAFT": "true", "WITHOUT": "kernel-debug", "REQUIRE": "boot", "BEFORE_BUILD": "true", "CACHE": "example.org/cache", "COMMIT": "c", "REPOSITORY": "example.org/a", "IMAGE": "example.org/a:b"}

// checkLine checks that a line is one call of a verb, with flags that it has, or
// of make, with targets that there are. Env has the variables of the line.
func checkLine(ctx context.Context, line string, env map[string]string) error {
	if strings.ContainsAny(line, "\n;|&<>`\\'") || strings.Contains(line, "$(") {
		return errors.New("want one plain command")
	}
	if strings.Contains(line, "${{") {
		return errors.New("what GitHub puts into a script is run: give it by env")
	}
	words := shellWord.FindAllString(line, -1)
	for i, word := range words {
		for _, match := range shellVariable.FindAllStringSubmatch(word, -1) {
			value, set := env[match[1]]
			if !set {
				return fmt.Errorf("$%s is not in its env", match[1])
			}
			if !strings.Contains(word, `"`) {
				return fmt.Errorf("$%s is not quoted", match[1])
			}
			if strings.Contains(value, "${{") {
				value = samples[match[1]]
			}
			word = strings.Replace(word, match[0], value, 1)
		}
		words[i] = strings.ReplaceAll(word, `"`, "")
	}
	// Some checks need root; the program is compiled without it.
	if len(words) > 4 && words[2] == "-exec" && words[3] == "sudo --preserve-env" {
		words = slices.Delete(words, 2, 4)
	}
	switch {
	case len(words) > 1 && words[0] == "make":
		return checkMake(ctx, words[1:])
	case len(words) > 3 && slices.Equal(words[:3], []string{"go", "run", "./pipelines"}):
		return checkVerb(words[3:])
	}
	return errors.New("want go run ./pipelines VERB, or make TARGET")
}

// checkVerb parses the arguments of the program as it would itself.
func checkVerb(args []string) error {
	root := rootCmd(&app{Process: Process{Getenv: func(string) string { return "" }}})
	cmd, rest, err := root.Find(args)
	switch {
	case err != nil:
		return err
	case cmd == root || cmd.HasSubCommands() && !strings.Contains(cmd.Use, " "):
		return fmt.Errorf("%s is not a whole verb", strings.Join(args, " "))
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups(), cmd.ValidateArgs(cmd.Flags().Args()))
}

// needMake skips a test that asks make on a machine that has none.
func needMake(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skipf("no make on this machine: apt-get install make (%v)", err)
	}
}

// checkMake asks make what it would do, and checks the lines of it that are calls
// of a verb.
func checkMake(ctx context.Context, targets []string) error {
	cmd := exec.CommandContext(ctx, "make", append([]string{"--dry-run", "--no-print-directory", "-C", repoRoot}, targets...)...)
	// The make that runs these tests is none of this one's business.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "MAKE") || strings.HasPrefix(variable, "MFLAGS")
	})
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	for line := range strings.Lines(string(out)) {
		for call := range strings.SplitSeq(strings.TrimSpace(line), " && ") {
			if strings.HasPrefix(call, "go run ./pipelines ") {
				if err := checkLine(ctx, call, nil); err != nil {
					return fmt.Errorf("%s: %w", call, err)
				}
			}
		}
	}
	return nil
}

// TestWorkflowRules breaks each rule once: a rule that lets that pass is none.
func TestWorkflowRules(t *testing.T) {
	needMake(t)
	const good = `
on: {push: {branches: [main]}}
permissions: {}
concurrency: {group: main}
env: {CACHE: example.org/cache}
jobs:
  a:
    if: github.repository == 'kata-containers/kata-pipelines'
    runs-on: ubuntu-24.04
    container: debian:trixie@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
    timeout-minutes: 5
    permissions: {packages: write}
    env: {ARCH: "${{ matrix.arch }}"}
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with: {persist-credentials: false}
      - run: apt-get install --yes --no-install-recommends git
      - run: go run ./pipelines plan --all --arch "$ARCH" --cache "$CACHE"
  b:
    permissions: {}
    uses: ./.github/workflows/a.yml
`
	for _, test := range []struct{ from, to, want string }{
		{"", "", ""},
		{"concurrency: {group: main}", "", "want a concurrency group"},
		{"group: main", "group: '${{ github.head_ref }}'", "a fork can name"},
		{"on: {push: {branches: [main]}}", "on: {workflow_call: {}}", "want a concurrency group"},
		{"on: {push: ", "on: {pull_request_target: ", "this repository's rights"},
		{"timeout-minutes: 5", "", "no timeout-minutes"},
		{"permissions: {}\nconcurrency", "concurrency", "want `permissions: {}`"},
		{"permissions: {}\nconcurrency", "permissions: {contents: write}\nconcurrency", "want `permissions: {}`"},
		{"permissions: {packages: write}", "", "job a declares no permissions"},
		{"    permissions: {}\n    uses", "    uses", "job b declares no permissions"},
		{"on: {push: {branches: [main]}}", "on: {pull_request: {}}", "may write"},
		{"uses: ./.github", "secrets: {A: x}\n    if: true\n    uses: ./.github", ""},
		{"if: github.repository == 'kata-containers/kata-pipelines'", "", "its condition lacks"},
		{"persist-credentials: false", "fetch-depth: 1", "keeps the token"},
		{"@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7.0.1 # v7.0.1", "want owner/name@"},
		{" # v7.0.1", "", "want owner/name@"},
		{" # v7.0.1", " # v7", "want owner/name@"},
		{"@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132", "", "want it by digest"},
		{"apt-get install --yes", "apt-get install --allow-unauthenticated --yes", "want go run"},
		{"plan --all", "plan --everything", "unknown flag: --everything"},
		{"pipelines plan", "pipelines plam", "plam"},
		{"plan --all", "cache", "not a whole verb"},
		{"plan --all", "explain a b", "accepts 1 arg"},
		{"plan --all", "engine start --install=maybe", "maybe"},
		{`"$ARCH"`, `$ARCH`, "not quoted"},
		{`"$ARCH"`, `"$ARCHES"`, "not in its env"},
		{`"$ARCH"`, `"${{ matrix.arch }}"`, "give it by env"},
		{`--arch "$ARCH"`, `| tee plan`, "want one plain command"},
		{"go run ./pipelines plan", "./plan.sh plan", "want go run"},
		{`go run ./pipelines plan --all --arch "$ARCH" --cache "$CACHE"`, "make lint check", ""},
		{`go run ./pipelines plan --all --arch "$ARCH" --cache "$CACHE"`, "make lynt", "lynt"},
	} {
		if !strings.Contains(good, test.from) {
			t.Errorf("%q is not in the workflow", test.from)
		}
		w, err := parseWorkflow([]byte(strings.Replace(good, test.from, test.to, 1)))
		if err != nil {
			t.Fatal(err)
		}
		problems := slices.Concat(startRules(w), tokenRules(w), pinRules(w), lineRules(t.Context(), w))
		got := strings.Join(problems, "\n")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%q for %q: got %q, want %q", test.to, test.from, got, test.want)
		}
	}
}

// TestWorkflowOfForks has what only the start by a fork makes wrong.
func TestWorkflowOfForks(t *testing.T) {
	const good = `
on: {pull_request: {}}
permissions: {}
concurrency: {group: main}
jobs:
  a:
    permissions: {contents: read}
    uses: ./.github/workflows/a.yml
    with: {push: false}
`
	for _, test := range []struct{ from, to, want string }{
		{"", "", ""},
		{"push: false", "push: true", "may write"},
		{"contents: read", "packages: write", "may write"},
		{"with:", "secrets: {A: b}\n    with:", "may write"},
		{"push: false", "key: '${{ secrets.KEY }}'", "names a secret"},
	} {
		w, err := parseWorkflow([]byte(strings.Replace(good, test.from, test.to, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(tokenRules(w), "\n"); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%q for %q: got %q, want %q", test.to, test.from, got, test.want)
		}
	}
}
