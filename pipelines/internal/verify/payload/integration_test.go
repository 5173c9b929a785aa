//go:build integration

package payload_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	image "github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

const root = "../../../.."

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

const shims = `{"shims": {
"qemu": {"x86_64": ["shim-v2", "qemu", "virtiofsd", "nydus", "kernel", "kernel-debug", "rootfs-image", "rootfs-initrd"]},
"qemu-coco-dev": {"x86_64": ["shim-v2", "qemu", "kernel", "kernel-debug", "rootfs-image-confidential"]}}}
`

// layout makes an image of stand-ins with the installer of the tree and the snapshotter that
// KATA_TEST_NYDUS_TARBALL names.
func layout(t *testing.T) string {
	t.Helper()
	snapshotter := os.Getenv("KATA_TEST_NYDUS_TARBALL")
	if snapshotter == "" {
		t.Skip("KATA_TEST_NYDUS_TARBALL names no tarball")
	}
	installer := filepath.Join(t.TempDir(), "kata-deploy")
	if p := os.Getenv("ADHOC_INSTALLER"); p != "" {
		installer = p
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", installer, "./pipelines/kata-deploy")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if printed, err := build.CombinedOutput(); err != nil {
		t.Fatalf("compiling the installer: %v\n%s", err, printed)
	}
	components := []archive.Component{{Name: "nydus-for-kata-tee", Path: snapshotter}}
	for _, name := range slices.Sorted(maps.Keys(standIns)) {
		components = append(components, archive.Component{Name: name, Path: standIns[name].Pack(t, "opt/kata/bin/containerd-shim-kata-v2")})
	}
	built, err := image.Build(t.Context(), image.Options{
		GoArch: "amd64", Components: components, Installer: installer, Files: []image.File{{Name: "shim-components.json", Content: []byte(shims)}},
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

func TestPayload(t *testing.T) {
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	h := host.Host{Root: absolute, Cache: filepath.Join(cache, "kata-pipelines-tests"), Timeout: 3 * time.Minute}
	r := &report.Report{Asset: "payload", Arch: "x86_64"}
	if err := (payload.Payload{Layout: layout(t), Arch: "x86_64", Kills: 10}).Check(t.Context(), r, h); err != nil {
		t.Fatal(err)
	}
	for _, check := range r.Checks {
		t.Logf("%s %s: %s", check.Verdict, check.Name, check.Saw)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}
