package ovmf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// readVolumes reads the volumes of an image, compares their file systems with the
// known ones, and checks that the store of variables is empty.
func (i *image) readVolumes() (saw string, err error) {
	if len(i.data) < i.head {
		return "", fmt.Errorf("%d bytes: too few for its head of %d", len(i.data), i.head)
	}
	if i.volumes, err = parseVolumes(i.data[i.head:], 0); err != nil {
		return "", err
	}
	var problems []error
	if len(i.volumes) != len(i.fileSystems) {
		problems = append(problems, fmt.Errorf("%d volumes: want %d", len(i.volumes), len(i.fileSystems)))
	}
	var lines []string
	for n, v := range i.volumes {
		what := fmt.Sprintf("%#x-%#x", i.head+v.offset, i.head+v.offset+len(v.data))
		switch {
		case n < len(i.fileSystems) && v.fileSystem != i.fileSystems[n]:
			problems = append(problems, fmt.Errorf("volume %d at %s has the file system %s: want %s",
				n+1, what, v.fileSystem, i.fileSystems[n]))
		case v.fileSystem == variables:
			size, err := v.emptyStore()
			problems = append(problems, err)
			lines = append(lines, fmt.Sprintf("%s: no variables in a store of %d KiB", what, size>>10))
		default:
			lines = append(lines, fmt.Sprintf("%s: %d files", what, len(v.files)))
		}
	}
	return strings.Join(lines, "\n"), errors.Join(problems...)
}

// checkFiles looks for the files that the firmware must have and for those that
// belong to another one.
func (f Firmware) checkFiles() (saw string, err error) {
	sizes := map[string]int{}
	for _, file := range f.files {
		sizes[file.name] = len(file.data)
	}
	var problems []error
	var lines, without []string
	for _, c := range f.has {
		if sizes[c.name] == 0 {
			problems = append(problems, fmt.Errorf("no %s: there is no file %s", c.what, c.name))
		}
		lines = append(lines, fmt.Sprintf("%s %s: %d bytes", c.name, c.what, sizes[c.name]))
	}
	for _, c := range f.lacks {
		if sizes[c.name] != 0 {
			problems = append(problems, fmt.Errorf("the %s belongs to another firmware: there is a file %s", c.what, c.name))
		}
		without = append(without, c.what)
	}
	lines = append(lines, "none of: "+strings.Join(without, ", "))
	return strings.Join(lines, "\n"), errors.Join(problems...)
}

// checkVersion looks for the version that guests see in their SMBIOS tables.
func (f Firmware) checkVersion() (saw string, err error) {
	text := wide(f.version + "\x00")
	for _, file := range f.files {
		if bytes.Contains(file.data, text) {
			return fmt.Sprintf("%s, in the file %s", f.version, file.name), nil
		}
	}
	return "", fmt.Errorf("no file has the version %s", f.version)
}

// wide returns a text in the 16-bit characters of UEFI.
func wide(text string) (data []byte) {
	for _, c := range utf16.Encode([]rune(text)) {
		data = binary.LittleEndian.AppendUint16(data, c)
	}
	return data
}

// describe lists sections, and checks that there is one of each of the kinds.
func describe(sections []section, kinds ...string) (saw string, err error) {
	var problems []error
	var lines []string
	count := map[string]int{}
	for _, s := range sections {
		count[s.kind]++
		lines = append(lines, s.String())
	}
	for _, kind := range kinds {
		if count[kind] != 1 {
			problems = append(problems, fmt.Errorf("%d sections for %s: want 1", count[kind], kind))
		}
	}
	return strings.Join(lines, "\n"), errors.Join(problems...)
}

// checkSEV checks what the monitor prepares for SEV: each firmware starts as an
// SEV-SNP guest.
func (t *table) checkSEV() (saw string, err error) {
	sections, err := t.sev()
	if err != nil {
		return "", err
	}
	saw, err = describe(sections, "secrets", "cpuid")
	if t.blocks[resetBlock] == nil {
		err = errors.Join(err, errors.New("no block for the reset of further processors under SEV-ES"))
	}
	return saw, err
}

// checkHashes checks that only the firmware that verifies the hashes of kernel, initrd
// and command line has a page for them. With a page in another firmware, the monitor
// would count a boot as measured that nothing verifies.
func (v variant) checkHashes(t *table) (saw string, err error) {
	sections, err := t.sev()
	if err != nil {
		return "", err
	}
	hashes, err := t.area(hashesBlock)
	if err != nil {
		return "", err
	}
	secret, err := t.area(secretBlock)
	if err != nil {
		return "", err
	}
	page := slices.IndexFunc(sections, func(s section) bool { return s.kind == "kernel hashes" })
	switch {
	case !v.hashes && (hashes.size > 0 || secret.size > 0 || page >= 0):
		return "", fmt.Errorf("there is room for hashes (%s) or a secret (%s), which belongs to another firmware", hashes, secret)
	case !v.hashes:
		return "none, as it should be", nil
	case hashes.size == 0 || secret.size == 0:
		return "", fmt.Errorf("the hashes have %d bytes, and the secret has %d: want room for both", hashes.size, secret.size)
	case page < 0:
		return "", errors.New("the metadata has no section for the page of the hashes, so that SEV-SNP refuses them")
	case !sections[page].has(hashes):
		return "", fmt.Errorf("the hashes at %s are outside of their page %s", hashes, sections[page].area)
	}
	return fmt.Sprintf("hashes at %s, secret at %s", hashes, secret), nil
}

// checkTDX checks what the monitor loads for a TD.
func (t *table) checkTDX() (saw string, err error) {
	sections, err := t.tdx()
	if err != nil {
		return "", err
	}
	saw, err = describe(sections, "firmware", "variables", "hand-off")
	for _, s := range sections {
		if s.kind == "firmware" && (!s.measured || s.offset+s.length != len(t.image)) {
			err = errors.Join(err, fmt.Errorf("the firmware %s is not measured up to its end", s.area))
		}
	}
	return saw, err
}
