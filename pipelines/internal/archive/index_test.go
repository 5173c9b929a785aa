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
	"time"

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
	text, err := x.json()
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
		t.Errorf("the format is another: raise indexFormat (-want +got)\n%s", diff)
	}
	var kinds []FrameKind
	for _, f := range x.Frames {
		kinds = append(kinds, f.Kind)
	}
	want2 := []FrameKind{FrameDirectories, FrameMembers, FrameMembers, FramePiece, FramePiece, FrameMembers, FrameEnd}
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
				t.Errorf("%s is no file, and was read", m.Name)
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
	if err := file.Check(t.Context()); err != nil {
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
	frame := Frame{Size: 1, Unpacked: 1, ModTime: time.Unix(1, 0)}
	x := Index{ModTime: time.Unix(0, 0), Frames: slices.Repeat([]Frame{frame}, 100)}
	text, err := x.json()
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
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("error %v", err)
	}
}

func TestNoIndex(t *testing.T) {
	plain := tarOf(t)
	packed := compress(plain)
	for _, data := range [][]byte{nil, []byte("x"), packed, append(bytes.Clone(packed), make([]byte, 100)...)} {
		if _, err := ReadIndex(bytes.NewReader(data), int64(len(data))); !errors.Is(err, ErrNoIndex) {
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

// lying returns a tarball whose index was changed, and is well-formed.
func lying(t testing.TB, change func(x *Index)) []byte {
	t.Helper()
	path, _ := pack(t, plant(t, small(1000)), 1)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x := open(t, path).Index()
	frames := data[:x.size()]
	change(x)
	index, err := x.encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(frames), index...)
}

func entry(x *Index, name string) *Member {
	for i := range x.Entries {
		if x.Entries[i].Name == name {
			return &x.Entries[i].Member
		}
	}
	panic(name)
}

// TestIndexLies has what the index alone gives away, and what only the frames
// do: then check is true, and reading the member fails, too.
func TestIndexLies(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(x *Index)
		check  bool
		want   string
	}{
		{name: "escape", change: func(x *Index) { entry(x, "./opt/kata/big").Name = "./../../big" }, want: "stays inside"},
		{name: "host file", change: func(x *Index) { entry(x, "./opt/kata/big").Name = "./etc/hosts" }, want: "belongs to the host"},
		{name: "link out", change: func(x *Index) { entry(x, "./opt/kata/bin/up").Link = "../../../../x" }, want: "outside the tree"},
		{name: "twice", change: func(x *Index) { entry(x, "./opt/kata/big").Name = "./opt/kata/VERSIONS" }, want: "stands twice"},
		{name: "below a link", change: func(x *Index) { entry(x, "./opt/kata/big").Name = "./opt/kata/bin/up/big" }, want: "which is no directory"},
		{name: "mode", change: func(x *Index) { entry(x, "./opt/kata/big").Mode = 0o777 }, want: "has mode"},
		{name: "hash", change: func(x *Index) { entry(x, "./opt/kata/big").SHA256 = "nonsense" }, want: "for a sha256"},
		{name: "no hash", change: func(x *Index) { entry(x, "./opt/kata/big").SHA256 = "" }, want: "for a sha256"},
		{name: "size of a link", change: func(x *Index) { entry(x, "./opt/kata/bin/up").Size = 5 }, want: "cannot have 5 bytes"},
		{name: "larger", change: func(x *Index) { entry(x, "./opt/kata/big").Size += blockSize }, want: "its members take"},
		{name: "absurd size", change: func(x *Index) { entry(x, "./opt/kata/big").Size = 1 << 60 }, want: "cannot have"},
		{name: "negative size", change: func(x *Index) { entry(x, "./opt/kata/big").Size = -1 }, want: "cannot have"},
		{name: "frame", change: func(x *Index) { x.Frames[1].Size++ }, want: "before the index"},
		{name: "smaller frame", change: func(x *Index) { x.Frames[1].Size-- }, want: "the frames end at"},
		{name: "negative frame", change: func(x *Index) { x.Frames[1].Size = -1 }, want: "frame 1 has -1 bytes"},
		{name: "absurd frame", change: func(x *Index) { x.Frames[1].Unpacked = 1 << 40 }, want: "unpacks to"},
		{name: "no end", change: func(x *Index) { x.Frames[2].Unpacked = blockSize }, want: "not the end of a tar stream"},
		{name: "no frames", change: func(x *Index) { x.Frames, x.Entries = nil, nil }, want: "the frames end at 0"},
		{name: "hidden member", change: func(x *Index) { x.Entries = append(x.Entries[:6], x.Entries[7:]...) }, want: "its members take"},
		{name: "piece of nothing", change: func(x *Index) { x.Entries = x.Entries[4:] }, want: "is a piece of no member"},
		{name: "directory with a target", change: func(x *Index) { entry(x, "./opt/kata/").Link = "\x1b[31m../../../etc" }, want: `"./opt/kata/" is a directory, and has "\x1b[31m`},
		{name: "kinds mixed", change: func(x *Index) { x.Entries[4].Frame = 0 }, want: "holds directories beside others"},
		{name: "time", change: func(x *Index) { x.Frames[1].ModTime = time.Unix(-1<<62, 0) }, want: "its members take"},
		// What follows is found where the frames are read.
		{name: "other hash", check: true, change: func(x *Index) { entry(x, "./opt/kata/big").SHA256 = strings.Repeat("0", 64) }, want: "its sha256 is"},
		{name: "other name", check: true, change: func(x *Index) { entry(x, "./opt/kata/big").Name = "./opt/kata/bug" }, want: "another member than"},
		{name: "other mode", check: true, change: func(x *Index) { entry(x, "./opt/kata/big").Mode = 0o644 }, want: "another member than"},
		{name: "other link", check: true, change: func(x *Index) { entry(x, "./opt/kata/bin/up").Link = "../bug" }, want: "another member than"},
		{name: "size in the block", check: true, change: func(x *Index) { entry(x, "./opt/kata/big").Size-- }, want: "another member than"},
		{name: "other time", check: true, change: func(x *Index) { x.Frames[1].ModTime = time.Unix(5, 0) }, want: "another member than"},
		{name: "frames moved", check: true, change: func(x *Index) { x.Frames[0].Size -= 4; x.Frames[1].Size += 4 }, want: "the index lies"},
		{name: "frames hidden", check: true, change: func(x *Index) { x.Frames[0].Size += x.Frames[1].Size - 20; x.Frames[1].Size = 20 }, want: "the index lies"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := lying(t, test.change)
			path := filepath.Join(t.TempDir(), "lying.tar.zst")
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			file, err := Open(path)
			if test.check {
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				err = file.Check(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if errors.Is(err, ErrNoIndex) {
				t.Error("passes for a tarball without an index")
			}
		})
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
		{"longer than the file", length(1 << 20), "the index says to have"},
		{"longer than can be", length(1 << 31), "the index says to have"},
		{"shorter than the mark", length(3), "the index says to have"},
		{"elsewhere", length(100), "does not begin where"},
		{"bomb", wrap(frames, make([]byte, 64<<20)), "more than 8388608 bytes"},
		{"bomb of frames", wrap(frames, fmt.Appendf(nil, `{"format":1,"time":0,"frames":[%s{}]}`, strings.Repeat("{},", 2_000_000))), "2000002 values in 6000035 bytes"},
		{"bomb of members", wrap(frames, fmt.Appendf(nil, `{"format":1,"time":0,"frames":[{"members":[%s0]}]}`, strings.Repeat("0,", 2_000_000))), "2000002 values in 4000048 bytes"},
		{"bomb of times", wrap(frames, fmt.Appendf(nil, `{"format":1,"time":0,"frames":[%s{}]}`, strings.Repeat(`{"time":1},`, 10_000))), "frame 0 has 0 bytes"},
		{"no JSON", wrap(frames, []byte("hello")), "reading the index"},
		{"two values", wrap(frames, append(bytes.Clone(text), "{}"...)), "reading the index"},
		{"newer", wrap(frames, bytes.Replace(text, []byte(`"format":1`), []byte(`"format":2`), 1)), "format 2: this program reads 1"},
		{"more fields", wrap(frames, bytes.Replace(text, []byte(`"time":`), []byte(`"hidden":1,"time":`), 1)), "not written as"},
		{"a field twice", wrap(frames, bytes.Replace(text, []byte(`"frames":`), []byte(`"frames":[],"frames":`), 1)), "not written as"},
		{"capital letters", wrap(frames, bytes.Replace(text, []byte(`"mode":`), []byte(`"Mode":`), 1)), "not written as"},
		{"setuid", wrap(frames, bytes.Replace(text, []byte(`"0755"`), []byte(`"4755"`), 1)), "has mode"},
		{"bytes after the JSON", wrap(frames, text, "x"), "unpacking the index"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadIndex(bytes.NewReader(test.data), int64(len(test.data)))
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

// TestDamageIsFound flips bits all over a tarball. Some mean nothing: then the
// tar stream is the same.
func TestDamageIsFound(t *testing.T) {
	good := lying(t, func(*Index) {})
	path := filepath.Join(t.TempDir(), "damaged.tar.zst")
	plain, err := unpackBounded(good, maxUnpacked)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for i := range good {
		data := bytes.Clone(good)
		data[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := Open(path)
		if err != nil {
			continue
		}
		if err := file.Check(t.Context()); err == nil {
			passed++
			if got, err := unpackBounded(data, maxUnpacked); err != nil || !bytes.Equal(plain, got) {
				t.Errorf("bit %d of byte %d of %d: passes, and unpacks to something else (%v)", i%8, i, len(good), err)
			}
		}
		_ = file.Close()
	}
	if passed > len(good)/50 {
		t.Errorf("%d of %d damaged tarballs pass", passed, len(good))
	}
}

// FuzzReadIndex gets an index as JSON, so that mutations reach what is behind
// the compression and the marks, or a whole file.
func FuzzReadIndex(f *testing.F) {
	good := lying(f, func(*Index) {})
	text, offset, err := unpackIndex(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		f.Fatal(err)
	}
	frames := good[:offset]
	f.Add(text, true)
	f.Add(good, false)
	f.Add(good[:len(good)-1], false)
	f.Add(bytes.Replace(text, []byte(`"link"`), []byte(`"sha256"`), 1), true)
	f.Add([]byte(`{"format":1,"time":0,"frames":[{"size":1,"unpacked":1024}]}`+"\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, inside bool) {
		if inside {
			data = wrap(frames, data)
		}
		x, err := ReadIndex(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if errors.Is(err, io.EOF) {
				t.Errorf("a bare end of file leaks: %v", err)
			}
			return
		}
		at := int64(0)
		for i, frame := range x.Frames {
			if frame.Offset != at || frame.Size <= 0 || frame.Unpacked <= 0 || frame.Unpacked > maxFrame {
				t.Errorf("frame %d is %+v", i, frame)
			}
			at += frame.Size
		}
		if at >= int64(len(data)) {
			t.Errorf("frames to %d of %d bytes", at, len(data))
		}
		for _, e := range x.Entries {
			if err := check(e.Member); err != nil {
				t.Errorf("%+v: %v", e, err)
			}
			if e.Frame < 0 || e.Frame >= len(x.Frames)-1 {
				t.Errorf("%s is in frame %d of %d", e.Name, e.Frame, len(x.Frames))
			}
		}
	})
}
