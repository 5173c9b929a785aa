//go:build integration

package rootfs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive/foreign"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// drivers are those of vsock in a virtual machine.
var drivers = []string{
	"virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
	"vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport",
}

// distributionKernel unpacks the kernel that Debian has for virtual machines, and returns a
// tarball with it and the folder of its files.
func distributionKernel(t *testing.T) (tarball, dir string) {
	t.Helper()
	for _, program := range []string{"apt-get", "apt-cache", "dpkg-deb", "cpio"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("KATA_TEST_KERNEL_TARBALL names no tarball of a kernel, and this machine has no %s to get Debian's", program)
		}
	}
	dir = t.TempDir()
	run := func(name string, args ...string) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	meta := "linux-image-cloud-" + catalog.HostArch().GoArch()
	about, _ := exec.CommandContext(t.Context(), "apt-cache", "show", "--no-all-versions", meta).Output() // It fails for an unknown package.
	name := regexp.MustCompile(`linux-image-[0-9]\S*`).FindString(string(about))
	if name == "" {
		t.Skipf("KATA_TEST_KERNEL_TARBALL names no tarball of a kernel, and apt knows no %s: run apt-get update", meta)
	}
	run("apt-get", "download", name)
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("apt-get download %s: %v, %v", name, debs, err)
	}
	run("dpkg-deb", "--extract", debs[0], dir)
	tree := filepath.Join(dir, "tree")
	kernels, _ := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*")) // The pattern is good.
	if len(kernels) != 1 {
		t.Fatalf("%s has the kernels %v", name, kernels)
	}
	to := filepath.Join(tree, "opt/kata", filepath.Base(kernels[0]))
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Rename(kernels[0], to)); err != nil {
		t.Fatal(err)
	}
	tarball = filepath.Join(dir, "kernel.tar.zst")
	if _, err := archive.Pack(t.Context(), tree, tarball, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	t.Log("the kernel is Debian's " + name)
	return tarball, dir
}

// withModules returns an initrd whose init loads the drivers of the kernel in a folder, unless
// they are built in, and then becomes the agent.
func withModules(t *testing.T, h host.Host, dir, agent string) []byte {
	t.Helper()
	tree := filepath.Join(dir, "initrd")
	if err := h.GoBuild(t.Context(), ".", []string{"CGO_ENABLED=0"}, "-o", filepath.Join(tree, "init"), "./testdata/init"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(agent, filepath.Join(tree, "agent")), os.Mkdir(filepath.Join(tree, "modules"), 0o755)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		name, _, is := strings.Cut(filepath.Base(path), ".ko")
		if err != nil || !is || !slices.Contains(drivers, name) {
			return err
		}
		return unpackModule(path, filepath.Join(tree, "modules", name))
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "find . -mindepth 1 | cpio --quiet --create --format=newc")
	cmd.Dir = tree
	initrd, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return initrd
}

// unpackModule writes a module that the distribution may have compressed.
func unpackModule(from, to string) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, closer, err := foreign.Decompress(bufio.NewReader(file))
	if err != nil {
		return err
	}
	defer closer()
	var module bytes.Buffer
	if _, err := io.Copy(&module, plain); err != nil {
		return err
	}
	return os.WriteFile(to, module.Bytes(), 0o600)
}

// standInInitrd returns an initrd in which the agent is the first process, or becomes it.
func standInInitrd(t *testing.T, h host.Host, kernel, agent string) []byte {
	t.Helper()
	if kernel != "" {
		return withModules(t, h, kernel, agent)
	}
	init, err := os.ReadFile(agent)
	if err != nil {
		t.Fatal(err)
	}
	return guest.Initramfs(init)
}
