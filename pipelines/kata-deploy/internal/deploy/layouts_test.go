package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
