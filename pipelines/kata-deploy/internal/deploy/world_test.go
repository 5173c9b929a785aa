package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/components"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/config"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/host"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/node"
)

// world is a node: a folder as its root, a payload, an API, and a systemctl that writes down
// what it is asked.
type world struct {
	t       *testing.T
	root    string
	payload string
	api     *api
	calls   string
	env     map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir(), payload: t.TempDir(), api: &api{
		labels: map[string]string{"kubernetes.io/hostname": "one"}, runtime: "containerd://2.2.2", daemonSets: []string{"kata-deploy"},
		classes: map[string]any{}, fail: map[string][]int{},
	}, env: map[string]string{"NODE_NAME": "one", "DAEMONSET_NAMESPACE": "kube-system", "SHIMS_X86_64": "qemu"}}
	w.write("/etc/containerd/config.toml", "version = 3\n\n[grpc]\n  address = \"/run/containerd/containerd.sock\"\n")
	bin := t.TempDir()
	w.calls = filepath.Join(bin, "calls")
	script := "#!/bin/sh\necho \"$*\" >> " + w.calls + "\ncase \"$*\" in 'is-active --quiet '*) [ -e " + bin + "/active-$3 ];; *) [ ! -e " + bin + "/broken-$2 ];; esac\n"
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	w.component("shim-v2", map[string]string{
		"bin/containerd-shim-kata-v2": program, "runtime-rs/bin/containerd-shim-kata-v2": program,
		"share/defaults/kata-containers/configuration-qemu.toml":                       qemu,
		"share/defaults/kata-containers/configuration-clh.toml":                        clh,
		"share/defaults/kata-containers/runtime-rs/configuration-qemu-runtime-rs.toml": qemu,
	})
	w.component("qemu", map[string]string{"bin/qemu-system-x86_64": program, "share/kata-qemu/qemu/bios-256k.bin": "bios"})
	w.component("cloud-hypervisor", map[string]string{"bin/cloud-hypervisor": program})
	w.component("nydus-for-kata-tee", nydusFiles(t))
	w.shims(map[string][]string{"qemu": {"shim-v2", "qemu"}, "clh": {"shim-v2", "cloud-hypervisor"}, "qemu-runtime-rs": {"shim-v2", "qemu"}})
	return w
}

const (
	qemu = `[hypervisor.qemu]
path = "/opt/kata/bin/qemu-system-x86_64"
kernel = "/opt/kata/share/kata-containers/vmlinuz.container"
image = "/opt/kata/share/kata-containers/kata-containers.img"
kernel_params = "quiet"
enable_annotations = ["enable_iommu", "virtio_fs_extra_args"]
valid_hypervisor_paths = ["/opt/kata/bin/qemu-system-x86_64"]

[agent.kata]
[runtime]
`
	clh = `[hypervisor.clh]
path = "/opt/kata/bin/cloud-hypervisor"
valid_hypervisor_paths = ["/opt/kata/bin/cloud-hypervisor"]
[agent.kata]
[runtime]
`
)

// program is the head of one for x86_64.
var program = "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 11) + "\x3e\x00" + strings.Repeat("\x00", 100)

// nydusFiles are those of the snapshotter, with the templates of the tree.
func nydusFiles(t *testing.T) map[string]string {
	t.Helper()
	made := map[string]string{"nydus-for-kata-tee/containerd-nydus-grpc": program, "nydus-for-kata-tee/nydus-overlayfs": program}
	templates, err := filepath.Glob("../../../../assets/nydus-for-kata-tee/templates/*.in")
	if err != nil || len(templates) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, file := range templates {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		made["nydus-for-kata-tee/templates/"+filepath.Base(file)] = string(data)
	}
	return made
}

// component makes the tarball of a component.
func (w *world) component(name string, content map[string]string) {
	w.t.Helper()
	dir := w.t.TempDir()
	for at, text := range content {
		full := filepath.Join(dir, "opt/kata", at)
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(text, "\x7fELF") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), mode); err != nil {
			w.t.Fatal(err)
		}
	}
	out := filepath.Join(w.payload, "tarballs", "kata-static-"+name+".tar.zst")
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if _, err := archive.Pack(w.t.Context(), dir, out, archive.Options{Level: 1, ModTime: time.Unix(0, 0)}); err != nil {
		w.t.Fatal(err)
	}
}

// shims writes the list of the payload.
func (w *world) shims(shims map[string][]string) {
	w.t.Helper()
	all := map[string]map[string][]string{}
	for name, needs := range shims {
		all[name] = map[string][]string{"x86_64": needs}
	}
	data, err := json.Marshal(map[string]any{"shims": all})
	if err == nil {
		err = os.WriteFile(filepath.Join(w.payload, "shim-components.json"), data, 0o644)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) write(at, content string) {
	w.t.Helper()
	full := filepath.Join(w.root, at)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(at string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.root, at))
	if err != nil {
		w.t.Error(err)
	}
	return string(data)
}

// tree lists the files below a folder, with the targets of links.
func (w *world) tree(at string) string {
	w.t.Helper()
	var names []string
	_ = filepath.WalkDir(filepath.Join(w.root, at), func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			rest, _ := filepath.Rel(w.root, name)
			if target, err := os.Readlink(name); err == nil {
				rest += " -> " + target
			}
			names = append(names, "/"+rest)
		}
		return err
	})
	slices.Sort(names)
	return strings.Join(names, "\n") + "\n"
}

// called returns what systemctl was asked since the last time, without probes.
func (w *world) called() string {
	data, _ := os.ReadFile(w.calls)
	_ = os.Remove(w.calls)
	var lines []string
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "is-active") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "; ")
}

// unit makes a unit "active" or "broken".
func (w *world) unit(is, name string, on bool) {
	w.t.Helper()
	at := filepath.Join(filepath.Dir(w.calls), is+"-"+name)
	if !on {
		_ = os.Remove(at)
	} else if err := os.WriteFile(at, nil, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// serve serves the API and returns its address.
func (w *world) serve() string {
	server := httptest.NewServer(w.api)
	w.t.Cleanup(server.Close)
	return server.URL
}

// noise is what does not compress.
func noise() string {
	data := make([]byte, 6<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return string(data)
}

func (w *world) deploy() (Deploy, *bytes.Buffer) {
	w.t.Helper()
	client, err := node.New(&rest.Config{Host: w.serve()}, w.env["NODE_NAME"], 5*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	out := &bytes.Buffer{}
	return Deploy{Host: host.Host{Root: w.root}, API: client, Out: out}, out
}

// config validates the environment, with changes.
func (w *world) config(changes ...string) (config.Config, *components.Payload, error) {
	w.t.Helper()
	payload, err := components.Open(w.payload, "x86_64")
	if err != nil {
		return config.Config{}, nil, err
	}
	env := maps.Clone(w.env)
	for i := 0; i < len(changes); i += 2 {
		env[changes[i]] = changes[i+1]
	}
	c, err := config.Parse(config.Input{Env: env, Arch: "x86_64", Shims: payload.Shims(), Custom: os.DirFS(filepath.Join(w.root, "custom-configs"))})
	return c, payload, err
}

func (w *world) install(changes ...string) error {
	w.t.Helper()
	c, payload, err := w.config(changes...)
	if err != nil {
		return err
	}
	d, _ := w.deploy()
	return d.Install(w.t.Context(), c, payload)
}

func (w *world) cleanup(changes ...string) error {
	w.t.Helper()
	c, _, err := w.config(changes...)
	if err != nil {
		return err
	}
	d, _ := w.deploy()
	return d.Cleanup(context.WithoutCancel(w.t.Context()), c.Target)
}
