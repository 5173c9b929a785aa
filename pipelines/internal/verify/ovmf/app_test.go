package ovmf

import (
	"bytes"
	"debug/pe"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

func TestBuild(t *testing.T) {
	const efiProgram = 10
	for arch, machine := range map[string]uint16{
		"x86_64": pe.IMAGE_FILE_MACHINE_AMD64, "aarch64": pe.IMAGE_FILE_MACHINE_ARM64,
	} {
		program, err := app(arch, "hello")
		require.NoError(t, err)
		file, err := pe.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		header, ok := file.OptionalHeader.(*pe.OptionalHeader64)
		if !ok || file.Machine != machine || header.Subsystem != efiProgram || len(file.Sections) != 1 {
			t.Fatalf("%s: the headers are %+v and %+v", arch, file.FileHeader, file.OptionalHeader)
		}
		section, err := file.Sections[0].Data()
		require.NoError(t, err)
		if header.AddressOfEntryPoint != file.Sections[0].VirtualAddress || header.SizeOfImage != file.Sections[0].VirtualAddress+file.Sections[0].VirtualSize {
			t.Errorf("%s: it begins at %#x, with a section at %#x", arch, header.AddressOfEntryPoint, file.Sections[0].VirtualAddress)
		}
		if !bytes.Contains(section, []byte("h\x00e\x00l\x00l\x00o\x00\r\x00\n\x00\x00\x00")) {
			t.Errorf("%s: the text is not there", arch)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	if _, err := app("s390x", ""); err == nil || !strings.Contains(err.Error(), "s390x") {
		t.Errorf("got %v", err)
	}
	if _, err := app("x86_64", strings.Repeat("x", 4096)); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("got %v", err)
	}
}
