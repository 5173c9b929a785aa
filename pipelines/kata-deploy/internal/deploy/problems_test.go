package deploy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// A runtime that does not start with the new files gets the former ones back.
func TestRuntimeDoesNotComeBack(t *testing.T) {
	w := newWorld(t)
	before := w.tree("/etc") + w.tree("/host/opt")
	w.unit("broken", "containerd", true)
	err := w.install()
	if err == nil || !strings.Contains(err.Error(), "the former installation is back") {
		t.Errorf("the error is %v", err)
	}
	if got := w.tree("/etc") + w.tree("/host/opt"); got != before {
		t.Errorf("the node is not as before:\n%s", got)
	}
	w.unit("broken", "containerd", false)
	must(t, w.install())
	config, tree := w.read("/etc/containerd/config.toml"), w.tree("/host/opt")
	w.unit("broken", "containerd", true)
	if err := w.install("SHIMS_X86_64", "clh", "MULTI_INSTALL_SUFFIX", ""); err == nil {
		t.Error("a runtime that does not come back is no error")
	}
	if w.tree("/host/opt") != tree || w.read("/etc/containerd/config.toml") != config || strings.Contains(w.read("/host/opt/kata.manifest.json"), `"next"`) {
		t.Errorf("the former installation is not back:\n%s", w.tree("/host/opt"))
	}
	if _, labelled := w.api.labels["katacontainers.io/kata-runtime"]; !labelled {
		t.Error("the label is gone")
	}
}

// The services that came with an installation go with it, and those of the former one run
// its programs again.
func TestServicesGoBack(t *testing.T) {
	w := newWorld(t)
	nydus := []string{"EXPERIMENTAL_SETUP_SNAPSHOTTER", "nydus"}
	const unit = "nydus-for-kata-tee.service"
	w.unit("broken", "containerd", true)
	if err := w.install(nydus...); err == nil {
		t.Fatal("a runtime that does not come back is no error")
	}
	if got, want := w.called(), "daemon-reload; restart "+unit+"; restart containerd; daemon-reload; restart containerd; stop "+unit; got != want {
		t.Errorf("systemctl was asked: %s, want %s", got, want)
	}
	w.unit("broken", "containerd", false)
	must(t, w.install(nydus...))
	w.called()
	changed := nydusFiles(t)
	changed["nydus-for-kata-tee/containerd-nydus-grpc"] += "2"
	w.component("nydus-for-kata-tee", changed)
	w.unit("broken", unit, true)
	if err := w.install(nydus...); err == nil {
		t.Fatal("a snapshotter that does not come back is no error")
	}
	if got, want := w.called(), "daemon-reload; restart "+unit+"; daemon-reload; restart "+unit; got != want {
		t.Errorf("systemctl was asked: %s, want %s", got, want)
	}
}

// An installation that is asked to stop has not failed: it writes no event.
func TestStopIsNoFailure(t *testing.T) {
	w := newWorld(t)
	c, payload, err := w.config()
	must(t, err)
	// Another process has the lock, so the installation waits.
	unlock, err := files.TryLock(filepath.Join(w.root, "host/run/kata-deploy/opt-kata.lock"))
	must(t, err)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	d, _ := w.deploy()
	if err := d.Install(ctx, c, payload); !errors.Is(err, context.DeadlineExceeded) || len(w.api.events) > 0 {
		t.Errorf("got %v, with the events %v", err, w.api.events)
	}
}

func TestTheAPIFails(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		answers []int
		want    string
	}{
		"overloaded":      {"GET /api/v1/nodes/one", []int{429, 500, 0}, ""},
		"conflict":        {"PATCH /api/v1/nodes/one", []int{409, 409}, ""},
		"forbidden":       {"PATCH /api/v1/nodes/one", []int{403}, "answer 403"},
		"event forbidden": {"POST /api/v1/namespaces/kube-system/events", []int{403}, ""},
		"always":          {"GET /api/v1/nodes/one", slices.Repeat([]int{500}, 100), "reading the node one: no answer within 5s: answer 500"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.api.fail[c.request] = c.answers
			if err := w.install(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world)
		env    []string
		want   string
	}{
		"no such node":   {env: nil, change: func(w *world) { w.env["NODE_NAME"] = "two" }, want: "NODE_NAME must be the name of a node of this cluster"},
		"unknown shim":   {env: []string{"SHIMS_X86_64", "qemu qemu-sev"}, want: `SHIMS_X86_64 names the shim "qemu-sev", which this payload does not have for x86_64: it has clh, qemu, qemu-runtime-rs`},
		"debug":          {env: []string{"DEBUG", "yes"}, want: `DEBUG is "yes": want true or false`},
		"prefix":         {env: []string{"INSTALLATION_PREFIX", "srv"}, want: `INSTALLATION_PREFIX is "srv": want a path that begins with /`},
		"bad suffix":     {env: []string{"MULTI_INSTALL_SUFFIX", "Blue"}, want: `MULTI_INSTALL_SUFFIX is "Blue": want at most 32 lower-case letters`},
		"mapping":        {env: []string{"SNAPSHOTTER_HANDLER_MAPPING_X86_64", "qemu:nydus:x"}, want: `SNAPSHOTTER_HANDLER_MAPPING_X86_64 has the entry "qemu:nydus:x": want SHIM:VALUE,SHIM:VALUE`},
		"mapping twice":  {env: []string{"SNAPSHOTTER_HANDLER_MAPPING_X86_64", "qemu:nydus,qemu:erofs"}, want: "has two entries for qemu: keep one"},
		"mapping shim":   {env: []string{"SNAPSHOTTER_HANDLER_MAPPING_X86_64", "clh:nydus"}, want: `names the shim "clh", which is not among those to install: qemu`},
		"pull type":      {env: []string{"PULL_TYPE_MAPPING_X86_64", "qemu:magic"}, want: `PULL_TYPE_MAPPING_X86_64 has the pull type "magic" for qemu: want guest-pull or default`},
		"snapshotter":    {env: []string{"EXPERIMENTAL_SETUP_SNAPSHOTTER", "stargz"}, want: `EXPERIMENTAL_SETUP_SNAPSHOTTER names the snapshotter "stargz"`},
		"host os":        {env: []string{"HOST_OS", "plan9"}, want: `HOST_OS is "plan9": want cbl-mariner or nothing`},
		"annotations":    {env: []string{"ALLOWED_HYPERVISOR_ANNOTATIONS_X86_64", "clh:x"}, want: `ALLOWED_HYPERVISOR_ANNOTATIONS_X86_64 names the shim "clh"`},
		"proxy":          {env: []string{"AGENT_HTTPS_PROXY", `http://"`}, want: "AGENT_HTTPS_PROXY has a space, a quote or a backslash"},
		"default":        {env: []string{"DEFAULT_SHIM_X86_64", "clh"}, want: `DEFAULT_SHIM_X86_64 names the shim "clh"`},
		"no custom list": {env: []string{"CUSTOM_RUNTIMES_ENABLED", "true"}, want: "CUSTOM_RUNTIMES_ENABLED is true, but there is no list of runtimes"},
		"old containerd": {change: func(w *world) { w.api.runtime = "containerd://1.6.38" }, want: "containerd 1.6.38 is too old: kata-deploy needs 1.7.0 or newer"},
		"old erofs": {change: func(w *world) { w.api.runtime = "containerd://2.1.5" }, env: []string{"EXPERIMENTAL_SETUP_SNAPSHOTTER", "erofs"},
			want: "containerd 2.1.5 is too old for the snapshotter erofs: it needs 2.2.0 or newer"},
		"old several": {change: func(w *world) { w.api.runtime = "containerd://2.2.1" }, env: []string{"EXPERIMENTAL_SETUP_SNAPSHOTTER", "nydus,nydus-host-share"},
			want: "containerd 2.2.1 is too old for several snapshotters (nydus-for-kata-tee, nydus-for-kata-tee-host-share): it needs 2.2.2 or newer"},
		"suffix": {change: func(w *world) { w.api.runtime = "containerd://1.7.29" }, env: []string{"MULTI_INSTALL_SUFFIX", "blue"},
			want: "containerd 1.7.29 serves one installation only: MULTI_INSTALL_SUFFIX needs 2.0.0 or newer"},
		"docker":     {change: func(w *world) { w.api.runtime = "docker://27.0.0" }, want: `the node reports the container runtime "docker://27.0.0": kata-deploy sets up containerd and CRI-O`},
		"no version": {change: func(w *world) { w.write("/etc/containerd/config.toml", "disabled_plugins = []\n") }, want: "/etc/containerd/config.toml has no version = 2 or 3 at its top"},
		"no import": {change: func(w *world) { w.unit("active", "k3s", true) }, want: "/etc/containerd/config.toml, which k3s made, does not import config-v3.toml.d: " +
			`add imports = ["<that folder>/config-v3.toml.d/*.toml"] to the top of config-v3.toml.tmpl in the same folder and restart k3s`},
		"other import": {change: func(w *world) {
			w.unit("active", "k3s", true)
			w.mount("/srv/k3s")
			w.write("/etc/containerd/config.toml", "version = 3\nimports = [\"/nowhere/config-v3.toml.d/*.toml\", \"/srv/k3s/config.toml.d/*.toml\"]\n")
		}, want: "/etc/containerd/config.toml, which k3s made, does not import config-v3.toml.d: "},
		"other machine": {change: func(w *world) {
			w.component("qemu", map[string]string{"bin/qemu-system-x86_64": strings.Replace(program, "\x3e", "\xb7", 1)})
		}, want: "component qemu: ./opt/kata/bin/qemu-system-x86_64 is a program for EM_AARCH64, but this node is x86_64: use the image of its architecture"},
		"truncated": {change: func(w *world) {
			must(w.t, os.Truncate(filepath.Join(w.payload, "tarballs/kata-static-qemu.tar.zst"), 300))
		}, want: "component qemu: reading the index of "},
		"damaged": {change: func(w *world) { w.damage("qemu") }, want: "component qemu: "},
		"two owners": {change: func(w *world) {
			w.api.daemonSets = append(w.api.daemonSets, "other-kata-deploy")
			must(w.t, w.install("DAEMONSET_NAME", "other-kata-deploy"))
		}, want: "/opt/kata is the installation of the DaemonSet kube-system/other-kata-deploy: give this one another MULTI_INSTALL_SUFFIX, or remove that one"},
		"in the way": {change: func(w *world) { w.write("/host/opt/kata/bin", "a file") }, want: "/host/opt/kata/bin is in the way of the payload's folder of that name: move it away"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.change != nil {
				c.change(w)
			}
			before := w.tree("/etc") + w.tree("/host/opt")
			if err := w.install(c.env...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			if got := w.tree("/etc") + w.tree("/host/opt"); got != before {
				t.Errorf("the node changed:\n%s", got)
			}
		})
	}
}

// damage changes a byte of the first frame with files of a tarball.
func (w *world) damage(component string) {
	w.t.Helper()
	at := filepath.Join(w.payload, "tarballs", "kata-static-"+component+".tar.zst")
	tarball, err := archive.Open(at)
	must(w.t, err)
	frames := tarball.Index().Frames
	must(w.t, tarball.Close())
	data, err := os.ReadFile(at)
	must(w.t, err)
	data[frames[0].Size+frames[1].Size/2] ^= 0x55
	must(w.t, os.WriteFile(at, data, 0o644))
}
