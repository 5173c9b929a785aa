package archive

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// small has every kind of frame when big is more than a frame long.
func small(big int) []node {
	return []node{
		{name: "opt/kata/VERSIONS", mode: 0o644, data: []byte("1\n")},
		{name: "opt/kata/big", mode: 0o755, data: code(big, 1)},
		{name: "opt/kata/bin/tool", mode: 0o755, data: []byte("#!/bin/sh\n")},
		{name: "opt/kata/bin/up", link: "../big"},
		{name: "opt/kata/empty", mode: 0o700},
	}
}

func open(t testing.TB, path string) *File {
	t.Helper()
	file, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func TestIndexGolden(t *testing.T) {
	path, summary := pack(t, plant(t, small(2*testFrame+100)), 1)
	x := open(t, path).Index()
	if diff := cmp.Diff(summary.Members, x.Members()); diff != "" {
		t.Errorf("members (-packed +index)\n%s", diff)
	}
	text, err := encodeJSON(indexJSON{indexFormat, x})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "index.golden")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the format has changed: raise indexFormat (-want +got)\n%s", diff)
	}
	var kinds []string
	for i, f := range x.Frames {
		switch {
		case i == len(x.Frames)-1:
			kinds = append(kinds, "end")
		case f.isDirectories():
			kinds = append(kinds, "directories")
		case len(f.Members) == 0:
			kinds = append(kinds, "piece")
		default:
			kinds = append(kinds, "members")
		}
	}
	want2 := []string{"directories", "members", "members", "piece", "piece", "members", "end"}
	if diff := cmp.Diff(want2, kinds); diff != "" {
		t.Errorf("frames (-want +got)\n%s", diff)
	}
}

func TestReadFileAndCheck(t *testing.T) {
	dir := plant(t, sample())
	path, summary := pack(t, dir, 1)
	file := open(t, path)
	for _, m := range summary.Members {
		name := strings.TrimPrefix(m.Name, "./") // both forms are taken
		content, err := file.ReadFile(name)
		if !m.Mode.IsRegular() {
			if err == nil {
				t.Errorf("%s is not a file, but was read", m.Name)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(content)
		if err := errors.Join(err, content.Close()); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s: read %d other bytes than the %d packed", name, len(got), len(want))
		}
	}
	if _, err := file.ReadFile("opt/missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing member: %v", err)
	}
	if err := file.check(t.Context(), discard); err != nil {
		t.Error(err)
	}
}

func TestSizedAddsUp(t *testing.T) {
	path, _ := pack(t, plant(t, small(testFrame+100)), 1)
	x := open(t, path).Index()
	var sum int64
	for _, s := range x.Sized() {
		sum += s.Packed
	}
	want := x.size() - x.Frames[len(x.Frames)-1].Size
	if sum != want {
		t.Errorf("the members take %d of the %d bytes", sum, want)
	}
}

// TestManyCommas has names that look like what bounds the values of an index, and the
// shortest frames that can be: neither is refused.
func TestManyCommas(t *testing.T) {
	name := `opt/{},"\{},` + strings.Repeat(`,"`, 100)
	path, _ := pack(t, plant(t, []node{{name: name, mode: 0o644, data: []byte{}}, {name: "opt/l", link: name[4:]}}), 1)
	open(t, path)
	at := int64(1)
	x := Index{Frames: slices.Repeat([]Frame{{Size: 1, Unpacked: 1, Time: &at}}, 100)}
	text, err := encodeJSON(indexJSON{indexFormat, &x})
	if err != nil {
		t.Fatal(err)
	}
	if n := elements(text); n != 301 || n > len(text)/minElement {
		t.Errorf("%d values in %d bytes", n, len(text))
	}
}

// TestShare has a product of more than 64 bits.
func TestShare(t *testing.T) {
	if got := share(maxPacked, maxUnpacked-1, maxUnpacked); got != maxPacked-1 {
		t.Errorf("%d, want %d", got, int64(maxPacked-1))
	}
}

func TestOpenPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v", err)
	}
}

func TestNoIndex(t *testing.T) {
	plain := tarOf(t)
	packed := compress(plain)
	for _, data := range [][]byte{nil, []byte("x"), packed, append(bytes.Clone(packed), make([]byte, 100)...)} {
		if _, err := readIndex(bytes.NewReader(data), int64(len(data))); !errors.Is(err, ErrNoIndex) {
			t.Errorf("%d bytes: %v, want %v", len(data), err, ErrNoIndex)
		}
	}
	path := filepath.Join(t.TempDir(), "foreign.tar.zst")
	if err := os.WriteFile(path, packed, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrNoIndex) {
		t.Errorf("opening: %v, want %v", err, ErrNoIndex)
	}
}

// TestIndexBytes has indexes that are damaged as bytes.
func TestIndexBytes(t *testing.T) {
	good := lying(t, func(*Index) {})
	offset := bytes.LastIndex(good, []byte{0x5b, 0x2a, 0x4d, 0x18})
	frames := good[:offset]
	text, _, err := unpackIndex(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	length := func(n uint32) []byte {
		data := bytes.Clone(good)
		binary.LittleEndian.PutUint32(data[len(data)-indexTail:], n)
		return data
	}
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"as it was", good, ""},
		{"wrapped as it was", wrap(frames, text), ""},
		{"longer than the file", length(1 << 20), "the index claims"},
		{"longer than can be", length(1 << 31), "the index claims"},
		{"shorter than the mark", length(3), "the index claims"},
		{"elsewhere", length(100), "does not begin where"},
		{"bomb", wrap(frames, make([]byte, 64<<20)), "more than 8388608 bytes"},
		{"bomb of frames", wrap(frames, fmt.Appendf(nil, `{"format":1,"time":0,"frames":[%s{}]}`, strings.Repeat("{},", 2_000_000))), "2000002 values in 6000035 bytes"},
		{"bomb of members", wrap(frames, fmt.Appendf(nil, `{"format":1,"time":0,"frames":[{"members":[%s0]}]}`, strings.Repeat("0,", 2_000_000))), "2000002 values in 4000048 bytes"},
		{"bomb of times", wrap(frames, fmt.Appendf(nil, `{"format":1,"time":0,"frames":[%s{}]}`, strings.Repeat(`{"time":1},`, 10_000))), "not written as"},
		{"no JSON", wrap(frames, []byte("hello")), "reading the index"},
		{"two values", wrap(frames, append(bytes.Clone(text), "{}"...)), "reading the index"},
		{"newer", wrap(frames, bytes.Replace(text, []byte(`"format":1`), []byte(`"format":2`), 1)), "format 2: this program reads 1"},
		{"a second text", wrap(frames, bytes.Replace(text, []byte(`"format":1`), []byte(`"format":0`), 1)), "not written as"},
		{"more fields", wrap(frames, bytes.Replace(text, []byte(`"time":`), []byte(`"hidden":1,"time":`), 1)), "not written as"},
		{"a field twice", wrap(frames, bytes.Replace(text, []byte(`"frames":`), []byte(`"frames":[],"frames":`), 1)), "not written as"},
		{"capital letters", wrap(frames, bytes.Replace(text, []byte(`"mode":`), []byte(`"Mode":`), 1)), "not written as"},
		{"a time twice", wrap(frames, bytes.Replace(text, []byte(`"members":`), []byte(`"time":1772323200,"members":`), 1)), "repeats the time"},
		{"setuid", wrap(frames, bytes.Replace(text, []byte(`"0755"`), []byte(`"4755"`), 1)), "has mode"},
		{"bytes after the JSON", wrap(frames, text, "x"), "unpacking the index"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := readIndex(bytes.NewReader(test.data), int64(len(test.data)))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// wrap appends a skippable frame with a text to frames.
func wrap(frames, text []byte, after ...string) []byte {
	packed := append(compress(text), strings.Join(after, "")...)
	length := uint32(len(packed) + indexTail)
	data := binary.LittleEndian.AppendUint32(bytes.Clone(frames), indexMagic)
	data = append(binary.LittleEndian.AppendUint32(data, length), packed...)
	return append(binary.LittleEndian.AppendUint32(data, length), indexMark...)
}
