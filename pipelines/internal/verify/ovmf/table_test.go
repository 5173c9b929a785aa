package ovmf

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const size = 64 << 10

// top is the end of an image of 64 KiB.
func top(sev, tdx []byte) []byte {
	end := makeTop([]testBlock{
		{GUID: tdxBlock},
		{GUID: sevBlock},
		{GUID: hashesBlock, Data: littleWords(0x810c00, 0x400)},
		{GUID: secretBlock, Data: littleWords(0, 0)},
		{GUID: resetBlock, Data: littleWords(0x80b004)},
	}, map[string][]byte{sevBlock: sev, tdxBlock: tdx})
	return append(make([]byte, size-len(end)), end...)
}

func littleWords(numbers ...uint32) []byte {
	var data []byte
	for _, n := range numbers {
		data = binary.LittleEndian.AppendUint32(data, n)
	}
	return data
}

func sevBytes(entries ...[]uint32) []byte { return makeDescriptor("ASEV", entries...) }
func tdxBytes(entries ...[]uint32) []byte { return makeDescriptor("TDVF", entries...) }

func healthy() []byte {
	return top(
		sevBytes([]uint32{0x800000, 0x1000, 1}, []uint32{0x801000, 0x1000, 2}, []uint32{0, 0, 0x77}),
		tdxBytes([]uint32{0x100, 0xff00, 0xffff0100, 0, 0xff00, 0, 0, 1}, []uint32{0, 0, 0x809000, 0, 0x2000, 0, 2, 0}))
}

func TestParseTable(t *testing.T) {
	table, err := parseTable(healthy())
	require.NoError(t, err)
	if table.blocks[resetBlock] == nil || table.blocks[fileSystem2] != nil {
		t.Error("the table does not know its blocks")
	}
	if got, err := table.area(hashesBlock); err != nil || got != (area{0x810c00, 0x400}) {
		t.Errorf("hashes at %s, %v", got, err)
	}
	if _, err := table.area(resetBlock); err == nil || !strings.Contains(err.Error(), "the SEV-ES reset block has 4 bytes: want 8") {
		t.Errorf("got %v", err)
	}
	sections, err := table.sev()
	require.NoError(t, err)
	var got []string
	for _, s := range sections {
		got = append(got, s.String())
	}
	if want := []string{"0x800000-0x801000 memory", "0x801000-0x802000 secrets", "0x0-0x0 type 0x77"}; !slices.Equal(got, want) {
		t.Errorf("the SEV sections are %q", got)
	}
	pieces, err := table.tdx()
	require.NoError(t, err)
	want := []section{
		{offset: 0x100, length: 0xff00, area: area{0xffff0100, 0xff00}, kind: "firmware", measured: true},
		{area: area{0x809000, 0x2000}, kind: "hand-off"},
	}
	if diff := cmp.Diff(want, pieces, cmp.AllowUnexported(section{}, area{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseTableRefuses(t *testing.T) {
	for title, test := range map[string]struct {
		damage func(image []byte) []byte
		want   string
	}{
		"empty":       {func([]byte) []byte { return nil }, "no table of blocks ends 32 bytes before"},
		"no table":    {func(i []byte) []byte { clear(i); return i }, "no table of blocks"},
		"huge":        {func(i []byte) []byte { binary.LittleEndian.PutUint16(i[size-50:], 0xffff); return i }, "has 65535 bytes: that does not fit"},
		"huge block":  {func(i []byte) []byte { i[size-67] = 0xff; return i }, "the block 00f771de-1a7e-4fcb-890e-68c77e2fb44e has 65302 bytes"},
		"left over":   {func(i []byte) []byte { i[size-50]++; return i }, "1 bytes are left at the beginning of the table"},
		"block twice": {func(i []byte) []byte { copy(i[size-88:], i[size-66:size-50]); return i }, "duplicate block"},
	} {
		if _, err := parseTable(test.damage(healthy())); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", title, err, test.want)
		}
	}
}

func TestMetadataRefuses(t *testing.T) {
	version := sevBytes()
	version[8] = 2
	long := sevBytes([]uint32{0, 0, 1})
	long[12] = 9
	good := tdxBytes()
	for title, test := range map[string]struct {
		sev, tdx []byte
		want     string
	}{
		"signature":       {makeDescriptor("AMDX"), good, `the SEV metadata begins with "AMDX": want "ASEV"`},
		"version":         {version, good, "has version 2: want 1"},
		"count":           {long, good, "has 9 entries in 28 bytes: that does not fit"},
		"overlap":         {sevBytes([]uint32{0x1000, 0x1000, 1}, []uint32{0x1fff, 1, 1}), good, "0x1000-0x2000 and 0x1fff-0x2000 overlap"},
		"beyond 4 GiB":    {sevBytes([]uint32{0xfffff000, 0x2000, 1}), good, "0xfffff000-0x100001000 is not within 4 GiB"},
		"far TDX":         {sevBytes(), tdxBytes([]uint32{0, 0, 0, 0xffffffff, 0, 0xffffffff, 3, 0}), "is not within 4 GiB"},
		"TDX overlap":     {sevBytes(), tdxBytes([]uint32{0, 0, 0x1000, 0, 0x1000, 0, 3, 0}, []uint32{0, 0, 0x1800, 0, 1, 0, 3, 0}), "overlap"},
		"content outside": {sevBytes(), tdxBytes([]uint32{0xff00, 0x200, 0, 0, 0x200, 0, 0, 1}), "the image has 0x10000"},
		"small memory":    {sevBytes(), tdxBytes([]uint32{0, 0x200, 0, 0, 0x100, 0, 0, 1}), "for 0x100 bytes of memory"},
	} {
		table, err := parseTable(top(test.sev, test.tdx))
		if err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		_, sevErr := table.sev()
		_, tdxErr := table.tdx()
		if got := fmt.Sprint(sevErr, tdxErr); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %v, want %q", title, got, test.want)
		}
	}
}

func TestNoBlocks(t *testing.T) {
	end := makeTop(nil, nil)
	table, err := parseTable(end)
	require.NoError(t, err)
	if _, err := table.sev(); err == nil || !strings.Contains(err.Error(), "has no SEV metadata (dc886566-984a-4798-a75e-5585a7bf67cc)") {
		t.Errorf("got %v", err)
	}
	far := makeTop([]testBlock{{GUID: sevBlock, Data: littleWords(1 << 20)}}, nil)
	if table, err = parseTable(far); err != nil {
		t.Fatal(err)
	}
	if _, err := table.sev(); err == nil || !strings.Contains(err.Error(), "0x100000 bytes before the end of an image") {
		t.Errorf("got %v", err)
	}
}

func TestParseReset(t *testing.T) {
	image := healthy()
	realMode, protected, err := parseReset(image)
	require.NoError(t, err)
	if realMode != protected || image[realMode] != 0x90 || image[realMode-1] != 0 {
		t.Errorf("it goes to %#x and %#x, which is not the beginning of the code", realMode, protected)
	}
	// From behind the jump to an offset of 0x100.
	back := ^uint32(size-4-0x100) + 1
	for title, test := range map[string]struct {
		at   int
		data []byte
		want string
	}{
		"mark":          {size - 20, []byte("VTFX"), `"VTFX" before the reset vector`},
		"code":          {size - 16, []byte{0x90}, "not the code of OVMF"},
		"far jump":      {size - 8, littleWords(1 << 20), "is outside of the image"},
		"jump to zeros": {size - 8, littleWords(back), "there is no code at"},
		"real jump":     {size - 3, []byte{0, 0}, "is outside of the image"},
	} {
		bad := slices.Clone(image)
		copy(bad[test.at:], test.data)
		if _, _, err := parseReset(bad); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", title, err, test.want)
		}
	}
	if _, _, err := parseReset(nil); err == nil {
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
		0x94000200: "0x94000200: not a branch",
		0:          "0x00000000: not a branch",
	} {
		binary.LittleEndian.PutUint32(image, word)
		target, err := parseBranch(image)
		switch {
		case want == "" && (err != nil || target != int(word&0xffff)*4):
			t.Errorf("%#x: got %#x, %v", word, target, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%#x: got %v, want %q", word, err, want)
		}
	}
	if _, err := parseBranch(image[:3]); err == nil {
		t.Error("there is a branch in 3 bytes")
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add(healthy()[size-1024:])
	f.Add(makeTop(nil, nil))
	f.Fuzz(func(t *testing.T, image []byte) {
		if realMode, _, err := parseReset(image); err == nil && (realMode < 0 || realMode >= len(image)) {
			t.Errorf("it goes to %#x of %#x", realMode, len(image))
		}
		if target, err := parseBranch(image); err == nil && target >= len(image) {
			t.Errorf("it goes to %#x of %#x", target, len(image))
		}
		table, err := parseTable(image)
		if err != nil {
			return
		}
		sections, err := table.tdx()
		for _, s := range sections {
			if err == nil && s.offset+s.length > len(image) {
				t.Errorf("%#x-%#x of %#x", s.offset, s.offset+s.length, len(image))
			}
		}
		if sections, err := table.sev(); err == nil && len(sections)*12 > len(image) {
			t.Errorf("%d sections in %d bytes", len(sections), len(image))
		}
	})
}
