package qemu

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// emulatorOf reads the lists of the tree.
func emulatorOf(t *testing.T, arch, suffix string) Emulator {
	t.Helper()
	e, err := New(os.DirFS("../../../.."), "assets/qemu", arch, "v10.2.2", suffix)
	require.NoError(t, err)
	return e
}

func TestQEMUMembers(t *testing.T) {
	for title, test := range map[string]struct {
		files map[string]fs.FileMode
		want  []string
	}{
		"nothing of it": {
			map[string]fs.FileMode{"opt/kata/bin/qemu-system-s390x": 0o755},
			[]string{
				"./opt/kata/bin/qemu-system-s390x does not belong to the asset",
				"./opt/kata/bin/qemu-system-s390x-test is missing",
				"./opt/kata/share/kata-qemu-test/qemu/s390-ccw.img is missing",
			},
		},
		"modes": {
			map[string]fs.FileMode{
				"opt/kata/bin/qemu-system-s390x-test":                  0o644,
				"opt/kata/share/kata-qemu-test/qemu/s390-ccw.img":      0o644,
				"opt/kata/share/kata-qemu-test/qemu/vgabios-qxl.bin":   0o644,
				"opt/kata/share/kata-qemu-test/qemu/keymaps/en-us.txt": 0o644,
			},
			[]string{
				"./opt/kata/bin/qemu-system-s390x-test has mode -rw-r--r--: want -rwxr-xr-x",
				"./opt/kata/share/kata-qemu-test/qemu/vgabios-qxl.bin does not belong to the asset",
				"./opt/kata/share/kata-qemu-test/qemu/keymaps/ does not belong to the asset",
			},
		},
	} {
		t.Run(title, func(t *testing.T) {
			files, executables := verifytest.Tree{}, []string{}
			for name, mode := range test.files {
				files[name] = "#!/bin/sh\n"
				if mode == 0o755 {
					executables = append(executables, name)
				}
			}
			artifact := verify.Artifact{Tarball: files.Pack(t, executables...)}
			r := verifytest.Run(t, emulatorOf(t, "s390x", "test"), artifact, host.Host{Timeout: time.Minute})
			if c := r.Checks[0]; c.Name != "members" || c.Verdict != report.Failed {
				t.Fatalf("got %v", c)
			}
			for _, want := range test.want {
				if !strings.Contains(r.Checks[0].Saw, want) {
					t.Errorf("no %q in\n%s", want, r.Checks[0].Saw)
				}
			}
			for _, check := range r.Checks {
				if check.Verdict == report.Passed && check.Name != "firmware" {
					t.Errorf("passed: %v", check)
				}
			}
		})
	}
}

func TestNewQEMUErrors(t *testing.T) {
	if _, err := New(fstest.MapFS{}, "assets/qemu", "vax", "v1", ""); err == nil || !strings.Contains(err.Error(), "the list of devices") {
		t.Errorf("got %v", err)
	}
	wrong := fstest.MapFS{"assets/qemu/devices/vax.list": {Data: []byte("X y:z")}}
	if _, err := New(wrong, "assets/qemu", "vax", "v1", ""); err == nil || !strings.Contains(err.Error(), "assets/qemu/devices/vax.list:1") {
		t.Errorf("got %v", err)
	}
}
