package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

func TestListReadsWhatPackWrote(t *testing.T) {
	out, summary := pack(t, plant(t, sample()), 1)
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	members, err := List(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(summary.Members, members); diff != "" {
		t.Errorf("members differ (-packed +listed)\n%s", diff)
	}
}

// TestListNoticesCuts guards against archive/tar's view that a stream may end
// after any member: a download cut at a frame would pass for a whole tarball.
func TestListNoticesCuts(t *testing.T) {
	out, _ := pack(t, plant(t, []node{
		{name: "opt/a", mode: 0o644, data: code(blockSize, 3)},
		{name: "opt/b", mode: 0o644, data: code(testFrame+12345, 1)},
	}), 1)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	cuts := []int{0, 1, len(data) / 2, len(data) - 1}
	for at := 4; ; at += 4 {
		i := bytes.Index(data[at:], magic)
		if i < 0 {
			break
		}
		at += i
		cuts = append(cuts, at)
	}
	if len(cuts) < 6 {
		t.Fatalf("only %d frames", len(cuts)-3)
	}
	for _, cut := range cuts {
		if _, err := List(bytes.NewReader(data[:cut])); err == nil {
			t.Errorf("cut at %d of %d: no error", cut, len(data))
		}
	}
	data[len(data)/2] ^= 1
	if _, err := List(bytes.NewReader(data)); err == nil {
		t.Error("a flipped bit: no error")
	}
}

func compress(plain []byte) []byte {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(zstd.MinWindowSize))
	if err != nil {
		panic(err)
	}
	defer func() { _ = encoder.Close() }()
	return encoder.EncodeAll(plain, nil)
}

func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write(make([]byte, h.Size))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func TestListForeign(t *testing.T) {
	file := tarOf(t, tar.Header{Name: "opt/x", Typeflag: tar.TypeReg, Size: 3})
	for _, test := range []struct {
		name string
		tar  []byte
		want string
	}{
		{"GNU tar's own", tarOf(t, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o777}, tar.Header{Name: "opt/x", Typeflag: tar.TypeReg, Size: 3}), ""},
		{"padded", append(bytes.Clone(file), make([]byte, 10240)...), ""},
		{"without an end", file[:2*blockSize], "ends without its final blocks"},
		{"with half an end", file[:3*blockSize], "ends without its final blocks"},
		{"data after the end", append(bytes.Clone(file), "hidden"...), "data follows the end"},
		{"escaping", tarOf(t, tar.Header{Name: "./../x", Typeflag: tar.TypeReg}), "stays inside"},
		{"absolute", tarOf(t, tar.Header{Name: "/etc/x", Typeflag: tar.TypeReg}), "stays inside"},
		{"device", tarOf(t, tar.Header{Name: "./x", Typeflag: tar.TypeChar}), "tar type"},
		{"hard link", tarOf(t, tar.Header{Name: "./x", Typeflag: tar.TypeLink, Linkname: "./y"}), "tar type"},
		{"setuid", tarOf(t, tar.Header{Name: "./x", Typeflag: tar.TypeReg, Mode: 0o4755}), "setuid"},
		{"host file", tarOf(t, tar.Header{Name: "./etc/hosts", Typeflag: tar.TypeReg}), "belongs to the host"},
		{"escaping link", tarOf(t, tar.Header{Name: "./x", Typeflag: tar.TypeSymlink, Linkname: "../y"}), "outside the tree"},
		{"sparse", hole(t), "sparse"},
		{"absurd size", absurd(t), "claims to have 1125899906842624 bytes"},
		{"zeros without end", append(bytes.Clone(file), make([]byte, 2*maxTrailer)...), "zeros follow the end"},
		{"no tar", []byte(strings.Repeat("x", 1024)), "reading the tar stream"},
	} {
		t.Run(test.name, func(t *testing.T) {
			members, err := List(bytes.NewReader(compress(test.tar)))
			if test.want == "" {
				if err != nil || len(members) != 1 || members[0].Name != "./opt/x" || members[0].Size != 3 {
					t.Errorf("listed %v, %v", members, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// hole is a PAX sparse file that says to have an exabyte; archive/tar writes
// none, so that its map is patched in.
func hole(t testing.TB) []byte {
	const size = "1152921504606846976"
	content := "1\n" + size + "\n0\n"
	records := ""
	for _, record := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=./hole", "GNU.sparse.realsize=" + size} {
		records += fmt.Sprintf("%d %s\n", len(record)+4, record)
	}
	pax := tarOf(t, tar.Header{Name: "p", Typeflag: tar.TypeReg, Size: int64(len(records))})[:2*blockSize]
	copy(pax[blockSize:], records)
	pax[156] = tar.TypeXHeader
	checksum(pax[:blockSize])
	body := tarOf(t, tar.Header{Name: "./hole", Typeflag: tar.TypeReg, Size: blockSize})
	copy(body[blockSize:], content)
	return append(pax, body...)
}

// absurd has a member that says to have a petabyte, as a binary number of GNU's.
func absurd(t testing.TB) []byte {
	file := tarOf(t, tar.Header{Name: "./x", Typeflag: tar.TypeReg, Size: 3})
	copy(file[257:], gnuMagic)
	copy(file[124:136], "\x80\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00")
	checksum(file[:blockSize])
	return file
}

func checksum(header []byte) {
	copy(header[148:156], "        ")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	for i := 5; i >= 0; i-- {
		header[148+i] = byte('0' + sum%8)
		sum /= 8
	}
	header[154] = 0
}

func FuzzList(f *testing.F) {
	out, _ := pack(f, plant(f, []node{
		{name: "opt/kata/x", mode: 0o644, data: []byte("content")},
		{name: "opt/kata/l", link: "x"},
	}), 1)
	packed, err := os.ReadFile(out)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed, false)
	f.Add(packed[:len(packed)/2], false)
	f.Add(hole(f), true)
	f.Add(tarOf(f, tar.Header{Name: "./opt/" + strings.Repeat("long/", 60), Typeflag: tar.TypeDir}), true)
	f.Fuzz(func(t *testing.T, data []byte, plain bool) {
		if plain {
			data = compress(data)
		}
		members, err := walk(io.LimitReader(bytes.NewReader(data), 1<<20), 1<<24, func(Member, io.Reader) error { return nil })
		if err != nil {
			if errors.Is(err, io.EOF) {
				t.Errorf("a bare end of file leaks: %v", err)
			}
			return
		}
		for _, m := range members {
			if err := CheckMember(m); err != nil {
				t.Errorf("listed %+v: %v", m, err)
			}
			if m.Mode.IsRegular() != (m.SHA256 != "") {
				t.Errorf("listed %+v: hash and mode do not agree", m)
			}
		}
	})
}

// emptyFiles is a tar stream of empty files.
func emptyFiles(t testing.TB, names ...string) []byte {
	t.Helper()
	var headers []tar.Header
	for _, name := range names {
		headers = append(headers, tar.Header{Name: name, Typeflag: tar.TypeReg})
	}
	return tarOf(t, headers...)
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// TestBombs has little that unpacks to much.
func TestBombs(t *testing.T) {
	const limit = 1 << 20
	file := tarOf(t, tar.Header{Name: "./x", Typeflag: tar.TypeReg, Size: 4 * limit})
	longName := tarOf(t, tar.Header{Name: "./" + strings.Repeat("x", 1000), Typeflag: tar.TypeReg})[:3*blockSize] // without the member
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"file":    {file, "unpacks to more than 1048576 bytes"},
		"many":    {emptyFiles(t, slices.Repeat([]string{"./opt/x"}, 2*limit/blockSize)...), "unpacks to more than 1048576 bytes"},
		"headers": {bytes.Repeat(longName, limit/len(longName)+1), "the headers of one member take more than 65536 bytes"},
	} {
		_, err := walk(bytes.NewReader(compress(test.data)), limit, func(Member, io.Reader) error { return nil })
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
