package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// raw is a header as archive/tar would not write it, with what follows.
type raw struct {
	kind                byte
	name, link, content string
	mode, size          int64 // the content's where it is 0
	gnu                 bool
	prefix              string
	patch               func(head []byte) // before the checksum
}

func (r raw) bytes() []byte {
	head := make([]byte, blockSize)
	copy(head, r.name)
	if r.mode == 0 {
		r.mode = 0o644
	}
	if r.size == 0 {
		r.size = int64(len(r.content))
	}
	copy(head[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00", r.mode, 0, 0, r.size, 0))
	head[156] = r.kind
	copy(head[157:], r.link)
	copy(head[257:], "ustar\x0000")
	if r.gnu {
		copy(head[257:], "ustar  \x00")
	}
	copy(head[345:], r.prefix)
	if r.patch != nil {
		r.patch(head)
	}
	checksum(head)
	return slices.Concat(head, []byte(r.content), make([]byte, padding(int64(len(r.content)))))
}

// pax is an extended header of records "key=value".
func pax(records ...string) raw {
	text := ""
	for _, record := range records {
		n := len(record) + 3 // a number, a space and the end of the line
		if n >= 10 {
			n++
		}
		text += fmt.Sprintf("%d %s\n", n, record)
	}
	return raw{kind: tar.TypeXHeader, name: "p", content: text}
}

// long is an extended header of GNU's.
func long(kind byte, text string) raw {
	return raw{kind: kind, name: "././@LongLink", content: text + "\x00", gnu: true}
}

func stream(members ...raw) []byte {
	var data []byte
	for _, m := range members {
		data = append(data, m.bytes()...)
	}
	return data
}

// TestVet has tar streams that programs extract differently, or whose members go
// together as they must not: each of them passed for a whole tarball once.
func TestVet(t *testing.T) {
	file := raw{kind: tar.TypeReg, name: "./opt/f", content: "1"}
	dir := raw{kind: tar.TypeDir, name: "./opt/d/", mode: 0o755}
	link := func(name, to string) raw { return raw{kind: tar.TypeSymlink, name: name, link: to, mode: 0o777} }
	gnu := file
	gnu.gnu = true
	patched := func(at int, text string) raw {
		return raw{kind: tar.TypeReg, name: "./opt/f", content: "1", patch: func(head []byte) { copy(head[at:], text) }}
	}
	binary := patched(124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")
	gnuBinary := binary
	gnuBinary.gnu = true
	end := make([]byte, endSize)
	hidden := string(raw{kind: tar.TypeReg, name: "./dev/hidden"}.bytes())
	for _, test := range []struct {
		name    string
		members []raw
		want    string
	}{
		{"plain", []raw{file}, ""},
		{"GNU's", []raw{gnu}, ""},
		{"long name", []raw{long('L', "./opt/long"), gnu}, ""},
		{"long name and link", []raw{long('K', "long"), long('L', "./opt/long"), {kind: tar.TypeSymlink, name: "x", link: "x", gnu: true}}, ""},
		{"PAX", []raw{pax("path=./opt/é", "mtime=1.5", "uid=7", "uname=é"), file}, ""},
		{"directories twice", []raw{dir, dir, file}, ""},
		{"bsdtar's USTAR", []raw{patched(100, "000644 \x00000000 \x00000000 \x0000000000001 00000000000 ")}, ""},
		{"bytes of UTF-8", []raw{{kind: tar.TypeReg, name: "./opt/é"}}, ""},
		{"Unix V7", []raw{patched(257, strings.Repeat("\x00", 8))}, ""},
		{"GNU's binary number", []raw{gnuBinary}, ""},

		{"binary number in USTAR", []raw{binary}, "mixes the formats"},
		{"zero before a size", []raw{patched(124, "\x0000000000001")}, "mixes the formats"},
		{"GNU's with a time", []raw{{kind: tar.TypeReg, name: "./opt/f", prefix: "00000000001", gnu: true}}, "mixes the formats"},
		{"Unix V7 with a prefix", []raw{{kind: tar.TypeReg, name: "./opt/f", prefix: "dev", patch: func(head []byte) { clear(head[257:265]) }}}, "mixes the formats"},
		{"star's", []raw{patched(508, "tar\x00")}, "mixes the formats"},
		{"no magic", []raw{patched(257, "\x00\x00\x00\x00\x00")}, "mixes the formats"},

		{"PAX and GNU's name", []raw{pax("path=./dev/evil"), long('L', "./opt/ok"), gnu}, "mixes the formats"},
		{"GNU's name and PAX", []raw{long('L', "./opt/ok"), pax("path=./dev/evil"), file}, "mixes the formats"},
		{"PAX and GNU's link", []raw{pax("linkpath=../../etc"), long('K', "a"), link("./opt/l", "x")}, "mixes the formats"},
		{"PAX in GNU's", []raw{{kind: tar.TypeXHeader, name: "p", content: pax("path=./dev/evil").content, gnu: true}, gnu}, "mixes the formats"},
		{"GNU's name in USTAR", []raw{long('L', "./opt/ok"), file}, "mixes the formats"},
		{"GNU's with a prefix", []raw{{kind: tar.TypeReg, name: "dev/evil", prefix: "./opt/kata", gnu: true}}, "mixes the formats"},
		{"PAX twice", []raw{pax("path=./dev/evil"), pax("mtime=1"), file}, "it has two extended headers of type 'x'"},
		{"PAX twice with a name", []raw{pax("path=./dev/evil"), pax("path=./opt/ok"), file}, "it has two extended headers of type 'x'"},
		{"two long names", []raw{long('L', "./dev/evil"), long('L', "./opt/ok"), gnu}, "two extended headers of type 'L'"},
		{"long headers", []raw{pax("path=./" + strings.Repeat("x", maxHeads)), file}, "the headers of one member take more than 65536 bytes"},
		{"global", []raw{{kind: tar.TypeXGlobalHeader, name: "g", content: pax("path=./dev/evil").content}, file}, "tar type 'g'"},
		{"real size", []raw{pax("SCHILY.realsize=3"), file}, `PAX record "SCHILY.realsize"`},
		{"attribute", []raw{pax("SCHILY.xattr.security.capability=x"), file}, `PAX record "SCHILY.xattr.security.capability"`},
		{"empty record", []raw{pax("path="), file}, `empty PAX record "path"`},
		{"name of a sparse link", []raw{pax("GNU.sparse.name=./opt/l"), link("./opt/a/b/l", "../..")}, `PAX record "GNU.sparse.name"`},
		{"name of a sparse directory", []raw{pax("GNU.sparse.name=./dev/evil"), dir}, `PAX record "GNU.sparse.name"`},
		{"size of a link", []raw{pax("size=512"), link("./opt/l", "f"), {kind: tar.TypeReg, name: "./opt/f", content: hidden}}, "is not a file and has 512 bytes"},
		{"size of a directory", []raw{pax("size=1024"), dir, {kind: tar.TypeReg, name: "./opt/f", content: hidden}}, "is not a file and has 1024 bytes"},

		{"sticky file", []raw{{kind: tar.TypeReg, name: "./opt/f", mode: 0o1755}}, "setuid, setgid or sticky"},
		{"setgid directory", []raw{{kind: tar.TypeDir, name: "./opt/d/", mode: 0o2755}}, "setuid, setgid or sticky"},
		{"setuid root", []raw{{kind: tar.TypeDir, name: "./", mode: 0o4777}, file}, "setuid, setgid or sticky"},
		{"link at the top", []raw{link("./bin", "opt/kata")}, "is in the root of the host"},
		{"link without ASCII", []raw{pax("linkpath=é"), link("./opt/l", "x")}, "use an ASCII letter"},

		{"file twice", []raw{file, file}, "duplicate member ./opt/f"},
		{"link and file", []raw{link("./opt/f", "."), file}, "duplicate member ./opt/f"},
		{"directory and link", []raw{dir, link("./opt/d", "../x"), {kind: tar.TypeReg, name: "./opt/d/f"}}, "duplicate member ./opt/d"},
		{"through a link", []raw{link("./opt/s", "."), {kind: tar.TypeReg, name: "./opt/s/f"}}, "./opt/s/f is below ./opt/s"},
		{"through a later link", []raw{{kind: tar.TypeReg, name: "./opt/s/f"}, link("./opt/s", ".")}, "./opt/s/f is below ./opt/s"},

		{"PAX of no member", []raw{file, pax("path=./opt/b")}, "ends in a header without its member"},
		{"long name of no member", []raw{file, long('L', "./opt/b")}, "ends in a header without its member"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := compress(append(stream(test.members...), end...))
			_, err := List(bytes.NewReader(data))
			checkError(t, "List", err, test.want)
			path := filepath.Join(t.TempDir(), "foreign")
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err = PlanMerge(t.Context(), []Component{{Name: "foreign", Path: path}}, nil, mergeOptions(t))
			if test.want != "" || err == nil || !strings.Contains(err.Error(), "which no component has") {
				checkError(t, "PlanMerge", err, test.want)
			}
			_, err = Unpack(bytes.NewReader(data), t.TempDir())
			checkError(t, "Unpack", err, test.want)
			checkError(t, "CopyFile", copyFile(io.Discard, bytes.NewReader(data), "opt/f"), test.want)
		})
	}
	// Without the end, a stream that stops in a header is as long as a whole one.
	_, err := List(bytes.NewReader(compress(stream(file, pax("path=./opt/b")))))
	checkError(t, "cut", err, "ends in a header without its member")
}

func checkError(t *testing.T, what string, err error, want string) {
	t.Helper()
	if what == "CopyFile" && want == "" {
		return // There need not be such a file.
	}
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: error %v, want %q", what, err, want)
	}
}

// TestUnpackOverwritesNothing has files in the way.
func TestUnpackOverwritesNothing(t *testing.T) {
	data := compress(emptyFiles(t, "./opt/a", "./opt/b"))
	dir := t.TempDir()
	members, err := Unpack(bytes.NewReader(data), dir)
	if entries, _ := os.ReadDir(filepath.Join(dir, "opt")); err != nil || len(members) != 2 || len(entries) != 2 {
		t.Fatalf("%v, %d members, %d files", err, len(members), len(entries))
	}
	_, err = Unpack(bytes.NewReader(data), dir)
	checkError(t, "again", err, "duplicate member ./opt/a, or "+filepath.Join(dir, "opt/a")+" exists")
}

// TestUnpackKeepsModes unpacks under a umask that would take permissions away.
func TestUnpackKeepsModes(t *testing.T) {
	data := compress(tarOf(t, tar.Header{Name: "./opt/a", Typeflag: tar.TypeReg, Mode: 0o775}))
	dir := t.TempDir()
	old := syscall.Umask(0o077)
	_, err := Unpack(bytes.NewReader(data), dir)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "opt/a")); err != nil || info.Mode() != 0o775 {
		t.Errorf("%v, %v: want mode 0775", info, err)
	}
}
