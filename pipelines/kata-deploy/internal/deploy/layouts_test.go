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

// mainV2 is a configuration of containerd 1.7.
const mainV2 = `version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
`

func TestLayouts(t *testing.T) {
	for name, c := range map[string]struct {
		// mounted is where the node has the folder of containerd's configuration.
		runtime, unit, mounted string
		labels                 map[string]string
		files                  map[string]string
		env                    []string
		// shows are the files in the golden, and called what systemctl is asked.
		shows  []string
		called string
	}{
		"containerd-1.7": {
			runtime: "containerd://1.7.29", files: map[string]string{"/etc/containerd/config.toml": mainV2},
			shows:  []string{"/etc/containerd/config.toml", "/host/opt/kata/containerd/config.d/kata-deploy.toml"},
			called: "daemon-reload; restart containerd",
		},
		"k3s": {
			runtime: "containerd://2.2.2-k3s1", unit: "k3s", mounted: "/var/lib/rancher/k3s/agent/etc/containerd",
			files:  map[string]string{"/etc/containerd/config.toml": "version = 3\nimports = [\"/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/*.toml\"]\n"},
			shows:  []string{"/etc/containerd/config.toml", "/etc/containerd/config-v3.toml.d/kata-deploy.toml"},
			called: "daemon-reload; restart k3s",
		},
		"rke2": {
			runtime: "containerd://1.7.29-k3s1", unit: "rke2-agent", mounted: "/var/lib/rancher/rke2/agent/etc/containerd",
			files:  map[string]string{"/etc/containerd/config.toml": "imports = [\"/var/lib/rancher/rke2/agent/etc/containerd/config.toml.d/*.toml\"]\n" + mainV2},
			shows:  []string{"/etc/containerd/config.toml.d/kata-deploy.toml"},
			called: "daemon-reload; restart rke2-agent",
		},
		"k0s": {
			runtime: "containerd://2.2.2", unit: "k0sworker", env: []string{"EXPERIMENTAL_SETUP_SNAPSHOTTER", "erofs"},
			files: map[string]string{"/etc/containerd/containerd.toml": "version = 3\n"},
			shows: []string{"/etc/containerd/containerd.d/kata-deploy.toml",
				"/host/opt/kata/share/defaults/kata-containers/runtimes/qemu/config.d/22-k0s-kubelet-root.toml"},
		},
		"microk8s": {
			runtime: "containerd://2.2.2", labels: map[string]string{"microk8s.io/cluster": "true"},
			files:  map[string]string{"/etc/containerd/containerd-template.toml": "version = 3\nimports = [ 'a.toml', # one\n]\n"},
			shows:  []string{"/etc/containerd/containerd-template.toml"},
			called: "daemon-reload; restart snap.microk8s.daemon-containerd.service",
		},
		"crio": {
			runtime: "cri-o://1.34.0", env: []string{"PULL_TYPE_MAPPING_X86_64", "qemu:guest-pull", "DEBUG", "true"},
			shows: []string{"/etc/crio/crio.conf.d/99-kata-deploy"}, called: "daemon-reload; restart crio",
		},
		"nydus": {
			runtime: "containerd://2.2.2", env: []string{"EXPERIMENTAL_SETUP_SNAPSHOTTER", "nydus,nydus-host-share", "SHIMS_X86_64", "qemu clh",
				"SNAPSHOTTER_HANDLER_MAPPING_X86_64", "qemu:nydus,clh:nydus-host-share", "MULTI_INSTALL_SUFFIX", "blue"},
			shows: []string{"/host/opt/kata-blue/containerd/config.d/kata-deploy.toml", "/host/opt/kata-blue/nydus-for-kata-tee/config-guest-pulling.toml"},
			called: "daemon-reload; restart nydus-for-kata-tee-blue.service; restart nydus-for-kata-tee-host-share-blue.service; " +
				"restart containerd",
		},
		"shim": {
			runtime: "containerd://2.2.2", env: []string{"INSTALLATION_PREFIX", "/srv/x", "DEBUG", "true", "AGENT_HTTPS_PROXY", "qemu=http://p:1;clh=http://q:2",
				"AGENT_NO_PROXY", "10.0.0.0/8", "ALLOWED_HYPERVISOR_ANNOTATIONS_X86_64", "kernel_params qemu:machine_type clh:block", "SHIMS_X86_64", "qemu clh qemu-runtime-rs",
				"EXPERIMENTAL_FORCE_GUEST_PULL_X86_64", "qemu", "CUSTOM_RUNTIMES_ENABLED", "true", "HOST_OS", "cbl-mariner"},
			files: map[string]string{"/custom-configs/custom-runtimes.list": "kata-mine:clh:erofs\n", "/custom-configs/dropin-kata-mine.toml": "[hypervisor.clh]\ndefault_vcpus = 2\n"},
			shows: []string{"/host/srv/x/opt/kata/bin/qemu-system-x86_64-installation-prefix",
				"/host/srv/x/opt/kata/share/defaults/kata-containers/runtimes/qemu/config.d/*",
				"/host/srv/x/opt/kata/share/defaults/kata-containers/custom-runtimes/kata-mine/config.d/*",
				"/host/srv/x/opt/kata/share/defaults/kata-containers/runtime-rs/runtimes/qemu-runtime-rs/config.d/30*"},
			called: "daemon-reload; restart containerd",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.component("cloud-hypervisor-glibc", map[string]string{"bin/cloud-hypervisor-glibc": program})
			w.api.runtime = c.runtime
			for label, value := range c.labels {
				w.api.labels[label] = value
			}
			if c.unit != "" {
				w.unit("active", c.unit, true)
			}
			for at, content := range c.files {
				w.write(at, content)
			}
			if c.mounted != "" {
				w.mount(c.mounted)
			}
			before, listed := w.tree("/etc"), map[string]string{}
			for at := range c.files {
				listed[at] = w.read(at)
			}
			must(t, w.install(c.env...))
			golden(t, name+".txt", w.shown(c.shows))
			if got := w.called(); got != c.called {
				t.Errorf("systemctl was asked: %s", got)
			}
			must(t, w.install(c.env...))
			if got := w.called(); got != "" {
				t.Errorf("the second install asked systemctl: %s", got)
			}
			must(t, w.uninstall(c.env...))
			if got := w.tree("/etc"); got != before {
				t.Errorf("left behind:\n%s", got)
			}
			for at, want := range listed {
				if got := w.read(at); got != want {
					t.Errorf("%s is not as before:\n%s", at, got)
				}
			}
		})
	}
}

// mount has the folder of containerd's configuration at a path of the node, too.
func (w *world) mount(at string) {
	w.t.Helper()
	at = filepath.Join(w.root, "host", at)
	must(w.t, errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(filepath.Join(w.root, "etc/containerd"), at)))
}

// shown returns files with their names; the last part may be a pattern.
func (w *world) shown(patterns []string) string {
	w.t.Helper()
	var text strings.Builder
	for _, pattern := range patterns {
		matches, err := filepath.Glob(filepath.Join(w.root, pattern))
		if err != nil || len(matches) == 0 {
			w.t.Errorf("there is no %s", pattern)
		}
		slices.Sort(matches)
		for _, match := range matches {
			rest, _ := filepath.Rel(w.root, match)
			text.WriteString("=== /" + rest + "\n" + w.read(rest))
		}
	}
	return text.String()
}

// What is on the node and not ours stays, what the payload no longer ships goes.
func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	w.write("/host/opt/kata/README.admin", "mine")
	w.write("/host/opt/kata/bin/own-tool", "mine, too")
	secret := filepath.Join(w.root, "host/opt/kata/secret")
	must(t, os.MkdirAll(filepath.Join(secret, "empty"), 0o700))
	must(t, w.install())
	w.write("/host/opt/kata/share/defaults/kata-containers/runtimes/qemu/config.d/90-mine.toml", "# mine\n")
	w.write("/host/var/lib/nydus-for-kata-tee/data", "data")
	w.called()
	w.component("qemu", map[string]string{"bin/qemu-system-x86_64": program + "2", "share/kata-qemu/qemu/new.bin": "new"})
	must(t, w.install())
	if got := w.called(); got != "" {
		t.Errorf("programs changed, and systemctl was asked: %s", got)
	}
	tree := w.tree("/host/opt/kata")
	for file, want := range map[string]bool{"bin/own-tool": true, "README.admin": true, "config.d/90-mine.toml": true, "qemu/new.bin": true, "bios-256k.bin": false} {
		if strings.Contains(tree, file) != want {
			t.Errorf("%s: %v, want %v:\n%s", file, !want, want, tree)
		}
	}
	// A damaged file is repaired.
	w.write("/host/opt/kata/share/kata-qemu/qemu/new.bin", "NEW")
	must(t, w.install())
	if got := w.read("/host/opt/kata/share/kata-qemu/qemu/new.bin"); got != "new" {
		t.Errorf("the damaged file is %q", got)
	}
	must(t, w.uninstall())
	if got := w.tree("/host/opt"); got != "/host/opt/kata/README.admin\n/host/opt/kata/bin/own-tool\n/host/opt/kata/share/defaults/kata-containers/runtimes/qemu/config.d/90-mine.toml\n" {
		t.Errorf("left behind:\n%s", got)
	}
	if info, err := os.Stat(filepath.Join(secret, "empty")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("an empty folder is %v, %v", info, err)
	}
	if info, err := os.Stat(secret); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a folder of another is %v, %v", info, err)
	}
	if w.read("/host/var/lib/nydus-for-kata-tee/data") != "data" {
		t.Error("the data of the snapshotter changed")
	}
}

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

// The chart maps shims to snapshotters that a node may have, by default and on all versions
// of containerd.
func TestMappedSnapshotters(t *testing.T) {
	w := newWorld(t)
	w.api.runtime = "containerd://1.7.29"
	w.write("/etc/containerd/config.toml", mainV2)
	must(t, w.install("SHIMS_X86_64", "qemu clh", "SNAPSHOTTER_HANDLER_MAPPING_X86_64", "qemu:nydus,clh:devmapper"))
	if got := w.read("/host/opt/kata/containerd/config.d/kata-deploy.toml"); !strings.Contains(got, "snapshotter = 'devmapper'") {
		t.Errorf("the drop-in is\n%s", got)
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

// The debug kernel is a component of the shim, and the largest one: only those who ask for it
// get it.
func TestDebugKernel(t *testing.T) {
	w := newWorld(t)
	w.component("kernel-debug", map[string]string{"share/kata-containers/vmlinux-1-debug": program})
	w.shims(map[string][]string{"qemu": {"shim-v2", "qemu", "kernel-debug"}})
	w.write("/custom-configs/custom-runtimes.list", "kata-mine:qemu\n")
	for _, c := range []struct {
		dropIn string
		env    []string
		want   bool
	}{
		{want: false},
		{env: []string{"DEBUG", "true"}, want: true},
		{env: []string{"CUSTOM_RUNTIMES_ENABLED", "true"}, dropIn: "default_vcpus = 2", want: false},
		{env: []string{"CUSTOM_RUNTIMES_ENABLED", "true"}, dropIn: `kernel = "/opt/kata/share/kata-containers/vmlinux-debug.container"`, want: true},
	} {
		w.write("/custom-configs/dropin-kata-mine.toml", "[hypervisor.qemu]\n"+c.dropIn+"\n")
		must(t, w.install(c.env...))
		if got := strings.Contains(w.tree("/host/opt"), "vmlinux-1-debug"); got != c.want {
			t.Errorf("%v %s: the debug kernel is there: %v, want %v", c.env, c.dropIn, got, c.want)
		}
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

// All nodes remove the classes at once: that another one was first is no failure.
func TestRemoveClasses(t *testing.T) {
	w := newWorld(t)
	classes := []string{"CREATE_RUNTIMECLASSES", "true", "SHIMS_X86_64", "qemu clh"}
	must(t, w.install(classes...))
	w.api.fail["DELETE /apis/node.k8s.io/v1/runtimeclasses/kata-clh"] = []int{404}
	must(t, w.uninstall(classes...))
	if !slices.Equal(w.api.removed, []string{"kata-qemu"}) {
		t.Errorf("the classes %q were removed", w.api.removed)
	}
	if got := w.tree("/host/opt"); got != "\n" {
		t.Errorf("left behind:\n%s", got)
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

func TestDryRun(t *testing.T) {
	w := newWorld(t)
	c, payload, err := w.config("EXPERIMENTAL_SETUP_SNAPSHOTTER", "nydus")
	must(t, err)
	before := w.tree("/")
	d, out := w.deploy()
	d.DryRun = true
	must(t, d.Install(t.Context(), c, payload))
	if got := w.tree("/"); got != before {
		t.Errorf("a dry run changed the node:\n%s", got)
	}
	golden(t, "dry-run.txt", out.String())
}
