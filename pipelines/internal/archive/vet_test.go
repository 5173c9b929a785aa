package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hostileDir has tarballs that must be refused, each for one reason. The tests of
// other packages use them, too.
const hostileDir = "testdata/hostile"

// hostile returns the tarballs of hostileDir by name.
func hostile(t *testing.T) map[string][]byte {
	t.Helper()
	one := func(h tar.Header) []byte { return compress(tarOf(t, h)) }
	header := func(members ...raw) []byte { return compress(append(stream(members...), make([]byte, endSize)...)) }
	file := raw{kind: tar.TypeReg, name: "./opt/f", content: "1"}
	plain := tarOf(t, tar.Header{Name: "./opt/f", Typeflag: tar.TypeReg, Size: 3})
	var gzipped bytes.Buffer
	w := gzip.NewWriter(&gzipped)
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	damaged := lying(t, func(*Index) {})
	damaged[len(damaged)/3] ^= 1
	return map[string][]byte{
		"other-members": otherMembers(t),
		"lying-name":    lying(t, func(x *Index) { entry(x, "./opt/kata/big").Name = "./opt/kata/bug" }),
		"lying-mode":    lying(t, func(x *Index) { entry(x, "./opt/kata/big").Mode = 0o644 }),
		"lying-hash":    lying(t, func(x *Index) { entry(x, "./opt/kata/big").SHA256 = strings.Repeat("0", 64) }),
		"lying-link":    lying(t, func(x *Index) { entry(x, "./opt/kata/bin/up").Link = "../bug" }),
		"hidden-frame":  lying(t, func(x *Index) { x.Frames[1].Size += x.Frames[2].Size - 13; x.Frames[2].Size = 13 }),
		"hidden-member": lying(t, func(x *Index) { hide(x, "./opt/kata/bin/tool") }),
		"index-escape":  lying(t, func(x *Index) { entry(x, "./opt/kata/big").Name = "./../../big" }),
		"damaged":       damaged,
		"cut":           damaged[:len(damaged)/2],

		"empty":        {},
		"script":       []byte("#!/usr/bin/env python3\nprint('hello')\n"),
		"gzip":         gzipped.Bytes(),
		"not-packed":   plain,
		"zeros":        compress(make([]byte, endSize)),
		"no-file":      one(tar.Header{Name: "./opt/kata/", Typeflag: tar.TypeDir, Mode: 0o755}),
		"no-end":       compress(plain[:2*blockSize]),
		"after-end":    compress(append(bytes.Clone(plain), "hidden"...)),
		"two-tarballs": compress(append(bytes.Clone(plain), plain...)),

		"character-device": one(tar.Header{Name: "./opt/x", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}),
		"block-device":     one(tar.Header{Name: "./opt/x", Typeflag: tar.TypeBlock, Devmajor: 8}),
		"named-pipe":       one(tar.Header{Name: "./opt/x", Typeflag: tar.TypeFifo}),
		"hard-link":        one(tar.Header{Name: "./opt/x", Typeflag: tar.TypeLink, Linkname: "./opt/y"}),
		"sparse":           compress(hole(t)),
		"absurd-size":      compress(absurd(t)),
		"setuid":           one(tar.Header{Name: "./opt/x", Typeflag: tar.TypeReg, Mode: 0o4755}),
		"setgid":           one(tar.Header{Name: "./opt/x", Typeflag: tar.TypeReg, Mode: 0o2755}),
		"sticky":           one(tar.Header{Name: "./opt/x/", Typeflag: tar.TypeDir, Mode: 0o1777}),
		"escape":           one(tar.Header{Name: "../../etc", Typeflag: tar.TypeReg}),
		"absolute":         one(tar.Header{Name: "/etc/x", Typeflag: tar.TypeReg}),
		"host-file":        one(tar.Header{Name: "./etc/resolv.conf", Typeflag: tar.TypeReg}),
		"dev":              one(tar.Header{Name: "./dev/shm/x", Typeflag: tar.TypeReg}),
		"root-file":        one(tar.Header{Name: "./init", Typeflag: tar.TypeReg}),
		"root-link":        one(tar.Header{Name: "./bin", Typeflag: tar.TypeSymlink, Linkname: "opt/kata"}),
		"link-escape":      one(tar.Header{Name: "./opt/l", Typeflag: tar.TypeSymlink, Linkname: "../../etc"}),
		"link-absolute":    one(tar.Header{Name: "./opt/l", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		"control":          one(tar.Header{Name: "./opt/a\nb", Typeflag: tar.TypeReg}),
		"twice":            header(file, file),
		"through-link":     header(raw{kind: tar.TypeSymlink, name: "./opt/s", link: "."}, raw{kind: tar.TypeReg, name: "./opt/s/f"}),
		"two-names":        header(pax("path=./dev/evil"), pax("path=./opt/ok"), file),
		"capability":       header(pax("SCHILY.xattr.security.capability=x"), file),
		"mixed-formats":    header(pax("path=./dev/evil"), long('L', "./opt/ok"), file),
	}
}

// otherMembers has a file for cron in its frames, and another in its index.
func otherMembers(t testing.TB) []byte {
	t.Helper()
	frames, _ := pack(t, plant(t, []node{{name: "etc/cron.d/x", mode: 0o644, data: []byte("1")}}), 1)
	index, _ := pack(t, plant(t, []node{{name: "opt/kata/fine", mode: 0o644, data: []byte("1")}}), 1)
	data, err := os.ReadFile(frames)
	if err != nil {
		t.Fatal(err)
	}
	x, told := open(t, frames).Index(), open(t, index).Index()
	for i := range x.Frames {
		x.Frames[i].Members = told.Frames[i].Members
	}
	text, err := x.encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(data[:x.size()], text...)
}

func TestVetRefuses(t *testing.T) {
	got := map[string]string{}
	for name, data := range hostile(t) {
		path := filepath.Join(hostileDir, name+".tar.zst")
		if *update {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if there, err := os.ReadFile(path); err != nil || !bytes.Equal(there, data) {
			t.Errorf("%s is another file than this test makes (%v): run it with -update", path, err)
		}
		_, err := vet(t.Context(), bytes.NewReader(data), int64(len(data)), discard)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		got[name] = err.Error()
	}
	entries, err := os.ReadDir(hostileDir)
	if err != nil || len(entries) != len(got) {
		t.Errorf("%d files in %s, want %d: %v", len(entries), hostileDir, len(got), err)
	}
	if want := "another member than ./opt/"; !strings.Contains(got["other-members"], want) {
		t.Errorf("%q, want %q", got["other-members"], want)
	}
}

func TestVetAccepts(t *testing.T) {
	path, _ := pack(t, plant(t, sample()), 1)
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"packed": packed, "foreign": compress(emptyFiles(t, "./opt/y"))} {
		if _, err := vet(t.Context(), bytes.NewReader(data), int64(len(data)), discard); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestVerdicts replaces a tarball that has passed: its digest decides, not its path.
func TestVerdicts(t *testing.T) {
	good, summary := pack(t, plant(t, sample()), 1)
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, otherMembers(t), 0o644); err != nil {
		t.Fatal(err)
	}
	verdicts := Verdicts{filepath.Join(t.TempDir(), "vetted")}
	for range 2 {
		checkError(t, "bad", verdicts.Vet(t.Context(), bad, ""), "vetting "+bad+": checking frame")
		checkError(t, "good", verdicts.Vet(t.Context(), good, ""), "")
	}
	entries, err := os.ReadDir(verdicts.Dir)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if diff := cmp.Diff([]string{summary.SHA256 + ".v2"}, names); diff != "" || err != nil {
		t.Errorf("verdicts (-want +got)\n%s%v", diff, err)
	}
	// A digest that has passed is not read again; this shows that nothing is.
	checkError(t, "known", verdicts.Vet(t.Context(), bad, summary.SHA256), "")
	checkError(t, "digest", verdicts.Vet(t.Context(), good, "../../x"), "is not a sha256")
	checkError(t, "no folder", Verdicts{}.Vet(t.Context(), good, ""), "no folder for verdicts")
	if err := os.Rename(bad, good); err != nil {
		t.Fatal(err)
	}
	checkError(t, "replaced", verdicts.Vet(t.Context(), good, ""), "the index lies")
}

// FuzzVet gets whole tarballs, or an index as JSON in front of good frames, or a tar
// stream. What passes is read alike by its index and from its start.
func FuzzVet(f *testing.F) {
	good := lying(f, func(*Index) {})
	text, offset, err := unpackIndex(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		f.Fatal(err)
	}
	frames := good[:offset]
	f.Add(good, byte(0))
	f.Add(text, byte(1))
	f.Add(tarOf(f, tar.Header{Name: "./opt/x", Typeflag: tar.TypeReg, Size: 3}), byte(2))
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		switch kind {
		case 1:
			data = wrap(frames, data)
		case 2:
			data = compress(data)
		}
		if _, err := vet(t.Context(), bytes.NewReader(data), int64(len(data)), discard); err != nil {
			return
		}
		listed, err := List(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		x, err := readIndex(bytes.NewReader(data), int64(len(data)))
		if errors.Is(err, ErrNoIndex) {
			return
		}
		if diff := cmp.Diff(x.Members(), listed); err != nil || diff != "" {
			t.Errorf("%v; members (-index +stream)\n%s", err, diff)
		}
	})
}
