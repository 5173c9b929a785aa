package ovmf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// checkFiles looks for the files that the firmware must have and for those that
// belong to another one, in all of its images.
func (v variant) checkFiles(r *report.Report, images []image) {
	sizes := map[string]int{}
	for _, i := range images {
		for _, file := range i.files {
			sizes[file.name] = file.size
		}
	}
	if len(sizes) == 0 {
		return
	}
	var problems, saw, without []string
	for _, c := range v.has {
		if sizes[c.name] == 0 {
			problems = append(problems, fmt.Sprintf("no %s: there is no file %s", c.what, c.name))
		}
		saw = append(saw, fmt.Sprintf("%s %s: %d bytes", c.name, c.what, sizes[c.name]))
	}
	for _, c := range v.lacks {
		if sizes[c.name] != 0 {
			problems = append(problems, fmt.Sprintf("the %s belongs to another firmware: there is a file %s", c.what, c.name))
		}
		without = append(without, c.what)
	}
	saw = append(saw, "none of: "+strings.Join(without, ", "))
	r.Judge("files", problems, "%s", strings.Join(saw, "\n"))
}

// checkVersion looks for the version that guests see in their SMBIOS tables, a
// text of 16-bit characters.
func (f Firmware) checkVersion(r *report.Report, images []image) {
	const name = "version"
	var text []byte
	for _, c := range utf16.Encode([]rune(f.version + "\x00")) {
		text = binary.LittleEndian.AppendUint16(text, c)
	}
	for _, i := range images {
		for _, file := range i.files {
			if slices.ContainsFunc(file.sections, func(s []byte) bool { return bytes.Contains(s, text) }) {
				r.Pass(name, "%s, in the file %s", f.version, file.name)
				return
			}
		}
	}
	r.Fail(name, "no file has the version %s", f.version)
}

// checkTable checks the end of an image for x86_64.
func (v variant) checkTable(r *report.Report, image []byte) {
	if realMode, protected, err := parseReset(image); err != nil {
		r.Fail("reset vector", "%v", err)
	} else {
		r.Pass("reset vector", "goes to %#x in real mode and to %#x in protected mode", realMode, protected)
	}
	table, err := parseTable(image)
	if err != nil {
		r.Fail("table of blocks", "%v", err)
		return
	}
	v.checkSEV(r, table)
	checkTDX(r, table)
}

// once wants one section of each kind.
func once(sections []section, kinds ...string) (problems []string) {
	for _, kind := range kinds {
		count := 0
		for _, s := range sections {
			if s.kind == kind {
				count++
			}
		}
		if count != 1 {
			problems = append(problems, fmt.Sprintf("%d sections for %s: want 1", count, kind))
		}
	}
	return problems
}

// checkSEV checks what the monitor prepares for SEV: each firmware starts as an
// SEV-SNP guest, and only one has a page for hashes of kernel, initrd and command
// line. With such a page in another, the monitor would take a boot for measured
// that nothing checks.
func (v variant) checkSEV(r *report.Report, t *table) {
	const name = "SEV metadata"
	sections, err := t.sev()
	if err != nil {
		r.Fail(name, "%v", err)
		return
	}
	problems := once(sections, "secrets", "cpuid")
	if t.blocks[resetBlock] == nil {
		problems = append(problems, "no block for the reset of further processors under SEV-ES")
	}
	var saw []string
	for _, s := range sections {
		saw = append(saw, fmt.Sprintf("%s %s", s.area, s.kind))
	}
	r.Judge(name, problems, "%s", strings.Join(saw, "\n"))
	v.checkHashes(r, t, sections)
}

func (v variant) checkHashes(r *report.Report, t *table, sections []section) {
	const name = "SEV kernel hashes"
	hashes, err := t.area(hashesBlock)
	if err != nil {
		r.Fail(name, "%v", err)
		return
	}
	secret, err := t.area(secretBlock)
	if err != nil {
		r.Fail(name, "%v", err)
		return
	}
	page := slices.IndexFunc(sections, func(s section) bool { return s.kind == "kernel hashes" })
	var problems []string
	switch {
	case !v.hashes && (hashes.size > 0 || secret.size > 0 || page >= 0):
		problems = append(problems, fmt.Sprintf("there is room for hashes (%s) or a secret (%s), which belongs to another firmware", hashes, secret))
	case v.hashes && (hashes.size == 0 || secret.size == 0):
		problems = append(problems, fmt.Sprintf("the hashes have %d bytes, and the secret has %d: want room for both", hashes.size, secret.size))
	case v.hashes && page < 0:
		problems = append(problems, "the metadata has no section for the page of the hashes, so that SEV-SNP refuses them")
	case v.hashes && !sections[page].has(hashes):
		problems = append(problems, fmt.Sprintf("the hashes at %s are outside of their page %s", hashes, sections[page].area))
	}
	saw := "none, as it should be"
	if v.hashes {
		saw = fmt.Sprintf("hashes at %s, secret at %s", hashes, secret)
	}
	r.Judge(name, problems, "%s", saw)
}

// checkTDX checks what the monitor loads for a TD.
func checkTDX(r *report.Report, t *table) {
	const name = "TDX metadata"
	sections, err := t.tdx()
	if err != nil {
		r.Fail(name, "%v", err)
		return
	}
	problems := once(sections, "firmware", "variables", "hand-off")
	var saw []string
	for _, s := range sections {
		line := fmt.Sprintf("%s %s", s.area, s.kind)
		if s.measured {
			line += ", measured"
		}
		saw = append(saw, line)
		if s.kind == "firmware" && (!s.measured || s.offset+s.length != len(t.image)) {
			problems = append(problems, fmt.Sprintf("the firmware %s is not measured up to its end", s.area))
		}
	}
	r.Judge(name, problems, "%s", strings.Join(saw, "\n"))
}

// checkBranch follows the first instructions of firmware for aarch64: over the
// head, and then over the header of the first volume.
func (f flash) checkBranch(r *report.Report, i image) {
	const name, instruction = "reset vector", 4
	first, err := parseBranch(i.data)
	if err == nil && (first != f.head || bytes.Count(i.data[instruction:f.head], []byte{0xff}) != f.head-instruction) {
		err = fmt.Errorf("its first %d bytes are not just a branch over them, but one to %#x and more", f.head, first)
	}
	var second int
	if err == nil {
		second, err = parseBranch(i.data[f.head:])
	}
	if err == nil && second >= len(i.volumes[0].data) {
		err = fmt.Errorf("the branch at %#x goes to %#x, beyond the first volume", f.head, f.head+second)
	}
	if err != nil {
		r.Fail(name, "%v", err)
		return
	}
	r.Pass(name, "a branch to %#x, and from there to %#x", first, f.head+second)
}
