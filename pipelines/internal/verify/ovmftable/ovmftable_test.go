package ovmftable_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv/fvtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/ovmftable"
)

const size = 64 << 10

// top is the end of an image of 64 KiB.
func top(sev, tdx []byte) []byte {
	end := fvtest.Top([]fvtest.Block{
		{GUID: ovmftable.TDXBlock},
		{GUID: ovmftable.SEVBlock},
		{GUID: ovmftable.HashesBlock, Data: words(0x810c00, 0x400)},
		{GUID: ovmftable.SecretBlock, Data: words(0, 0)},
		{GUID: ovmftable.ResetBlock, Data: words(0x80b004)},
	}, map[fv.GUID][]byte{ovmftable.SEVBlock: sev, ovmftable.TDXBlock: tdx})
	return append(make([]byte, size-len(end)), end...)
}

func words(numbers ...uint32) []byte {
	var data []byte
	for _, n := range numbers {
		data = binary.LittleEndian.AppendUint32(data, n)
	}
	return data
}

func sev(entries ...[]uint32) []byte { return fvtest.Descriptor("ASEV", entries...) }
func tdx(entries ...[]uint32) []byte { return fvtest.Descriptor("TDVF", entries...) }

func healthy() []byte {
	return top(
		sev([]uint32{0x800000, 0x1000, 1}, []uint32{0x801000, 0x1000, 2}, []uint32{0, 0, 0x77}),
		tdx([]uint32{0x100, 0xff00, 0xffff0100, 0, 0xff00, 0, 0, 1}, []uint32{0, 0, 0x809000, 0, 0x2000, 0, 2, 0}))
}

func TestParse(t *testing.T) {
	table, err := ovmftable.Parse(healthy())
	if err != nil {
		t.Fatal(err)
	}
	if !table.Has(ovmftable.ResetBlock) || table.Has(fv.FileSystem2) {
		t.Error("the table does not know its blocks")
	}
	if area, err := table.Area(ovmftable.HashesBlock); err != nil || area != (ovmftable.Area{Base: 0x810c00, Size: 0x400}) {
		t.Errorf("hashes at %s, %v", area, err)
	}
	if _, err := table.Area(ovmftable.ResetBlock); err == nil || !strings.Contains(err.Error(), "the SEV-ES reset block has 4 bytes: want 8") {
		t.Errorf("got %v", err)
	}
	sections, err := table.SEV()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(sections); got != "[{0x800000-0x801000 memory} {0x801000-0x802000 secrets} {0x0-0x0 type 0x77}]" {
		t.Errorf("the SEV sections are %s", got)
	}
	pieces, err := table.TDX()
	if err != nil {
		t.Fatal(err)
	}
	want := []ovmftable.TDXSection{
		{Offset: 0x100, Length: 0xff00, Area: ovmftable.Area{Base: 0xffff0100, Size: 0xff00}, Type: ovmftable.TDXFirmware, Measured: true},
		{Area: ovmftable.Area{Base: 0x809000, Size: 0x2000}, Type: ovmftable.TDXHandOff},
	}
	if diff := cmp.Diff(want, pieces); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for title, test := range map[string]struct {
		damage func(image []byte) []byte
		want   string
	}{
		"empty":       {func([]byte) []byte { return nil }, "no table of blocks ends 32 bytes before"},
		"no table":    {func(i []byte) []byte { clear(i); return i }, "no table of blocks"},
		"huge":        {func(i []byte) []byte { binary.LittleEndian.PutUint16(i[size-50:], 0xffff); return i }, "has 65535 bytes: that does not fit"},
		"huge block":  {func(i []byte) []byte { i[size-67] = 0xff; return i }, "the block 00f771de-1a7e-4fcb-890e-68c77e2fb44e has 65302 bytes"},
		"left over":   {func(i []byte) []byte { i[size-50]++; return i }, "1 bytes are left at the beginning of the table"},
		"block twice": {func(i []byte) []byte { copy(i[size-88:], i[size-66:size-50]); return i }, "stands twice in the table"},
	} {
		if _, err := ovmftable.Parse(test.damage(healthy())); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", title, err, test.want)
		}
	}
}

func TestMetadataRefuses(t *testing.T) {
	version := sev()
	version[8] = 2
	long := sev([]uint32{0, 0, 1})
	long[12] = 9
	good := tdx()
	for title, test := range map[string]struct {
		sev, tdx []byte
		want     string
	}{
		"signature":       {fvtest.Descriptor("AMDX"), good, `the SEV metadata begins with "AMDX": want "ASEV"`},
		"version":         {version, good, "has version 2: want 1"},
		"count":           {long, good, "has 9 entries in 28 bytes: that does not fit"},
		"overlap":         {sev([]uint32{0x1000, 0x1000, 1}, []uint32{0x1fff, 1, 1}), good, "0x1000-0x2000 and 0x1fff-0x2000 overlap"},
		"beyond 4 GiB":    {sev([]uint32{0xfffff000, 0x2000, 1}), good, "0xfffff000-0x100001000 is not within 4 GiB"},
		"far TDX":         {sev(), tdx([]uint32{0, 0, 0, 0xffffffff, 0, 0xffffffff, 3, 0}), "is not within 4 GiB"},
		"TDX overlap":     {sev(), tdx([]uint32{0, 0, 0x1000, 0, 0x1000, 0, 3, 0}, []uint32{0, 0, 0x1800, 0, 1, 0, 3, 0}), "overlap"},
		"content outside": {sev(), tdx([]uint32{0xff00, 0x200, 0, 0, 0x200, 0, 0, 1}), "the image has 0x10000"},
		"small memory":    {sev(), tdx([]uint32{0, 0x200, 0, 0, 0x100, 0, 0, 1}), "for 0x100 bytes of memory"},
	} {
		table, err := ovmftable.Parse(top(test.sev, test.tdx))
		if err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		_, sevErr := table.SEV()
		_, tdxErr := table.TDX()
		if got := fmt.Sprint(sevErr, tdxErr); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %v, want %q", title, got, test.want)
		}
	}
}

func TestNoBlocks(t *testing.T) {
	end := fvtest.Top(nil, nil)
	table, err := ovmftable.Parse(end)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.SEV(); err == nil || !strings.Contains(err.Error(), "has no SEV metadata (dc886566-984a-4798-a75e-5585a7bf67cc)") {
		t.Errorf("got %v", err)
	}
	far := fvtest.Top([]fvtest.Block{{GUID: ovmftable.SEVBlock, Data: words(1 << 20)}}, nil)
	if table, err = ovmftable.Parse(far); err != nil {
		t.Fatal(err)
	}
	if _, err := table.SEV(); err == nil || !strings.Contains(err.Error(), "0x100000 bytes before the end of an image") {
		t.Errorf("got %v", err)
	}
}

func TestParseReset(t *testing.T) {
	image := healthy()
	reset, err := ovmftable.ParseReset(image)
	if err != nil {
		t.Fatal(err)
	}
	if reset.Real != reset.Protected || image[reset.Real] != 0x90 || image[reset.Real-1] != 0 {
		t.Errorf("it goes to %#x and %#x, which is not the beginning of the code", reset.Real, reset.Protected)
	}
	// From behind the jump to an offset of 0x100.
	back := ^uint32(size-4-0x100) + 1
	for title, test := range map[string]struct {
		at   int
		data []byte
		want string
	}{
		"mark":          {size - 20, []byte("VTFX"), `"VTFX" before the reset vector`},
		"code":          {size - 16, []byte{0x90}, "that is not the code of OVMF"},
		"far jump":      {size - 8, words(1 << 20), "is outside of the image"},
		"jump to zeros": {size - 8, words(back), "there is no code at"},
		"real jump":     {size - 3, []byte{0, 0}, "is outside of the image"},
	} {
		bad := slices.Clone(image)
		copy(bad[test.at:], test.data)
		if _, err := ovmftable.ParseReset(bad); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", title, err, test.want)
		}
	}
	if _, err := ovmftable.ParseReset(nil); err == nil {
		t.Error("there is a reset vector in nothing")
	}
}

func TestParseBranch(t *testing.T) {
	image := make([]byte, 0x1000)
	copy(image[0x800:], "12345678")
	for word, want := range map[uint32]string{
		0x14000200: "",
		0x14000201: "",
		0x14000000: "a branch to itself",
		0x17ffffff: "-0x4 is outside of the image",
		0x14001000: "0x4000 is outside of the image",
		0x14000100: "there is no code at 0x400",
		0x94000200: "0x94000200: that is no branch",
		0:          "0x00000000: that is no branch",
	} {
		binary.LittleEndian.PutUint32(image, word)
		target, err := ovmftable.ParseBranch(image)
		switch {
		case want == "" && (err != nil || target != int(word&0xffff)*4):
			t.Errorf("%#x: got %#x, %v", word, target, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%#x: got %v, want %q", word, err, want)
		}
	}
	if _, err := ovmftable.ParseBranch(image[:3]); err == nil {
		t.Error("there is a branch in 3 bytes")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(healthy()[size-1024:])
	f.Add(fvtest.Top(nil, nil))
	f.Fuzz(func(t *testing.T, image []byte) {
		if reset, err := ovmftable.ParseReset(image); err == nil && (reset.Real < 0 || reset.Real >= len(image)) {
			t.Errorf("it goes to %#x of %#x", reset.Real, len(image))
		}
		if target, err := ovmftable.ParseBranch(image); err == nil && target >= len(image) {
			t.Errorf("it goes to %#x of %#x", target, len(image))
		}
		table, err := ovmftable.Parse(image)
		if err != nil {
			return
		}
		sections, err := table.TDX()
		for _, s := range sections {
			if err == nil && s.Offset+s.Length > len(image) {
				t.Errorf("%#x-%#x of %#x", s.Offset, s.Offset+s.Length, len(image))
			}
		}
		if sections, err := table.SEV(); err == nil && len(sections)*12 > len(image) {
			t.Errorf("%d sections in %d bytes", len(sections), len(image))
		}
	})
}
