package rootfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/guestimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/rootfs/agent"
)

// baseTarball makes the tarball of a base image with an erofs, whose superblock is all of it.
func baseTarball(t *testing.T, measured bool) string {
	t.Helper()
	root := make([]byte, 2*guestimage.BlockSize)
	binary.LittleEndian.PutUint32(root[1024:], 0xe0f5e1e2)
	var hash []byte
	if measured {
		hash = make([]byte, guestimage.BlockSize)
	}
	layout, err := guestimage.Plan(guestimage.Erofs, true, int64(len(root)), int64(len(hash)))
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	if err := layout.Write(&image, bytes.NewReader(root), bytes.NewReader(hash)); err != nil {
		t.Fatal(err)
	}
	verity := guestimage.Verity{RootHash: bytes.Repeat([]byte{1}, 32), Salt: []byte{2}, DataBlocks: 2}
	tree := t.TempDir()
	folder := filepath.Join(tree, "opt/kata/share")
	err = errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, "kata.image"), image.Bytes(), 0o644))
	if measured {
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, "root_hash_base.txt"), []byte(verity.String()+"\n"), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "base.tar.zst")
	if _, err := archive.Pack(t.Context(), tree, out, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestExtend: an extension boots with a base image, as its second disk.
func TestExtend(t *testing.T) {
	verity := guestimage.Verity{RootHash: bytes.Repeat([]byte{0xab}, 32), Salt: []byte{0x12}, DataBlocks: 16}
	parameters := fmt.Sprintf(" kata.extension.devkit.verity_params=root_hash=%x,salt=12,data_blocks=16,data_block_size=4096,hash_block_size=4096", verity.RootHash)
	plain := "root=/dev/vda1 rootflags=ro rootfstype=erofs ro"
	create := fmt.Sprintf(`dm-mod.create="dm-verity,,,ro,0 16 verity 1 /dev/vda1 /dev/vda2 4096 4096 2 0 sha256 %x 02" `, bytes.Repeat([]byte{1}, 32))
	for name, test := range map[string]struct {
		base     string
		measured bool
		want     string
	}{
		"none":          {"", true, "there is no base image for x86_64 in the caches: build the asset that it extends, or name its tarball with --base"},
		"plain":         {baseTarball(t, false), true, "boot: " + plain + parameters + "\nboot of a changed image: " + plain + parameters},
		"measured base": {baseTarball(t, true), true, "boot: " + create + "root=/dev/dm-0 rootflags=ro rootfstype=erofs ro" + parameters + "\nboot of a changed image: " + create + "root=/dev/dm-0 rootflags=ro rootfstype=erofs ro" + parameters},
		"not measured":  {baseTarball(t, false), false, "boot: " + plain + " kata.extension.devkit.verity_params"},
	} {
		s := &subject{Guest: Guest{Arch: "x86_64", Extension: "devkit"}, Host: host.Host{Base: test.base}, contents: []contents{{name: "x.image", entries: []entry{{path: "usr/sbin/bpftool"}}}}}
		b := bootable{arch: "x86_64", dir: t.TempDir(), image: &Image{Image: recipe.Image{Path: "opt/x.image", Filesystem: guestimage.Erofs, Measured: test.measured}, File: "the extension", Verity: verity}}
		err := s.see(&b)
		machine, _ := host.ForArch("x86_64")
		var got []string
		for _, w := range b.ways(machine) {
			got = append(got, w.check+": "+w.parameters)
			if err == nil && (w.guest.Extension != "the extension" || w.guest.Serial != "extension-devkit" || w.guest.Disk != b.image.File || w.extension != "devkit") {
				t.Errorf("%s: %+v", name, w)
			}
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if text := strings.Join(got, "\n"); text != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, text, test.want)
		}
		if err == nil && !b.tools {
			t.Errorf("%s: bpftool of the extension is not seen", name)
		}
	}
}

// TestBadBase: what is not the tarball of an image is named.
func TestBadBase(t *testing.T) {
	kernel := fakes(t, "").Kernel
	for base, want := range map[string]string{
		kernel: "the base image in " + kernel + ": it has no image", "/none.tar.zst": "no such file",
	} {
		s := &subject{Guest: Guest{Extension: "devkit"}, Host: host.Host{Base: base}, contents: []contents{{name: "x.image"}}}
		b := bootable{dir: t.TempDir(), image: &Image{Image: recipe.Image{Path: "opt/x.image"}}}
		if err := s.see(&b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", base, err, want)
		}
	}
}

// debugConsole returns the address of a debug console that prints a text for every script.
func debugConsole(t *testing.T, prints string) agent.Address {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for connection, err := listener.Accept(); err == nil; connection, err = listener.Accept() {
			in := bufio.NewReader(connection)
			_, _ = in.ReadString('\n')
			_, _ = io.WriteString(connection, "OK 1\n")
			script, _ := in.ReadString('\n')
			_, _ = io.WriteString(connection, "# "+script+prints) // A terminal shows what is typed.
			_ = connection.Close()
		}
	}()
	return agent.Address{Socket: socket}
}

// TestShell: the guest shows how the extension is mounted, and the types of its kernel.
func TestShell(t *testing.T) {
	const devkit = "/dev/mapper/extension-devkit /run/kata-extensions/devkit erofs ro,relatime 0 0"
	for name, test := range map[string]struct{ prints, mounted, types string }{
		"all":      {devkit + "\r\n1: name [vmlinux]  size 6223195B\r\n", "mounted: " + devkit, "bpftool lists 1: name [vmlinux]  size 6223195B"},
		"no BTF":   {"proc /proc proc rw 0 0\r\nno types\r\n", "cat /proc/mounts prints", "the kernel has no BTF: name a tarball of kernel-debug with --kernel"},
		"raw":      {"/dev/vdb1 /run/kata-extensions/devkit erofs ro,relatime 0 0\r\n", "cat /proc/mounts prints", "devkit-enter -c 'bpftool btf list' prints"},
		"writable": {strings.ReplaceAll(devkit, " ro,", " rw,"), "cat /proc/mounts prints", "devkit-enter -c 'bpftool btf list' prints"},
	} {
		d := &dialogue{bootable: bootable{extension: &extension{Image{Image: recipe.Image{Filesystem: guestimage.Erofs, Measured: true}}, "devkit"}}, address: debugConsole(t, test.prints)}
		if got := said(d.mounted(t.Context())); !strings.Contains(got, test.mounted) {
			t.Errorf("%s: %s, want %s", name, got, test.mounted)
		}
		if got := said(d.types(t.Context())); !strings.Contains(got, test.types) {
			t.Errorf("%s: %s, want %s", name, got, test.types)
		}
	}
}

func said(saw string, err error) string {
	if err != nil {
		return err.Error()
	}
	return saw
}
