package ovmf

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

var (
	name  = "00030201-0000-0000-0000-000000000000"
	inner = "00060504-0000-0000-0000-000000000000"
)

const driver = 0x07

// small is an image: variables, a volume with a compressed one, and padding.
func small() []byte {
	nested := makeVolume(fileSystem2, 4096, nil,
		makeFile(inner, driver, makeSections(makeSection(0x10, []byte("code")))))
	content := makeSections(makeSection(0x19, []byte{1, 2, 3}), makeSection(0x17, nested))
	return slices.Concat(
		makeVariables(8192),
		makeVolume(fileSystem2, 8192, makeFile(inner, 0x01, []byte("raw, no sections")),
			makeFile(name, driver, makeSections(makeSection(0x15, []byte("ui")), makeCompressed(content)))),
		make([]byte, 4096))
}

func TestParseVolumes(t *testing.T) {
	volumes, err := parseVolumes(small(), 0)
	require.NoError(t, err)
	if len(volumes) != 2 {
		t.Fatalf("%d volumes", len(volumes))
	}
	store, files := volumes[0], volumes[1]
	if size, err := store.emptyStore(); store.fileSystem != variables || err != nil || size != (8192-72)/2 {
		t.Errorf("a store of %d bytes in %s, %v", size, store.fileSystem, err)
	}
	if _, err := files.emptyStore(); err == nil {
		t.Error("a volume of files keeps variables")
	}
	if files.offset != 8192 || len(files.data) != 8192 || len(files.files) != 3 {
		t.Fatalf("the volume is %+v", files)
	}
	if f := files.files[0]; f.name != name || !bytes.Contains(f.data, []byte("\x06\x00\x00\x15ui")) {
		t.Errorf("the first file is %+v", f)
	}
	if f := files.files[2]; f.name != inner || string(f.data[24:]) != "raw, no sections" {
		t.Errorf("the file at the top is %+v", f)
	}
	if f := files.files[1]; f.name != inner || string(f.data[24:]) != "\x08\x00\x00\x10code" {
		t.Errorf("the file of the volume in it is %+v", f)
	}
}

// The damages, each to a healthy volume of one file at 72, or to variables.
func TestParseVolumesRefuses(t *testing.T) {
	const file = 72
	put32 := binary.LittleEndian.PutUint32
	for title, test := range map[string]struct {
		damage func(v []byte) []byte
		want   string
	}{
		"nothing":         {func([]byte) []byte { return nil }, "no firmware volume in its 0 bytes"},
		"zeros":           {func(v []byte) []byte { clear(v); return v }, "no firmware volume in its 4096 bytes"},
		"text":            {func([]byte) []byte { return []byte("not firmware") }, "the bytes at 0x0 belong to no firmware volume"},
		"cut":             {func(v []byte) []byte { return v[:2048] }, "it has 4096 bytes by its header, but the image has 2048"},
		"bytes behind":    {func(v []byte) []byte { return append(v, 0, 0, 1) }, "the bytes at 0x1002 belong to no firmware volume"},
		"bytes between":   {func(v []byte) []byte { return slices.Concat(v, make([]byte, 100), v) }, "belong to no firmware volume"},
		"checksum":        {func(v []byte) []byte { v[0]++; return v }, "reading the volume at 0x0: the checksum of its header is wrong: the sum is 0x0001"},
		"header length":   {func(v []byte) []byte { put32(v[48:], 8); return v }, "its header has a length of 8"},
		"header beyond":   {func(v []byte) []byte { binary.LittleEndian.PutUint16(v[48:], 5000); return v }, "its header has a length of 5000"},
		"extended header": {func(v []byte) []byte { v[52] = 8; seal(v); return v }, "its extended header is at 0x8, outside"},
		"extended length": {func(v []byte) []byte { v[52] = 72; put32(v[88:], 1<<30); seal(v); return v }, "its extended header has 1073741824 bytes"},
		"file length":     {func(v []byte) []byte { v[file+21] = 0xff; sealFile(v[file:]); return v }, "bytes by its header, but the volume has"},
		"file too short":  {func(v []byte) []byte { put32(v[file+20:], 8); sealFile(v[file:]); return v }, "it has 8 bytes by its header"},
		"section length":  {func(v []byte) []byte { v[file+24] = 0xff; return v }, "its section 1 has 255 bytes by its header"},
		"section zero":    {func(v []byte) []byte { v[file+24] = 0; return v }, "its section 1 has 0 bytes by its header"},
		"section GUID":    {func(v []byte) []byte { v[file+27] = 2; return v }, "4 bytes are too few for a GUID"},
	} {
		t.Run(title, func(t *testing.T) {
			volume := makeVolume(fileSystem2, 4096, nil, makeFile(name, driver, makeSection(0x10, []byte("code"))))
			if _, err := parseVolumes(volume, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := parseVolumes(test.damage(volume), 0); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestNestedRefuses(t *testing.T) {
	for title, test := range map[string]struct {
		section []byte
		want    string
	}{
		"damaged LZMA":    {cut(makeCompressed(makeSection(0x17, make([]byte, 4096))), 30), "unpacking the file 00030201-0000-0000-0000-000000000000: "},
		"no volume":       {makeSection(0x17, make([]byte, 100)), "no firmware volume in its 100 bytes"},
		"damaged content": {makeCompressed([]byte{0xff, 0, 0, 0, 0}), "its section 1 has 255 bytes"},
	} {
		volume := makeVolume(fileSystem2, 8192, nil, makeFile(name, driver, test.section))
		if _, err := parseVolumes(volume, 0); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", title, err, test.want)
		}
	}
}

// cut removes the end of a section.
func cut(section []byte, bytes int) []byte {
	section = section[:len(section)-bytes]
	section[0], section[1] = byte(len(section)), byte(len(section)>>8)
	return section
}

func TestVariableStoreRefuses(t *testing.T) {
	for at, want := range map[int]string{
		72: "want aaf32c78-947b-439a-a180-2e144ec37792", 72 + 19: "in a volume with room for", 72 + 20: "has format 0x5b", 72 + 28: "there is a variable at 0x64",
	} {
		data := makeVariables(8192)
		data[at]++
		volumes, err := parseVolumes(data, 0)
		require.NoError(t, err)
		if _, err := volumes[0].emptyStore(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with another byte at %d: got %v, want %q", at, err, want)
		}
	}
}

// TestDepth guards against an image whose nesting takes all time or memory.
func TestDepth(t *testing.T) {
	volume := makeVolume(fileSystem2, 4096, nil, makeFile(name, driver, makeSection(0x10, []byte("code"))))
	for range 3 * maxDepth {
		volume = makeVolume(fileSystem2, len(volume)+4096, nil, makeFile(name, driver, makeSection(0x17, volume)))
	}
	volumes, err := parseVolumes(volume, 0)
	require.NoError(t, err)
	if got := len(volumes[0].files); got > maxDepth+2 {
		t.Errorf("got the files of %d volumes in each other", got)
	}
	content := []byte("code")
	for range 3 * maxDepth {
		content = makeCompressed(makeSection(0x10, content))
	}
	if _, err := parseVolumes(makeVolume(fileSystem2, 1<<16, nil, makeFile(name, driver, content)), 0); err != nil {
		t.Error(err)
	}
}

func TestGUID(t *testing.T) {
	stored := []byte{0x78, 0xe5, 0x8c, 0x8c, 0x3d, 0x8a, 0x1c, 0x4f, 0x99, 0x35, 0x89, 0x61, 0x85, 0xc3, 0x2d, 0xd3}
	if got := guid(stored); got != fileSystem2 || !bytes.Equal(bytesOf(got), stored) {
		t.Errorf("got %s, want %s", got, fileSystem2)
	}
}

func FuzzParseVolumes(f *testing.F) {
	f.Add(small())
	f.Add(makeVolume(fileSystem2, 4096, nil, makeFile(name, driver, makeSection(0x10, []byte("code")))))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		volumes, err := parseVolumes(data, 0)
		if err != nil {
			return
		}
		end := 0
		for _, v := range volumes {
			if v.offset < end || v.offset+len(v.data) > len(data) {
				t.Errorf("the volume at %#x of %#x bytes after %#x of %#x", v.offset, len(v.data), end, len(data))
			}
			end = v.offset + len(v.data)
			_, _ = v.emptyStore()
		}
		if !bytes.Equal(data, before) {
			t.Error("the image was changed")
		}
	})
}
