package fv_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv/fvtest"
)

var (
	name  = fv.GUID{1, 2, 3}
	inner = fv.GUID{4, 5, 6}
)

const driver = 0x07

// small is an image: variables, a volume with a compressed one, and padding.
func small() []byte {
	nested := fvtest.Volume(fv.FileSystem2, 4096, nil,
		fvtest.File(inner, driver, fvtest.Sections(fvtest.Section(fv.PE32, []byte("code")))))
	content := fvtest.Sections(fvtest.Section(0x19, []byte{1, 2, 3}), fvtest.Section(fv.VolumeImage, nested))
	return slices.Concat(
		fvtest.Variables(8192),
		fvtest.Volume(fv.FileSystem2, 8192, fvtest.File(inner, byte(fv.Raw), []byte("raw, no sections")),
			fvtest.File(name, driver, fvtest.Sections(fvtest.Section(0x15, []byte("ui")), fvtest.Compressed(content)))),
		make([]byte, 4096))
}

func TestParse(t *testing.T) {
	data := small()
	image, err := fv.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(image.Volumes) != 2 || image.Padding != 4096 {
		t.Fatalf("%d volumes and %d bytes of padding", len(image.Volumes), image.Padding)
	}
	variables, files := image.Volumes[0], image.Volumes[1]
	if size, err := variables.VariableStore(data); err != nil || size != (8192-72)/2 {
		t.Errorf("a store of %d bytes, %v", size, err)
	}
	if _, err := files.VariableStore(data); err == nil {
		t.Error("a volume of files keeps variables")
	}
	if files.Offset != 8192 || files.Length != 8192 || len(files.Files) != 2 {
		t.Fatalf("the volume is %+v", files)
	}
	if f := files.Files[0]; f.Name != name || f.Type != driver || len(f.Sections) != 2 || string(f.Sections[0].Data) != "ui" {
		t.Errorf("the first file is %+v", f)
	}
	if f := files.Files[1]; f.Name != inner || f.Type != fv.Raw || f.Sections != nil || f.Offset+f.Length != 8192 {
		t.Errorf("the file at the top is %+v", f)
	}
	nested, err := image.Nested()
	if err != nil || len(nested) != 1 || len(nested[0].Files) != 1 || nested[0].Files[0].Name != inner {
		t.Errorf("the nested volumes are %+v, %v", nested, err)
	}
}

// The damages, each to a healthy volume of one file at 72, or to variables.
func TestParseRefuses(t *testing.T) {
	const file = 72
	put32 := binary.LittleEndian.PutUint32
	for title, test := range map[string]struct {
		damage func(v []byte) []byte
		want   string
	}{
		"nothing":            {func([]byte) []byte { return nil }, "no firmware volume in its 0 bytes"},
		"zeros":              {func(v []byte) []byte { clear(v); return v }, "no firmware volume in its 4096 bytes"},
		"text":               {func([]byte) []byte { return []byte("not firmware") }, "the bytes at 0x0 belong to no firmware volume"},
		"cut":                {func(v []byte) []byte { return v[:2048] }, "it has 4096 bytes by its header, but the image has 2048"},
		"bytes behind":       {func(v []byte) []byte { return append(v, 0, 0, 1) }, "the bytes at 0x1002 belong to no firmware volume"},
		"bytes between":      {func(v []byte) []byte { return slices.Concat(v, make([]byte, 100), v) }, "belong to no firmware volume"},
		"checksum":           {func(v []byte) []byte { v[0]++; return v }, "reading the volume at 0x0: the checksum of its header is wrong: the sum is 0x0001"},
		"header length":      {func(v []byte) []byte { put32(v[48:], 8); return v }, "its header has a length of 8"},
		"header beyond":      {func(v []byte) []byte { binary.LittleEndian.PutUint16(v[48:], 5000); return v }, "its header has a length of 5000"},
		"revision":           {func(v []byte) []byte { v[55] = 1; fvtest.Seal(v); return v }, "revision 1: want 2"},
		"blocks":             {func(v []byte) []byte { v[57]--; fvtest.Seal(v); return v }, "its blocks have 2048 bytes together"},
		"endless blocks":     {func(v []byte) []byte { v[64] = 1; fvtest.Seal(v); return v }, "its block map has no end"},
		"extended header":    {func(v []byte) []byte { v[52] = 8; fvtest.Seal(v); return v }, "its extended header is at 0x8, outside"},
		"extended length":    {func(v []byte) []byte { v[52] = 72; put32(v[88:], 1<<30); fvtest.Seal(v); return v }, "its extended header has 1073741824 bytes"},
		"file checksum":      {func(v []byte) []byte { v[file]++; return v }, "the checksum of its header is wrong: the sum is 0x01"},
		"file length":        {func(v []byte) []byte { v[file+21] = 0xff; fvtest.SealFile(v[file:]); return v }, "bytes by its header, but the volume has"},
		"file too short":     {func(v []byte) []byte { put32(v[file+20:], 8); fvtest.SealFile(v[file:]); return v }, "it has 8 bytes by its header"},
		"file state":         {func(v []byte) []byte { v[file+23] = 0xff; return v }, "its state is 0x00: want 0x07"},
		"file sum":           {func(v []byte) []byte { v[file+17] = 1; return v }, "but says that it has none"},
		"content sum":        {func(v []byte) []byte { v[file+19] = 0x40; fvtest.SealFile(v[file:]); return v }, "the checksum of its content is wrong"},
		"section length":     {func(v []byte) []byte { v[file+24] = 0xff; return v }, "its section 1 has 255 bytes by its header"},
		"section zero":       {func(v []byte) []byte { v[file+24] = 0; return v }, "its section 1 has 0 bytes by its header"},
		"section GUID":       {func(v []byte) []byte { v[file+27] = 2; return v }, "8 bytes are too few for a GUID"},
		"free space written": {func(v []byte) []byte { v[4095] = 0; return v }, "is written to at 0xfff"},
	} {
		t.Run(title, func(t *testing.T) {
			volume := fvtest.Volume(fv.FileSystem2, 4096, nil, fvtest.File(name, driver, fvtest.Section(fv.PE32, []byte("code"))))
			if _, err := fv.Parse(volume); err != nil {
				t.Fatal(err)
			}
			if _, err := fv.Parse(test.damage(volume)); err == nil || !strings.Contains(err.Error(), test.want) {
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
		"damaged LZMA":    {cut(fvtest.Compressed(fvtest.Section(fv.VolumeImage, make([]byte, 4096))), 30), "unpacking the file 00030201-0000-0000-0000-000000000000: "},
		"no volume":       {fvtest.Section(fv.VolumeImage, make([]byte, 100)), "no firmware volume in its 100 bytes"},
		"damaged content": {fvtest.Compressed([]byte{0xff, 0, 0, 0, 0}), "its section 1 has 255 bytes"},
	} {
		image, err := fv.Parse(fvtest.Volume(fv.FileSystem2, 8192, nil, fvtest.File(name, driver, test.section)))
		if err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		if _, err := image.Nested(); err == nil || !strings.Contains(err.Error(), test.want) {
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
		data := fvtest.Variables(8192)
		data[at]++
		image, err := fv.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := image.Volumes[0].VariableStore(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with another byte at %d: got %v, want %q", at, err, want)
		}
	}
}

func TestGUID(t *testing.T) {
	const text = "8c8ce578-8a3d-4f1c-9935-896185c32dd3"
	if fv.FileSystem2.String() != text {
		t.Errorf("got %s, want %s", fv.FileSystem2, text)
	}
	for _, form := range []string{text, strings.ToUpper(text)} {
		if g, err := fv.ParseGUID(form); err != nil || g != fv.FileSystem2 {
			t.Errorf("%s: got %s, %v", form, g, err)
		}
	}
	for _, bad := range []string{"", text[1:], text + "0", text[:35] + "x", "8c8ce578-8a3d4f1c-9935-896185c32dd3-"} {
		if g, err := fv.ParseGUID(bad); err == nil {
			t.Errorf("%q is %s", bad, g)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(small())
	f.Add(fvtest.Volume(fv.FileSystem3, 4096, nil, fvtest.File(name, driver, fvtest.Section(fv.PE32, []byte("code")))))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		image, err := fv.Parse(data)
		if err != nil {
			return
		}
		end := 0
		for _, v := range image.Volumes {
			if v.Offset < end || v.Offset+v.Length > len(data) {
				t.Errorf("the volume %#x-%#x after %#x of %#x", v.Offset, v.Offset+v.Length, end, len(data))
			}
			end = v.Offset + v.Length
			if _, err := v.VariableStore(data); err == nil && v.FileSystem != fv.Variables {
				t.Error("a volume of files keeps variables")
			}
		}
		if _, err := image.Nested(); err == nil && end+image.Padding != len(data) {
			t.Errorf("%#x bytes of padding after %#x of %#x", image.Padding, end, len(data))
		}
		if !bytes.Equal(data, before) {
			t.Error("the image was changed")
		}
	})
}
