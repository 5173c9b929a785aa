package verify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/ovmftable"
)

// checkContents looks for the files that the firmware must have and for those
// that it must not have, in all of its images.
func (f firmware) checkContents(report *Report, images []image) {
	sizes := map[string]int{}
	for _, i := range images {
		for _, file := range i.files {
			sizes[file.Name.String()] = file.Length
		}
	}
	if len(sizes) == 0 {
		return
	}
	var problems, saw, without []string
	for _, c := range f.has {
		if sizes[c.name] == 0 {
			problems = append(problems, fmt.Sprintf("no %s: there is no file %s", c.what, c.name))
		}
		saw = append(saw, fmt.Sprintf("%s %s: %d bytes", c.name, c.what, sizes[c.name]))
	}
	for _, c := range f.lacks {
		if sizes[c.name] != 0 {
			problems = append(problems, fmt.Sprintf("the %s belongs to another firmware: there is a file %s", c.what, c.name))
		}
		without = append(without, c.what)
	}
	saw = append(saw, "none of: "+strings.Join(without, ", "))
	report.Judge("files", problems, "%s", strings.Join(saw, "\n"))
}

// checkVersion looks for the version that guests see in their SMBIOS tables, a
// text of 16-bit characters.
func (o OVMF) checkVersion(report *Report, images []image) {
	const name = "version"
	var text []byte
	for _, r := range utf16.Encode([]rune(o.Version + "\x00")) {
		text = binary.LittleEndian.AppendUint16(text, r)
	}
	for _, i := range images {
		for _, file := range i.files {
			if slices.ContainsFunc(file.Sections, func(s fv.Section) bool { return bytes.Contains(s.Data, text) }) {
				report.Pass(name, "%s, in the file %s", o.Version, file.Name)
				return
			}
		}
	}
	report.Fail(name, "no file has the version %s", o.Version)
}

// checkTable checks what the end of an image for x86_64 says.
func (f firmware) checkTable(report *Report, i image) {
	if i.parsed == nil {
		return
	}
	if reset, err := ovmftable.ParseReset(i.data); err != nil {
		report.Fail("reset vector", "%v", err)
	} else {
		report.Pass("reset vector", "goes to %#x in real mode and to %#x in protected mode", reset.Real, reset.Protected)
	}
	table, err := ovmftable.Parse(i.data)
	if err != nil {
		report.Fail("table of blocks", "%v", err)
		return
	}
	f.checkSEV(report, table)
	f.checkTDX(report, i, table)
}

// checkSEV checks what the monitor prepares for SEV: each firmware starts as an
// SEV-SNP guest, and one alone has a page for hashes of kernel, initrd and
// command line. With such a page in another the monitor would take a boot for
// measured that nothing checks.
func (f firmware) checkSEV(report *Report, table *ovmftable.Table) {
	const name = "SEV metadata"
	sections, err := table.SEV()
	if err != nil {
		report.Fail(name, "%v", err)
		return
	}
	var problems, saw []string
	count := map[ovmftable.SEVType]int{}
	for _, s := range sections {
		count[s.Type]++
		saw = append(saw, fmt.Sprintf("%s %s", s.Area, s.Type))
	}
	for _, once := range []ovmftable.SEVType{ovmftable.SEVSecrets, ovmftable.SEVCPUID} {
		if count[once] != 1 {
			problems = append(problems, fmt.Sprintf("%d sections for %s: want 1", count[once], once))
		}
	}
	if !table.Has(ovmftable.ResetBlock) {
		problems = append(problems, "no block for the reset of further processors under SEV-ES")
	}
	report.Judge(name, problems, "%s", strings.Join(saw, "\n"))
	f.checkHashes(report, table, sections)
}

func (f firmware) checkHashes(report *Report, table *ovmftable.Table, sections []ovmftable.SEVSection) {
	const name = "SEV kernel hashes"
	hashes, err := table.Area(ovmftable.HashesBlock)
	if err != nil {
		report.Fail(name, "%v", err)
		return
	}
	secret, err := table.Area(ovmftable.SecretBlock)
	if err != nil {
		report.Fail(name, "%v", err)
		return
	}
	page := slices.IndexFunc(sections, func(s ovmftable.SEVSection) bool { return s.Type == ovmftable.SEVHashes })
	var problems []string
	switch {
	case !f.hashes && (hashes.Size > 0 || secret.Size > 0 || page >= 0):
		problems = append(problems, fmt.Sprintf("there is room for hashes (%s) or a secret (%s), which belongs to another firmware", hashes, secret))
	case f.hashes && (hashes.Size == 0 || secret.Size == 0):
		problems = append(problems, fmt.Sprintf("the hashes have %d bytes, and the secret has %d: want room for both", hashes.Size, secret.Size))
	case f.hashes && page < 0:
		problems = append(problems, "the metadata has no section for the page of the hashes, so that SEV-SNP refuses them")
	case f.hashes && !sections[page].Area.Has(hashes):
		problems = append(problems, fmt.Sprintf("the hashes at %s are outside of their page %s", hashes, sections[page].Area))
	}
	if f.hashes {
		report.Judge(name, problems, "hashes at %s, secret at %s", hashes, secret)
	} else {
		report.Judge(name, problems, "none, as it should be")
	}
}

// checkTDX checks what the monitor loads for a TD.
func (f firmware) checkTDX(report *Report, i image, table *ovmftable.Table) {
	const name = "TDX metadata"
	sections, err := table.TDX()
	if err != nil {
		report.Fail(name, "%v", err)
		return
	}
	var problems, saw []string
	count := map[ovmftable.TDXType]int{}
	for _, s := range sections {
		count[s.Type]++
		line := fmt.Sprintf("%s %s", s.Area, s.Type)
		if s.Measured {
			line += ", measured"
		}
		saw = append(saw, line)
		if s.Type == ovmftable.TDXFirmware && (!s.Measured || s.Offset+s.Length != len(i.data)) {
			problems = append(problems, fmt.Sprintf("the firmware %s is not measured up to its end", s.Area))
		}
	}
	for _, once := range []ovmftable.TDXType{ovmftable.TDXFirmware, ovmftable.TDXVariables, ovmftable.TDXHandOff} {
		if count[once] != 1 {
			problems = append(problems, fmt.Sprintf("%d sections for %s: want 1", count[once], once))
		}
	}
	report.Judge(name, problems, "%s", strings.Join(saw, "\n"))
}

// checkBranch follows the first instructions of firmware for aarch64: over the
// head, and then over the header of the first volume.
func (f flash) checkBranch(report *Report, i image) {
	if i.parsed == nil {
		return
	}
	const name = "reset vector"
	const instruction = 4
	first, err := ovmftable.ParseBranch(i.data)
	if err == nil && (first != f.head || bytes.Count(i.data[instruction:f.head], []byte{0xff}) != f.head-instruction) {
		err = fmt.Errorf("its first %d bytes are not just a branch behind them, but one to %#x and more", f.head, first)
	}
	var second int
	if err == nil {
		second, err = ovmftable.ParseBranch(i.data[f.head:])
	}
	if err == nil && second >= i.parsed.Volumes[0].Length {
		err = fmt.Errorf("the branch at %#x goes to %#x, behind the first volume", f.head, f.head+second)
	}
	if err != nil {
		report.Fail(name, "%v", err)
		return
	}
	report.Pass(name, "a branch to %#x, and from there to %#x", first, f.head+second)
}
