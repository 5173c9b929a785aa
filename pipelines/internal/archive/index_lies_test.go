package archive

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

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
	for _, f := range x.Frames {
		for i := range f.Members {
			if f.Members[i].Name == name {
				return &f.Members[i]
			}
		}
	}
	panic(name)
}

// hide removes a member.
func hide(x *Index, name string) {
	for i := range x.Frames {
		x.Frames[i].Members = slices.DeleteFunc(x.Frames[i].Members, func(m Member) bool { return m.Name == name })
	}
}

// mix moves the first member that is not a directory to the directories.
func mix(x *Index) {
	x.Frames[0].Members = append(x.Frames[0].Members, x.Frames[1].Members[0])
	x.Frames[1].Members = x.Frames[1].Members[1:]
}

func seconds(n int64) *int64 { return &n }

// TestIndexLies has lies that the index itself gives away, and with check those that
// only the frames do.
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
		{name: "twice", change: func(x *Index) { entry(x, "./opt/kata/big").Name = "./opt/kata/VERSIONS" }, want: "duplicate member"},
		{name: "below a link", change: func(x *Index) { entry(x, "./opt/kata/big").Name = "./opt/kata/bin/up/big" }, want: "which is not a directory"},
		{name: "mode", change: func(x *Index) { entry(x, "./opt/kata/big").Mode = 0o777 }, want: "has mode"},
		{name: "hash", change: func(x *Index) { entry(x, "./opt/kata/big").SHA256 = "nonsense" }, want: "has the sha256"},
		{name: "no hash", change: func(x *Index) { entry(x, "./opt/kata/big").SHA256 = "" }, want: "has the sha256"},
		{name: "size of a link", change: func(x *Index) { entry(x, "./opt/kata/bin/up").Size = 5 }, want: "cannot have 5 bytes"},
		{name: "larger", change: func(x *Index) { entry(x, "./opt/kata/big").Size += blockSize }, want: "its members take"},
		{name: "absurd size", change: func(x *Index) { entry(x, "./opt/kata/big").Size = 1 << 60 }, want: "cannot have"},
		{name: "negative size", change: func(x *Index) { entry(x, "./opt/kata/big").Size = -1 }, want: "cannot have"},
		{name: "frame", change: func(x *Index) { x.Frames[1].Size++ }, want: "before the index"},
		{name: "smaller frame", change: func(x *Index) { x.Frames[1].Size-- }, want: "the frames end at"},
		{name: "negative frame", change: func(x *Index) { x.Frames[1].Size = -1 }, want: "frame 1 has -1 bytes"},
		{name: "absurd frame", change: func(x *Index) { x.Frames[1].Unpacked = 1 << 40 }, want: "unpacks to"},
		{name: "no end", change: func(x *Index) { x.Frames[2].Unpacked = blockSize }, want: "not the end of a tar stream"},
		{name: "no frames", change: func(x *Index) { x.Frames = nil }, want: "the frames end at 0"},
		{name: "hidden member", change: func(x *Index) { hide(x, "./opt/kata/bin/tool") }, want: "its members take"},
		{name: "piece of nothing", change: func(x *Index) { x.Frames[0].Members = nil }, want: "continues no member"},
		{name: "directory with a target", change: func(x *Index) { entry(x, "./opt/kata/").Link = "\x1b[31m../../../etc" }, want: `"./opt/kata/" is a directory, and has the link target "\x1b[31m`},
		{name: "kinds mixed", change: func(x *Index) { mix(x) }, want: "mixes directories with other members"},
		{name: "time", change: func(x *Index) { x.Frames[1].Time = seconds(-1 << 62) }, want: "its members take"},
		// What follows is found where the frames are read.
		{name: "other hash", check: true, change: func(x *Index) { entry(x, "./opt/kata/big").SHA256 = strings.Repeat("0", 64) }, want: "the sha256 is"},
		{name: "other name", check: true, change: func(x *Index) { entry(x, "./opt/kata/big").Name = "./opt/kata/bug" }, want: "another member than"},
		{name: "other mode", check: true, change: func(x *Index) { entry(x, "./opt/kata/big").Mode = 0o644 }, want: "another member than"},
		{name: "other link", check: true, change: func(x *Index) { entry(x, "./opt/kata/bin/up").Link = "../bug" }, want: "another member than"},
		{name: "size in the block", check: true, change: func(x *Index) { entry(x, "./opt/kata/big").Size-- }, want: "another member than"},
		{name: "other time", check: true, change: func(x *Index) { x.Frames[1].Time = seconds(5) }, want: "another member than"},
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
				err = file.check(t.Context(), discard)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if test.check && err != nil && strings.Count(err.Error(), "./opt/") > 1 {
				t.Errorf("error %v names the member twice", err)
			}
			if errors.Is(err, ErrNoIndex) {
				t.Error("passes for a tarball without an index")
			}
		})
	}
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
		if err := file.check(t.Context(), discard); err == nil {
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
		x, err := readIndex(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if errors.Is(err, io.EOF) {
				t.Errorf("a bare end of file leaks: %v", err)
			}
			return
		}
		at := int64(0)
		for i, frame := range x.Frames {
			if frame.Size <= 0 || frame.Unpacked <= 0 || frame.Unpacked > maxFrame {
				t.Errorf("frame %d is %+v", i, frame)
			}
			at += frame.Size
		}
		if at >= int64(len(data)) {
			t.Errorf("frames to %d of %d bytes", at, len(data))
		}
		for _, m := range x.Sized() {
			if err := CheckMember(m.Member); err != nil {
				t.Errorf("%+v: %v", m, err)
			}
			if m.Frame < 0 || m.Frame >= len(x.Frames)-1 {
				t.Errorf("%s is in frame %d of %d", m.Name, m.Frame, len(x.Frames))
			}
		}
	})
}
