package qemu

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// step runs a script of the family as the engine does, with a QEMU that has only
// what scripts look at before anything is compiled. It returns what it printed.
func step(t *testing.T, script string, prepare func(files, build, sources string)) (output string, err error) {
	t.Helper()
	dir := t.TempDir()
	files, build, sources := filepath.Join(dir, "files"), filepath.Join(dir, "build"), filepath.Join(dir, "sources")
	require.NoError(t, os.CopyFS(filepath.Join(files, "assets/qemu"), os.DirFS(family)))
	for _, folder := range []string{build, sources} {
		require.NoError(t, os.MkdirAll(folder, 0o755))
	}
	prepare(files, build, sources)
	cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(files, "assets/qemu", script))
	cmd.Dir = build
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "ARCH=x86_64", "MACHINE=x86_64", "CROSS_COMPILE=", "QEMU_VERSION=v10.2.2",
		"FILES=" + files, "BUILD=" + build, "SOURCES=" + sources, "DESTDIR=" + filepath.Join(dir, "out"),
	}
	printed, err := cmd.CombinedOutput()
	return string(printed), err
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o755))
}

// configurable is a QEMU with the options of these lists, whose configure does
// what the script says.
func configurable(t *testing.T, build, configure string) {
	t.Helper()
	qemu := filepath.Join(build, "qemu")
	write(t, filepath.Join(qemu, "hw/Kconfig"), "config Q35\n    bool\nconfig VIRTIO_BLK\n")
	write(t, filepath.Join(qemu, "pc-bios/optionrom/Makefile"), "all:\n")
	write(t, filepath.Join(qemu, "pc-bios/meson.build"), "blobs = []\n")
	write(t, filepath.Join(qemu, "hw/display/meson.build"), "files('ramfb-standalone.c')\nfiles('vga.c')\n")
	write(t, filepath.Join(qemu, "configs/devices/x86_64-softmmu/default.mak"), "")
	write(t, filepath.Join(qemu, "configure"), "#!/bin/sh\n"+configure)
}

const (
	goodDevices  = "Q35 machine:q35 # a comment\n- object:iothread\n\nVIRTIO_BLK virtio-blk-pci\n"
	goodFirmware = "pvh.bin source:pc-bios/optionrom\nsh.bin /bin/sh\n"
)

func TestConfigure(t *testing.T) {
	const mak = "printf 'CONFIG_Q35=y\\nCONFIG_VIRTIO_BLK=y\\nCONFIG_PCI=y\\n' >x86_64-softmmu-config-devices.mak\nmkdir -p pc-bios/optionrom\n"
	for title, test := range map[string]struct {
		devices, firmware, configure string
		// want is printed by a step that fails, "" for one that passes.
		want string
	}{
		"good":           {goodDevices, goodFirmware, mak, ""},
		"unknown option": {goodDevices + "VIRTIO_BLKK x\n", goodFirmware, "exit 9", "assets/qemu/devices/x86_64.list:5: VIRTIO_BLKK is no option of this QEMU"},
		"option twice":   {goodDevices + "Q35 q\n", goodFirmware, "exit 9", "assets/qemu/devices/x86_64.list:5: Q35 stands twice"},
		"no firmware":    {goodDevices, "# BIOS\nbios.bin /nowhere/bios.bin\n", "exit 9", "assets/qemu/firmware/x86_64.list:2: bios.bin is not there: no /nowhere/bios.bin"},
		"no ROM":         {goodDevices, "x.bin source:pc-bios/nowhere\n", "exit 9", "assets/qemu/firmware/x86_64.list:1: x.bin is not there: no "},
		"configure":      {goodDevices, goodFirmware, "echo 'no glib' >config.log; exit 1", "no glib\nQEMU cannot be configured: the reason is above"},
		"dropped":        {goodDevices, goodFirmware, strings.Replace(mak, "CONFIG_VIRTIO_BLK", "CONFIG_X", 1), "assets/qemu/devices/x86_64.list:4: VIRTIO_BLK did not come into the configuration"},
	} {
		t.Run(title, func(t *testing.T) {
			var qemu string
			output, err := step(t, "configure.sh", func(files, build, _ string) {
				configurable(t, build, test.configure)
				write(t, filepath.Join(files, "assets/qemu/devices/x86_64.list"), test.devices)
				write(t, filepath.Join(files, "assets/qemu/firmware/x86_64.list"), test.firmware)
				qemu = filepath.Join(build, "qemu")
			})
			if test.want != "" {
				if err == nil || !strings.Contains(output, test.want) {
					t.Errorf("got %v and\n%s\nwant %s", err, output, test.want)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			for path, want := range map[string]string{
				"configs/devices/x86_64-softmmu/kata.mak": "CONFIG_Q35=y\nCONFIG_VIRTIO_BLK=y\n",
				"hw/display/meson.build":                  "files('vga.c')\n",
				"pc-bios/meson.build":                     "roms = []\nsubdir('keymaps')\n",
			} {
				if got, err := os.ReadFile(filepath.Join(qemu, path)); err != nil || string(got) != want {
					t.Errorf("%s: %v, %q: want %q", path, err, got, want)
				}
			}
		})
	}
}

// sourceArchive writes files below one folder.
func sourceArchive(t *testing.T, path string, files map[string]string) {
	t.Helper()
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	w := tar.NewWriter(file)
	for name, content := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: "qemu-x/" + name, Mode: 0o644, Size: int64(len(content))}))
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	require.NoError(t, w.Close())
}

func TestUnpack(t *testing.T) {
	const wrap, module = "subprojects/keycodemapdb.wrap", "subprojects/keycodemapdb/meson.build"
	whole := map[string]string{"VERSION": "10.2.2\n", wrap: "revision = 1\n", module: "project()\n"}
	bare := map[string]string{"VERSION": "10.2.2\n", wrap: "revision = 1\n"}
	const patch = "--- a/VERSION\n+++ b/VERSION\n@@ -1 +1 @@\n-10.2.2\n+patched\n"
	for title, test := range map[string]struct {
		source, release map[string]string
		patch           string
		// want is printed by a step that fails, "" for one that passes.
		want string
	}{
		"whole":           {source: whole},
		"from release":    {source: bare, release: whole},
		"patched":         {source: whole, patch: patch},
		"another version": {source: map[string]string{"VERSION": "10.2.1\n"}, want: "the source is QEMU 10.2.1, but versions.yaml pins v10.2.2"},
		"no submodule":    {source: bare, want: "lacks the submodule subprojects/keycodemapdb"},
		"another release": {source: bare, release: map[string]string{wrap: "revision = 2\n", module: "project()\n"}, want: "lacks the submodule subprojects/keycodemapdb"},
		"bad patch":       {source: whole, patch: strings.Replace(patch, "-10.2.2", "-10.2.3", 1), want: "assets/qemu/patches/10.2.x/0001-x.patch does not apply to QEMU 10.2.2"},
	} {
		t.Run(title, func(t *testing.T) {
			var qemu string
			output, err := step(t, "unpack.sh", func(files, build, sources string) {
				sourceArchive(t, filepath.Join(sources, "qemu"), test.source)
				if test.release != nil {
					sourceArchive(t, filepath.Join(sources, "release"), test.release)
				}
				if test.patch != "" {
					write(t, filepath.Join(files, "assets/qemu/patches/10.2.x/0001-x.patch"), test.patch)
				}
				qemu = filepath.Join(build, "qemu")
			})
			if test.want != "" {
				if err == nil || !strings.Contains(output, test.want) {
					t.Errorf("got %v and\n%s\nwant %s", err, output, test.want)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			if _, err := os.Stat(filepath.Join(qemu, module)); err != nil {
				t.Error(err)
			}
			version, err := os.ReadFile(filepath.Join(qemu, "VERSION"))
			if err != nil || (string(version) == "patched\n") != (test.patch != "") {
				t.Errorf("%v, VERSION is %q", err, version)
			}
		})
	}
}
