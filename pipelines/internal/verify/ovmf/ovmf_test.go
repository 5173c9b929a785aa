package ovmf

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

const edk2 = "edk2-stable202502"

// Files of firmware, by name.
const (
	gCompressed = "9e21fd93-9c72-4c15-8c4b-e77f1db2d792"
	gReset      = "1ba0062e-c779-4582-8566-336ae8f78f09"
	gSEC        = "df1ccef6-f301-4a63-9661-fc6030dcc880"
	gTDXSEC     = "69d96630-eb64-4b33-8491-13a5cf023dcf"
	gARMSEC     = "4c97830a-8e18-4aa6-9fd0-837b089910e2"
	gPEI        = "52c05b14-0b98-496c-bc3b-04b50211d680"
	gDXE        = "d6a2cb7f-6a18-4e2f-b43b-9920a733700a"
	gBDS        = "6d33944a-ec75-4855-a54d-809c75241f6c"
	gLoader     = "806040ca-dad9-4978-a3b4-2d2ab0c8a48f"
	gShell      = "7c04a583-9e3e-4f1c-ad65-e05268d0b4d1"
	gSEV        = "2ec9da37-ee35-4de9-86c5-6d9a81dc38a7"
	gTDX        = "e750224e-7bce-40af-b5bb-47e3611eb5c2"
	gSecret     = "6e2b9619-8810-4e9d-a177-d432bb9abeda"
)

// parts is what a firmware is made of; a test changes some of it.
type parts struct {
	asset, arch, name string
	sec               string
	// drivers are compressed.
	drivers []string
	version string
	hashes  []uint32
	secret  []uint32
	sev     [][]uint32
	tdx     [][]uint32
	noReset bool
}

func plainParts() parts {
	return parts{
		asset: "ovmf", arch: "x86_64", name: "ovmf/OVMF.fd", sec: gSEC, version: edk2,
		drivers: []string{gDXE, gBDS, gLoader, gPEI, gShell, gSEV, gTDX},
		hashes:  []uint32{0, 0}, secret: []uint32{0, 0},
		sev: [][]uint32{{0x800000, 0x9000, 1}, {0x80d000, 0x1000, 2}, {0x80e000, 0x1000, 3}},
		tdx: [][]uint32{
			{0x84000, 0x37c000, 0xffc84000, 0, 0x37c000, 0, 0, 1}, {0, 0x84000, 0xffc00000, 0, 0x84000, 0, 1, 0}, {0, 0, 0x809000, 0, 0x2000, 0, 2, 0},
		},
	}
}

func sevParts() parts {
	p := plainParts()
	p.asset, p.name = "ovmf-sev", "ovmf/AMDSEV.fd"
	p.drivers = []string{gDXE, gBDS, gLoader, gPEI, gSEV, gSecret}
	p.hashes, p.secret = []uint32{0x810c00, 0x400}, []uint32{0x810000, 0xc00}
	p.sev = append(p.sev, []uint32{0x810000, 0x1000, 0x10})
	return p
}

func tdxParts() parts {
	p := plainParts()
	p.asset, p.name, p.sec = "ovmf-tdx", "ovmf/OVMF.inteltdx.fd", gTDXSEC
	p.drivers = []string{gDXE, gBDS, gLoader, gShell, gTDX}
	return p
}

func armParts() parts {
	return parts{
		asset: "ovmf", arch: "aarch64", name: "aavmf/AAVMF_CODE.fd", sec: gARMSEC, version: edk2,
		drivers: []string{gDXE, gBDS, gLoader, gPEI, gShell},
	}
}

func little(numbers ...uint32) []byte {
	var data []byte
	for _, n := range numbers {
		data = binary.LittleEndian.AppendUint32(data, n)
	}
	return data
}

// codeFile is one with a section of code.
func codeFile(name, text string) []byte {
	return makeFile(name, 0x07, makeSection(0x10, []byte(text)))
}

// files makes what a tarball has.
func (p parts) files() verifytest.Tree {
	var version []byte
	for _, c := range utf16.Encode([]rune(p.version + "\x00")) {
		version = binary.LittleEndian.AppendUint16(version, c)
	}
	var drivers [][]byte
	for _, name := range p.drivers {
		drivers = append(drivers, codeFile(name, string(version)))
	}
	nested := makeVolume(fileSystem2, 8192, nil, drivers...)
	packed := makeFile(gCompressed, 0x0b, makeCompressed(makeSection(0x17, nested)))
	if p.arch == "aarch64" {
		const size, head = 64 << 20, 4096
		start := slices.Concat(little(0x14000400), bytes.Repeat([]byte{0xff}, head-4))
		if p.noReset {
			start[8] = 0
		}
		code := makeVolume(fileSystem2, 2<<20, nil, packed, codeFile(p.sec, "code"))
		binary.LittleEndian.PutUint32(code, 0x14000020)
		seal(code)
		code = append(start, code...)
		variables := makeVariables(0xc0000)
		return verifytest.Tree{
			"opt/kata/share/" + p.name:           string(append(code, make([]byte, size-len(code))...)),
			"opt/kata/share/aavmf/AAVMF_VARS.fd": string(append(variables, make([]byte, size-len(variables))...)),
		}
	}
	top := makeTop([]testBlock{
		{GUID: tdxBlock}, {GUID: sevBlock},
		{GUID: hashesBlock, Data: little(p.hashes...)}, {GUID: secretBlock, Data: little(p.secret...)},
		{GUID: resetBlock, Data: little(0x80b004)},
	}, map[string][]byte{
		sevBlock: makeDescriptor("ASEV", p.sev...), tdxBlock: makeDescriptor("TDVF", p.tdx...),
	})
	if p.noReset {
		clear(top[len(top)-16:])
	}
	return verifytest.Tree{"opt/kata/share/" + p.name: string(slices.Concat(
		makeVariables(0x84000),
		makeVolume(fileSystem2, 0x348000, nil, packed),
		makeVolume(fileSystem2, 0x34000, makeFile(gReset, 0x01, top), codeFile(p.sec, "code"))))}
}

// firmwareScript is QEMU for healthy firmware: with hashes it starts only a program that
// has the right ones.
const (
	plainScript = `case "$*" in *-kernel*) echo 'kata-verify: the firmware has started this program';; *) printf '\033[2J\033[01;01HUEFI Interactive Shell v2.2\r\n';; esac`
	tdxScript   = `case "$*" in *-kernel*) echo 'kata-verify: the firmware has started this program';; *) echo 'BdsDxe: No bootable option or device was found.';; esac`
	sevScript   = `case "$*" in *other-hashes*) exec sleep 60;; *hashes*) echo 'kata-verify: the firmware has started this program';; *) echo 'BdsDxe: No bootable option was found.';; esac`
)

func look(t *testing.T, p parts, files verifytest.Tree, script string) *report.Report {
	t.Helper()
	h := verifytest.Host(t, map[string]string{"qemu-system-x86_64": script, "qemu-system-aarch64": script})
	if script == sevScript {
		h.Timeout = 2 * time.Second
	}
	if script == "" {
		h = verifytest.NoBoot
	}
	return lookOn(t, p, files, h)
}

func lookOn(t *testing.T, p parts, files verifytest.Tree, h host.Host) *report.Report {
	t.Helper()
	f, err := New(p.asset, p.arch, edk2)
	require.NoError(t, err)
	return verifytest.Run(t, f, verify.Artifact{Asset: p.asset, Arch: p.arch, Tarball: files.Pack(t)}, h)
}

func TestHealthyFirmware(t *testing.T) {
	for title, test := range map[string]struct {
		parts  parts
		script string
		passed int
	}{
		"plain": {plainParts(), plainScript, 10},
		"sev":   {sevParts(), sevScript, 12},
		"tdx":   {tdxParts(), tdxScript, 10},
		"arm":   {armParts(), plainScript, 8},
	} {
		t.Run(title, func(t *testing.T) {
			r := look(t, test.parts, test.parts.files(), test.script)
			for _, c := range r.Checks {
				if c.Verdict != report.Passed {
					t.Errorf("%s: %s: %s", c.Name, c.Verdict, c.Saw)
				}
			}
			if r.Passed != test.passed {
				t.Errorf("%d checks passed: want %d", r.Passed, test.passed)
			}
		})
	}
}

func TestBadFirmware(t *testing.T) {
	change := func(p parts, f func(p *parts)) parts {
		f(&p)
		return p
	}
	for title, test := range map[string]struct {
		parts       parts
		check, want string
	}{
		"hashes in the plain one":   {change(plainParts(), func(p *parts) { p.hashes = []uint32{0x810c00, 0x400} }), "SEV kernel hashes", "belongs to another firmware"},
		"a page of hashes":          {change(plainParts(), func(p *parts) { p.sev = append(p.sev, []uint32{0x810000, 0x1000, 0x10}) }), "SEV kernel hashes", "belongs to another firmware"},
		"no hashes":                 {change(sevParts(), func(p *parts) { p.hashes = []uint32{0, 0} }), "SEV kernel hashes", "the hashes have 0 bytes"},
		"no page for hashes":        {change(sevParts(), func(p *parts) { p.sev = p.sev[:3] }), "SEV kernel hashes", "SEV-SNP refuses them"},
		"hashes outside":            {change(sevParts(), func(p *parts) { p.hashes = []uint32{0x810c00, 0x401} }), "SEV kernel hashes", "outside of their page 0x810000-0x811000"},
		"no secrets page":           {change(plainParts(), func(p *parts) { p.sev = p.sev[2:] }), "SEV metadata", "0 sections for secrets: want 1"},
		"SEV overlap":               {change(plainParts(), func(p *parts) { p.sev[1][0] = 0x800000 }), "SEV metadata", "overlap"},
		"TDX in the SEV one":        {change(sevParts(), func(p *parts) { p.drivers = append(p.drivers, gTDX) }), "files", "the TDX driver belongs to another firmware"},
		"a shell in the SEV one":    {change(sevParts(), func(p *parts) { p.drivers = append(p.drivers, gShell) }), "files", "the shell belongs to another firmware"},
		"SEV in the TDX one":        {change(tdxParts(), func(p *parts) { p.drivers = append(p.drivers, gSEV) }), "files", "the SEV driver belongs to another firmware"},
		"plain code in the TDX one": {change(tdxParts(), func(p *parts) { p.sec = gSEC }), "files", "no first code of TDX: there is no file 69d96630"},
		"no driver":                 {change(plainParts(), func(p *parts) { p.drivers = p.drivers[1:] }), "files", "no DXE core"},
		"firmware not measured":     {change(tdxParts(), func(p *parts) { p.tdx[0][7] = 0 }), "TDX metadata", "is not measured up to its end"},
		"no hand-off":               {change(tdxParts(), func(p *parts) { p.tdx = p.tdx[:2] }), "TDX metadata", "0 sections for hand-off: want 1"},
		"another version":           {change(plainParts(), func(p *parts) { p.version = "edk2-stable202508" }), "version", "no file has the version edk2-stable202502"},
		"more in the head":          {change(armParts(), func(p *parts) { p.noReset = true }), "reset vector", "not just a branch"},
		"no reset vector":           {change(plainParts(), func(p *parts) { p.noReset = true }), "reset vector", "not the code of OVMF"},
	} {
		t.Run(title, func(t *testing.T) {
			r := look(t, test.parts, test.parts.files(), "")
			c := verifytest.Find(t, r, test.check)
			if c.Verdict != report.Failed || !strings.Contains(c.Saw, test.want) {
				t.Errorf("%s: %s, want %q", c.Verdict, c.Saw, test.want)
			}
		})
	}
}

func TestBadFirmwareFiles(t *testing.T) {
	const path = "opt/kata/share/ovmf/OVMF.fd"
	for title, test := range map[string]struct {
		change      func(files verifytest.Tree)
		check, want string
	}{
		"missing":       {func(f verifytest.Tree) { delete(f, path); f["opt/kata/share/ovmf/README"] = "" }, "members", "./opt/kata/share/ovmf/OVMF.fd is missing"},
		"more":          {func(f verifytest.Tree) { f["opt/kata/share/ovmf/OVMF_VARS.fd"] = "" }, "members", "./opt/kata/share/ovmf/OVMF_VARS.fd does not belong"},
		"link":          {func(f verifytest.Tree) { f[path] = "-> OVMF_CODE.fd" }, "members", "want -rw-r--r--"},
		"short":         {func(f verifytest.Tree) { f[path] = f[path][:1<<20] }, "members", "has 1048576 bytes: want 4194304"},
		"cut":           {func(f verifytest.Tree) { f[path] = f[path][:1<<20] }, "volumes of OVMF.fd", "3440640 bytes by its header"},
		"damaged":       {func(f verifytest.Tree) { f[path] = "x" + f[path][1:] }, "volumes of OVMF.fd", "the checksum of its header is wrong"},
		"other volumes": {func(f verifytest.Tree) { f[path] = f[path][0x84000:] + f[path][:0x84000] }, "volumes of OVMF.fd", "volume 1 at 0x0-0x348000 has the file system 8c8ce578"},
		"a variable":    {func(f verifytest.Tree) { f[path] = f[path][:0x100] + "\xaa\x55" + f[path][0x102:] }, "volumes of OVMF.fd", "there is a variable at 0x100"},
	} {
		t.Run(title, func(t *testing.T) {
			files := plainParts().files()
			test.change(files)
			c := verifytest.Find(t, look(t, plainParts(), files, ""), test.check)
			if c.Verdict != report.Failed || !strings.Contains(c.Saw, test.want) {
				t.Errorf("%s: %s, want %q", c.Verdict, c.Saw, test.want)
			}
		})
	}
}

func TestFirmwareBoots(t *testing.T) {
	for title, test := range map[string]struct {
		parts       parts
		script      string
		check, want string
	}{
		"refused":                   {plainParts(), `echo "no such machine" >&2; exit 1`, "boot", "QEMU failed: no such machine"},
		"off":                       {plainParts(), `echo nothing`, "boot", `the machine powered off after`},
		"neither shell nor manager": {plainParts(), `echo 'BdsDxe: starting'`, "boot", `want "UEFI Interactive Shell v" or "BdsDxe: No bootable option"`},
		"kernel not started":        {plainParts(), `echo 'UEFI Interactive Shell v2.2'`, "boot of a kernel", `"UEFI Interactive Shell v2.2" on the serial line`},
		"hash not believed":         {sevParts(), `echo 'BdsDxe: No bootable option was found.'`, "boot of a kernel with its hash", "No bootable option"},
		"kernel without hash":       {sevParts(), `case "$*" in *-kernel*) echo 'kata-verify: the firmware has started this program';; esac`, "boot of a kernel with no hash", "has started this program"},
		"kernel with another hash":  {sevParts(), `case "$*" in *-kernel*) echo 'kata-verify: the firmware has started this program';; esac`, "boot of a kernel with another hash", "want a silent stop"},
	} {
		t.Run(title, func(t *testing.T) {
			c := verifytest.Find(t, look(t, test.parts, test.parts.files(), test.script), test.check)
			if c.Verdict != report.Failed || !strings.Contains(c.Saw, test.want) {
				t.Errorf("%s: %s, want %q", c.Verdict, c.Saw, test.want)
			}
		})
	}
	p := plainParts()
	r := lookOn(t, p, p.files(), verifytest.Host(t, nil))
	if c := verifytest.Find(t, r, "boot"); c.Verdict != report.Skipped || !strings.Contains(c.Saw, "apt-get install qemu-system-x86") {
		t.Errorf("%s: %s", c.Verdict, c.Saw)
	}
	if c := verifytest.Find(t, look(t, p, p.files(), ""), "boot"); c.Verdict != report.Skipped || c.Saw != verifytest.NoBoot.Skip {
		t.Errorf("%s: %s", c.Verdict, c.Saw)
	}
	if _, err := New("ovmf", "s390x", edk2); err == nil || !strings.Contains(err.Error(), `the firmware "ovmf" on s390x`) {
		t.Errorf("got %v", err)
	}
}
