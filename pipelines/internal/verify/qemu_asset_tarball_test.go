package verify_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
)

// emulatorOf reads the lists of the tree.
func emulatorOf(t *testing.T, arch, suffix string) verify.QEMU {
	t.Helper()
	content := func(path string) ([]byte, error) { return os.ReadFile(filepath.Join("../../..", path)) }
	q, err := verify.NewQEMU("qemu", arch, "assets/qemu", "v10.2.2", suffix, content)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

var noNote = func(string) {}

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
			dir := t.TempDir()
			for name, mode := range test.files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
					t.Fatal(err)
				}
			}
			tarball := filepath.Join(t.TempDir(), "qemu.tar.zst")
			if _, err := archive.Pack(t.Context(), dir, tarball, archive.Options{Level: 1}); err != nil {
				t.Fatal(err)
			}
			report, err := emulatorOf(t, "s390x", "test").Verify(t.Context(), tarball, verify.Emulation{Timeout: time.Minute, Note: noNote})
			if err != nil {
				t.Fatal(err)
			}
			if c := report.Checks[0]; c.Name != "members" || c.Verdict != verify.Failed {
				t.Fatalf("got %v", c)
			}
			for _, want := range test.want {
				if !strings.Contains(report.Checks[0].Saw, want) {
					t.Errorf("no %q in\n%s", want, report.Checks[0].Saw)
				}
			}
			for _, check := range report.Checks {
				if check.Verdict == verify.Passed && check.Name != "firmware" {
					t.Errorf("passed: %v", check)
				}
			}
		})
	}
}

func TestNewQEMUErrors(t *testing.T) {
	missing := func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	if _, err := verify.NewQEMU("qemu", "vax", "assets/qemu", "v1", "", missing); err == nil || !strings.Contains(err.Error(), "the list of devices") {
		t.Errorf("got %v", err)
	}
	wrong := func(string) ([]byte, error) { return []byte("X y:z"), nil }
	if _, err := verify.NewQEMU("qemu", "vax", "assets/qemu", "v1", "", wrong); err == nil || !strings.Contains(err.Error(), "assets/qemu/devices/vax.list:1") {
		t.Errorf("got %v", err)
	}
}
