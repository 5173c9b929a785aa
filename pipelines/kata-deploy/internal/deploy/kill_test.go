package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/components"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/config"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/cri"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/host"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/node"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/plan"
)

// child is what a process of its own does, that a test kills.
type child struct {
	Root, Payload, API string
	Env                map[string]string
	Remove             bool
}

const childVariable = "KATA_DEPLOY_TEST_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runChild(text string) error {
	debug.SetMemoryLimit(40 << 20) // As main does.
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	api, err := node.New(&rest.Config{Host: c.API}, "one", 5*time.Second)
	if err != nil {
		return err
	}
	payload, err := components.Open(c.Payload, "x86_64")
	if err != nil {
		return err
	}
	wanted, err := config.Parse(config.Input{Env: c.Env, Arch: "x86_64", Shims: payload.Shims(), Custom: os.DirFS("/nonexistent")})
	if err != nil {
		return err
	}
	d := Deploy{Host: host.Host{Root: c.Root}, API: api}
	if c.Remove {
		return d.Cleanup(context.Background(), wanted.Target)
	}
	if err := d.Install(context.Background(), wanted, payload); err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	fmt.Println(string(status)) // Its peak memory is for the benchmark.
	return err
}

// What a kill leaves: the tree is one of the two installations, whole; a file outside is
// either's; what containerd imports exists. The next run ends in what it wants.
func TestKills(t *testing.T) {
	w := newWorld(t)
	w.component("qemu", map[string]string{"bin/qemu-system-x86_64": program, "share/big": noise()})
	server := w.serve()
	env := func(setup string) map[string]string {
		w.env["EXPERIMENTAL_SETUP_SNAPSHOTTER"] = setup
		return map[string]string{"NODE_NAME": "one", "DAEMONSET_NAMESPACE": "kube-system", "SHIMS_X86_64": "qemu", "EXPERIMENTAL_SETUP_SNAPSHOTTER": setup}
	}
	var known []plan.Manifest
	for _, setup := range []string{"", "nydus"} {
		must(t, w.install("EXPERIMENTAL_SETUP_SNAPSHOTTER", setup))
		state, err := host.Host{Root: w.root}.State(plan.Tree("/opt/kata"))
		must(t, err)
		known = append(known, *state.Current)
	}
	must(t, w.uninstall())
	runs, killed := 30, 0
	if testing.Short() {
		runs = 6
	}
	for i := range runs {
		c := child{Root: w.root, Payload: w.payload, API: server, Env: env([]string{"", "nydus"}[i%2]), Remove: i%5 == 4}
		w.api.daemons("kata-deploy")
		if c.Remove {
			w.api.daemons()
		}
		// No step between two installations is without a tree.
		absent := c.Remove || !w.installed()
		if w.kill(c, time.Duration(rand.Int64N(int64(160*time.Millisecond)))) {
			killed++
		}
		w.whole(known, absent)
		if t.Failed() {
			t.Fatalf("after run %d (removal: %v)", i, c.Remove)
		}
	}
	t.Logf("%d of %d runs were killed before their end", killed, runs)
	w.api.daemons("kata-deploy")
	must(t, w.install())
	w.whole(known, false)
	w.api.daemons()
	must(t, w.cleanup())
	if got := w.tree("/host/opt") + w.tree("/host/etc") + w.tree("/etc"); got != "\n\n/etc/containerd/config.toml\n" {
		t.Errorf("left behind:\n%s", got)
	}
}

// kill runs a child for some time, and reports whether it was killed.
func (w *world) kill(c child, after time.Duration) bool {
	w.t.Helper()
	text, err := json.Marshal(c)
	must(w.t, err)
	cmd := exec.CommandContext(w.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	var printed strings.Builder
	cmd.Stderr = &printed
	must(w.t, cmd.Start())
	timer := time.AfterFunc(after+40*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Wait()
	if err != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		w.t.Errorf("the run failed: %v\n%s", err, printed.String())
	}
	return err != nil
}

// installed reports whether the tree exists.
func (w *world) installed() bool { return files.Exists(filepath.Join(w.root, plan.Tree("/opt/kata"))) }

// whole checks what is on the node: the tree is a known installation, or absent if it may be.
func (w *world) whole(known []plan.Manifest, absent bool) {
	w.t.Helper()
	h := host.Host{Root: w.root}
	tree := plan.Tree("/opt/kata")
	state, err := h.State(tree)
	must(w.t, err)
	all := state.Earlier
	for _, m := range []*plan.Manifest{state.Current, state.Next} {
		if m != nil {
			all = append(all, *m)
		}
	}
	matches := absent && !w.installed()
	for _, m := range known {
		matches = matches || w.matches(m)
	}
	if !matches {
		w.t.Errorf("the tree is none of %d installations:\n%s", len(known), w.tree(tree))
	}
	main, err := cri.ParseMain([]byte(w.read("/etc/containerd/config.toml")))
	must(w.t, err)
	for _, file := range main.Imports {
		if !files.Exists(filepath.Join(w.root, plan.HostDir, file)) {
			w.t.Errorf("containerd imports %s, which does not exist", file)
		}
	}
	listed := map[string]bool{}
	for _, m := range all {
		for _, e := range m.Outside {
			listed[e.Path] = true
		}
	}
	for line := range strings.Lines(w.tree("/host/etc")) {
		if at, _, _ := strings.Cut(strings.TrimSpace(line), " -> "); at != "" && !listed[at] && !strings.Contains(filepath.Base(at), ".tmp") {
			w.t.Errorf("%s is in no manifest", at)
		}
	}
}

// matches reports whether the tree has exactly the files of a manifest.
func (w *world) matches(m plan.Manifest) bool {
	w.t.Helper()
	if len(m.Files) == 0 {
		return !files.Exists(filepath.Join(w.root, m.Tree))
	}
	for _, e := range m.Files {
		at := filepath.Join(w.root, m.Tree, e.Path)
		if sum, _, err := files.Hash(w.t.Context(), at); e.Link == "" && (err != nil || sum != e.SHA256) {
			return false
		}
	}
	return strings.Count(w.tree(m.Tree), "\n") == len(m.Files)
}
