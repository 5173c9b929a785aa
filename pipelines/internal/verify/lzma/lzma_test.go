package lzma_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/lzma"
)

// packed are the same text, packed with different properties by Python's lzma.
var packed = []string{"default.lzma", "lc0lp2pb0.lzma", "lc4pb4.lzma"}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDecode(t *testing.T) {
	want := read(t, "text")
	for _, name := range packed {
		for _, tail := range []string{"", "\x00\x00\x00"} {
			got, err := lzma.Decode(append(read(t, name), tail...), len(want))
			if err != nil {
				t.Errorf("%s with %d bytes behind it: %v", name, len(tail), err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s with %d bytes behind it: %d bytes that differ from the %d of the text", name, len(tail), len(got), len(want))
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := read(t, packed[0])
	change := func(at int, value byte) []byte {
		data := bytes.Clone(good)
		data[at] = value
		return data
	}
	huge := bytes.Clone(good)
	binary.LittleEndian.PutUint64(huge[5:], 1<<40)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":          {nil, "0 bytes are too few"},
		"header alone":   {good[:13], "begins wrongly"},
		"properties":     {change(0, 225), "properties 0xe1 do not exist"},
		"too much":       {huge, "has 1099511627776 bytes unpacked: at most 20000"},
		"first byte":     {change(13, 1), "begins wrongly"},
		"cut":            {good[:2000], "the stream ends too early"},
		"far distance":   {change(14, 0xff), "damaged"},
		"size in a copy": {change(5, 0x1f), "it goes on after"},
	} {
		if _, err := lzma.Decode(test.data, 20000); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range packed {
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 16
		if out, err := lzma.Decode(data, limit); err == nil && len(out) > limit {
			t.Errorf("%d bytes, at most %d are wanted", len(out), limit)
		}
	})
}
