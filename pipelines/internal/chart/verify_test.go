package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
)

// kubectl answers as the files of its folder say: the phases of the pod, one a line for
// each attempt, and how often the API server does not answer.
const kubectl = `#!/bin/sh
cd "$STATE"
echo "$@" >>calls
line() { head -n 1 "$1"; tail -n +2 "$1" >"$1.rest"; mv "$1.rest" "$1"; }
case "$*" in
*rollout*) [ -z "$(line failures)" ] || exit 1 ;;
*"get daemonset kata-deploy"*) echo 2 ;;
*"get nodes --selector"*) cat nodes ;;
*status.phase*) line phases ;;
*--output=name*) echo pod/proof ;;
esac
`

// The job of the chart retries what the restart of a container runtime breaks, and fails
// when it has to.
func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name, failures, nodes, phases, timeout string
		ok                                     bool
		want                                   string
		applied                                int
	}{
		{"at once", "", "node/a\nnode/b\n", "Pending\nRunning\nSucceeded\n", "60", true, "verified in attempt 1", 1},
		{"the API server is away", "1\n1\n", "node/a\nnode/b\n", "Succeeded\n", "60", true, "verified in attempt 1", 1},
		{"the pod fails once", "", "node/a\nnode/b\n", "Failed\nSucceeded\n", "60", true, "verified in attempt 2", 2},
		{"the pod fails always", "", "node/a\nnode/b\n", "Failed\nFailed\nFailed\n", "60", false, "error: the pod did not succeed in 3 attempts", 3},
		{"a node without Kata", "", "node/a\n", "Succeeded\n", "0", false, "error: all nodes are labeled: not after 0 seconds", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range map[string]string{"kubectl": kubectl, "sleep": "#!/bin/sh\n", "failures": test.failures, "nodes": test.nodes, "phases": test.phases, "calls": ""} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			command := exec.CommandContext(t.Context(), "sh", "../../../"+chart.Dir+"/verify.sh")
			command.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "STATE="+dir,
				"NAMESPACE=kube-system", "DAEMONSET=kata-deploy", "DAEMONSET_TIMEOUT="+test.timeout, "POD_NAMESPACE=default", "TIMEOUT=60", "RETRIES=2")
			output, err := command.CombinedOutput()
			if (err == nil) != test.ok || !strings.Contains(string(output), test.want) {
				t.Errorf("it ended with %v, and printed:\n%s\nwant %q", err, output, test.want)
			}
			calls, err := os.ReadFile(filepath.Join(dir, "calls"))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(string(calls), " apply "); got != test.applied {
				t.Errorf("it started the pod %d times, want %d:\n%s", got, test.applied, calls)
			}
			if test.ok && !strings.HasSuffix(strings.TrimSpace(string(calls)), "delete --filename=/verify/pod.yaml --ignore-not-found --wait=true --timeout=60s") {
				t.Errorf("it leaves the pod:\n%s", calls)
			}
		})
	}
}
