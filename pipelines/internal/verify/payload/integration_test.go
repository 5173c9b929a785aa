//go:build integration

package payload_test

import (
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	image "github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

const root = "../../../.."

// arch is that of this machine.
var arch = string(catalog.HostArch())

// configuration is the least that a shim's configuration has.
const configuration = `[hypervisor.qemu]
path = "/opt/kata/bin/qemu-system-x86_64"
kernel = "/opt/kata/share/kata-containers/vmlinux.container"
image = "/opt/kata/share/kata-containers/kata-containers.img"
valid_hypervisor_paths = ["/opt/kata/bin/qemu-system-x86_64"]
enable_annotations = ["enable_iommu"]
kernel_params = ""

[agent.kata]

[runtime]
`

// shim stands in for the shim, which comes from a release of Kata.
const shim = "#!/bin/sh\necho 'this is a stand-in for the shim' >&2\nexit 1\n"

// standIns are components of which only their names matter here.
var standIns = map[string]verifytest.Tree{
	"shim-v2": {
		"opt/kata/bin/containerd-shim-kata-v2":                                     shim,
		"opt/kata/share/defaults/kata-containers/configuration-qemu.toml":          configuration,
		"opt/kata/share/defaults/kata-containers/configuration-qemu-coco-dev.toml": configuration,
	},
	"qemu":                      {"opt/kata/bin/qemu-system-x86_64": "qemu", "opt/kata/share/kata-qemu/qemu/kvmvapic.bin": "firmware"},
	"virtiofsd":                 {"opt/kata/libexec/virtiofsd": "virtiofsd"},
	"nydus":                     {"opt/kata/libexec/nydusd": "nydusd"},
	"kernel":                    {"opt/kata/share/kata-containers/vmlinux-1": "kernel"},
	"kernel-debug":              {"opt/kata/share/kata-containers/vmlinux-1-debug": "kernel"},
	"rootfs-image":              {"opt/kata/share/kata-containers/kata-containers.img": "image"},
	"rootfs-initrd":             {"opt/kata/share/kata-containers/kata-containers-initrd.img": "initrd"},
	"rootfs-image-confidential": {"opt/kata/share/kata-containers/kata-containers-confidential.img": "image"},
}

var shims = strings.ReplaceAll(`{"shims": {
"qemu": {"ARCH": ["shim-v2", "qemu", "virtiofsd", "nydus", "kernel", "kernel-debug", "rootfs-image", "rootfs-initrd"]},
"qemu-coco-dev": {"ARCH": ["shim-v2", "qemu", "kernel", "kernel-debug", "rootfs-image-confidential"]}}}
`, "ARCH", arch)

// layout makes an image of stand-ins with the installer and the snapshotter of the tree.
func layout(t *testing.T) string {
	t.Helper()
	installer := filepath.Join(t.TempDir(), "kata-deploy")
	if err := verifytest.Machine(t, root, 0).GoBuild(t.Context(), root, nil, "-ldflags=-s -w", "-o", installer, "./pipelines/kata-deploy"); err != nil {
		t.Fatal(err)
	}
	components := []archive.Component{{Name: "nydus-for-kata-tee", Path: verifytest.NydusTarball(t, root)}}
	for _, name := range slices.Sorted(maps.Keys(standIns)) {
		components = append(components, archive.Component{Name: name, Path: standIns[name].Pack(t, "opt/kata/bin/containerd-shim-kata-v2")})
	}
	built, err := image.Build(t.Context(), image.Options{
		GoArch: runtime.GOARCH, Components: components, Installer: installer, Files: []image.File{{Name: "shim-components.json", Content: []byte(shims)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "image")
	if err := built.WriteLayout(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPayload proves the installer of the tree on a node, with stand-ins for what only a
// release of Kata has. It needs root and namespaces.
func TestPayload(t *testing.T) {
	r := &report.Report{Asset: "payload", Arch: arch}
	if err := (payload.Payload{Layout: layout(t), Arch: arch, Kills: 5}).Check(t.Context(), r, verifytest.Machine(t, root, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, check := range r.Checks {
		t.Logf("%s %s: %s", check.Verdict, check.Name, check.Saw)
	}
	if first := r.Checks[1]; first.Verdict == report.Skipped {
		t.Skip(first.Saw)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}
