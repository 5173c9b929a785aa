package qemu

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// fake is an emulator with a network card; %s is the place for lines of shell that
// change it. It looks for firmware next to itself.
const fake = `#!/bin/sh
folder="$(cd "$(dirname "$0")/.." && pwd)/share/kata-qemu/qemu"
version='10.2.2 (kata-static)' accel=kvm card=virtio-net-pci realized=true rom=bios-256k.bin
%s
case "$*" in
--version) echo "QEMU emulator version $version" ;;
'-device help') printf 'Network devices:\nname "%%s", bus PCI\n\nMisc devices:\nname "pvpanic", bus ISA\n' "$card" ;;
'-object help') printf 'List:\n  iothread\n' ;;
'-machine help') printf 'Supported:\nq35  a PC\n' ;;
'-accel help') printf 'Accelerators:\n%%s\n' "$accel" ;;
'-L help') echo "$folder" ;;
*'-accel kvm'*) echo 'no KVM here' >&2; exit 1 ;;
*)
	echo '{"QMP": {"version": {}}}'
	while read -r line; do
		case "$line" in
		*qom-get*) echo "{\"return\": $realized}" ;;
		*quit*) echo '{"return": {}}'; exit 0 ;;
		*monitor*) echo "{\"return\": \"name=\\\"$rom\\\"\"}" ;;
		*) echo '{"return": {}}' ;;
		esac
	done
	;;
esac
`

// emulated verifies a changed fake.
func emulated(t *testing.T, change string) *report.Report {
	t.Helper()
	// vfio-pci is on the list, but neither the fake nor a host of tests has it.
	change += "\n" + `[ "$*" != '-device help' ] || echo 'name "vfio-pci"'`
	x := unpacked(t, "x86_64", fmt.Appendf(nil, fake, change))
	require.NoError(t, x.check(t.Context()))
	return x.r
}

// unpacked is an unpacked program.
func unpacked(t *testing.T, arch string, program []byte) *run {
	t.Helper()
	x := &run{
		Emulator: Emulator{
			arch: arch, version: "v10.2.2", firmware: []string{"bios-256k.bin"},
			required: list{"-device": {"virtio-net-pci", "pvpanic", "vfio-pci"}, "-object": {"iothread"}, "-machine": {"q35"}, "-accel": {"kvm"}},
		},
		r: &report.Report{}, t: &tarball.Tarball{Dir: t.TempDir()}, h: host.Host{Timeout: 20 * time.Second},
	}
	path := x.t.Path(x.program())
	for _, folder := range []string{filepath.Dir(path), x.t.Path(x.folder())} {
		require.NoError(t, os.MkdirAll(folder, 0o755))
	}
	require.NoError(t, os.WriteFile(path, program, 0o755))
	return x
}

// verdicts are the checks as lines of text.
func verdicts(r *report.Report) string {
	var text strings.Builder
	for _, check := range r.Checks {
		fmt.Fprintf(&text, "%s %s: %s\n", check.Verdict, check.Name, check.Saw)
	}
	return text.String()
}

func TestEmulation(t *testing.T) {
	r := emulated(t, "")
	got := verdicts(r)
	for _, want := range []string{
		"passed version: QEMU emulator version 10.2.2 (kata-static)",
		"passed devices: 3 devices, 1 objects and q35",
		"passed unasked devices:",
		"passed firmware folder: opt/kata/share/kata-qemu/qemu",
		"passed machine q35: qtest, realized: iothread virtio-net-pci pvpanic\nnot with kvm: QEMU: exit status 1\nno KVM here",
		"skipped devices of the host: vfio-pci: it needs a PCI device",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if r.Failed != 0 {
		t.Errorf("%d failed", r.Failed)
	}
}

func TestEmulationFails(t *testing.T) {
	for title, test := range map[string]struct{ change, want string }{
		"version":    {"version='10.2.1 (kata-static)'", `failed version: the version is "10.2.1": want "10.2.2"`},
		"package":    {"version='10.2.2 (Debian)'", `failed version: the package version is "Debian"`},
		"no version": {`[ "$*" != --version ] || { echo what; exit 0; }`, `failed version: it prints "what"`},
		"broken":     {"echo illegal >&2; exit 4", "failed version: running qemu-system-x86_64 --version: exit status 4\nillegal"},
		"device":     {"card=e1000", "failed devices: -device virtio-net-pci is missing"},
		"unasked":    {"card=e1000", "failed unasked devices: e1000, among the network devices"},
		"no kvm":     {"accel=qtest", "failed devices: -accel kvm is missing"},
		"tcg": {`accel="kvm
tcg"`, "failed devices: -accel tcg: only KVM"},
		"folder":     {"folder=/usr/share/qemu", "failed firmware folder: it looks in /usr/share/qemu"},
		"unrealized": {"realized=false", "failed machine q35: virtio-net-pci exists, but is not realized"},
		"no BIOS":    {"rom=other.bin", "failed machine q35: bios-256k.bin is not in the memory"},
		"refuses":    {`case "$*" in *qtest*) echo 'bad device' >&2; exit 1 ;; esac`, "failed machine q35: QEMU: exit status 1\nbad device"},
		"silent end": {`case "$*" in *qtest*) exit 0 ;; esac`, "failed machine q35: waiting for QEMU's greeting: EOF"},
		"no QMP":     {`case "$*" in *qtest*) echo '{}'; exit 0 ;; esac`, "failed machine q35: no QMP"},
	} {
		t.Run(title, func(t *testing.T) {
			if got := verdicts(emulated(t, test.change)); !strings.Contains(got, test.want) {
				t.Errorf("no %q in\n%s", test.want, got)
			}
		})
	}
}

func TestEmulationHang(t *testing.T) {
	x := unpacked(t, "x86_64", []byte("#!/bin/sh\nexec sleep 60\n"))
	x.h.Timeout = 100 * time.Millisecond
	_, err := x.try(t.Context(), setting{dir: x.t.Dir}, machine{name: "q35"})
	require.Error(t, err, "QEMU took longer than 100ms")
}

// A program of another architecture is not run, and none of its checks passes.
func TestEmulationOfAnotherArchitecture(t *testing.T) {
	x := unpacked(t, "s390x", elfFile(elf.EM_AVR))
	require.NoError(t, x.check(t.Context()))
	if x.r.Passed+x.r.Failed != 0 || x.r.Skipped != 5 {
		t.Errorf("got\n%s", verdicts(x.r))
	}
}

// Without a program the report names the checks that did not run, so that a check that
// CI requires is one failure among others, and not an unknown name that hides them.
func TestNoProgram(t *testing.T) {
	x := unpacked(t, "x86_64", []byte("not a program"))
	x.r.Required = []string{"version"}
	require.NoError(t, x.Check(t.Context(), x.r, x.t, x.h))
	if got := verdicts(x.r); !strings.Contains(got, "failed program: it is not an ELF file") || !strings.Contains(got, "failed version: required, but skipped: ") {
		t.Errorf("got\n%s", got)
	}
}

func TestEmulationIsInterrupted(t *testing.T) {
	x := unpacked(t, "x86_64", []byte("#!/bin/sh\nexec sleep 60\n"))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := x.check(ctx); err == nil || len(x.r.Checks) > 0 {
		t.Errorf("got %v and\n%s", err, verdicts(x.r))
	}
}

// elfFile is a program without content.
func elfFile(machine elf.Machine) []byte {
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Ehsize: 64,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	var out bytes.Buffer
	if err := binary.Write(&out, binary.LittleEndian, header); err != nil {
		panic(err) // A buffer takes everything, and the types are fixed.
	}
	return out.Bytes()
}

func TestProgram(t *testing.T) {
	for title, test := range map[string]struct {
		file []byte
		want string
	}{
		"good":            {elfFile(elf.EM_X86_64), "passed program: for x86_64"},
		"another machine": {elfFile(elf.EM_AARCH64), "failed program: it is a program for EM_AARCH64: want one for x86_64"},
		"script":          {[]byte("#!/bin/sh\n"), "failed program: it is not an ELF file"},
	} {
		t.Run(title, func(t *testing.T) {
			e := Emulator{arch: "x86_64", required: list{"-machine": {"q35"}}}
			files := verifytest.Tree{e.program(): string(test.file)}
			r := verifytest.Run(t, e, verify.Artifact{Tarball: files.Pack(t, e.program())}, host.Host{Timeout: time.Second})
			if got := verdicts(r); !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestFirmwareFormat(t *testing.T) {
	rom := make([]byte, 1024)
	rom[0], rom[1], rom[2] = 0x55, 0xaa, 2
	rom[3] = -rom[0] - rom[1] - rom[2]
	bad := bytes.Clone(rom)
	bad[9]++
	long := bytes.Clone(rom)
	long[2] = 3
	bios := make([]byte, 64<<10)
	bios[len(bios)-16] = 0xea
	for title, test := range map[string]struct {
		data         []byte
		format, want string
	}{
		"option ROM": {rom, "option ROM, 1024 bytes", ""},
		"checksum":   {bad, "", "an option ROM with a wrong checksum"},
		"cut short":  {long, "", "an option ROM of 1024 bytes that says it has 1536"},
		"BIOS":       {bios, "BIOS with a reset vector, 65536 bytes", ""},
		"ELF":        {elfFile(elf.EM_S390), "ELF, 64 bytes", ""},
		"zeros":      {make([]byte, 2048), "", "only zeros"},
	} {
		format, err := firmwareFormat(test.data)
		if format != test.format || (err != nil) != (test.want != "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: got %q, %v", title, format, err)
		}
	}
}
