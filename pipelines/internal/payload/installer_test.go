package payload

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// machines are what the headers of ELF files say, by Go's name of an architecture.
var machines = map[string]struct {
	machine elf.Machine
	data    elf.Data
}{
	"amd64":   {elf.EM_X86_64, elf.ELFDATA2LSB},
	"arm64":   {elf.EM_AARCH64, elf.ELFDATA2LSB},
	"s390x":   {elf.EM_S390, elf.ELFDATA2MSB},
	"ppc64le": {elf.EM_PPC64, elf.ELFDATA2LSB},
	"riscv64": {elf.EM_RISCV, elf.ELFDATA2LSB},
}

// program writes an ELF file of an architecture that has one segment.
func program(t testing.TB, goarch string, segment elf.ProgType) string {
	t.Helper()
	of := machines[goarch]
	header := elf.Header64{
		Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(of.data), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_EXEC),
		Machine: uint16(of.machine), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	var order binary.ByteOrder = binary.LittleEndian
	if of.data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	var content bytes.Buffer
	for _, part := range []any{header, elf.Prog64{Type: uint32(segment)}} {
		if err := binary.Write(&content, order, part); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "kata-deploy-"+goarch)
	if err := os.WriteFile(file, content.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCheckInstaller(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for goarch := range machines {
		if err := CheckInstaller(program(t, goarch, elf.PT_LOAD), goarch); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct{ path, goarch, want string }{
		"other machine": {program(t, "amd64", elf.PT_LOAD), "arm64", "is for EM_X86_64, ELFDATA2LSB, and not for aarch64: name another"},
		"dynamic":       {program(t, "ppc64le", elf.PT_INTERP), "ppc64le", "link it statically"},
		"no program":    {script, "amd64", "want a static program for amd64"},
		"missing":       {"/nonexistent", "amd64", "no such file"},
		"no machine":    {program(t, "amd64", elf.PT_LOAD), "wasm", `unknown architecture "wasm"`},
	} {
		if err := CheckInstaller(c.path, c.goarch); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestCheckPrograms has programs of two architectures, and other files.
func TestCheckPrograms(t *testing.T) {
	for name, c := range map[string]struct {
		goarch string
		files  map[string]string
		want   string
	}{
		"right":     {"arm64", map[string]string{"opt/kata/bin/x": program(t, "arm64", elf.PT_LOAD)}, ""},
		"wrong":     {"arm64", map[string]string{"opt/kata/bin/x": program(t, "s390x", elf.PT_LOAD)}, "./opt/kata/bin/x is for EM_S390, ELFDATA2MSB, and not for aarch64: take the tarball for arm64"},
		"elsewhere": {"arm64", map[string]string{"opt/kata/share/fw": program(t, "s390x", elf.PT_LOAD)}, ""},
		"script":    {"arm64", map[string]string{"opt/kata/bin/x": "installer_test.go", "opt/kata/bin/empty": os.DevNull}, ""},
	} {
		tree, tarball := t.TempDir(), filepath.Join(t.TempDir(), "tarball")
		for to, from := range c.files {
			content := must(os.ReadFile(from))
			if err := errors.Join(os.MkdirAll(filepath.Join(tree, filepath.Dir(to)), 0o755), os.WriteFile(filepath.Join(tree, to), content, 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := archive.Pack(t.Context(), tree, tarball, archive.Options{Level: 1}); err != nil {
			t.Fatal(err)
		}
		if err := CheckPrograms(tarball, c.goarch); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if err := CheckPrograms(component(t, "x", 100, 1).Path, "amd64"); err != nil {
		t.Errorf("without an index: %v", err)
	}
}
