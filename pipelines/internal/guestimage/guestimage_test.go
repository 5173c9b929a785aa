package guestimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// content returns bytes that are all different from those of another seed.
func content(seed byte, size int64) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = seed + byte(i%251)
	}
	return data
}

// made returns an image of a layout.
func made(t *testing.T, l Layout) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := l.Write(&out, bytes.NewReader(content(1, l.Root.Size)), bytes.NewReader(content(2, l.Hash.Size))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The tools of a machine read an image as this package does.
func TestWrite(t *testing.T) {
	for name, test := range map[string]struct {
		filesystem string
		dax        bool
		root, hash int64
		want       Layout
	}{
		"ext4":                 {Ext4, true, 5 * mib, 0, Layout{true, Extent{3 * mib, 5 * mib}, Extent{}, 128 * mib}},
		"ext4 at the boundary": {Ext4, true, 125 * mib, 0, Layout{true, Extent{3 * mib, 125 * mib}, Extent{}, 128 * mib}},
		"ext4 beyond it":       {Ext4, true, 125*mib + 4096, 0, Layout{true, Extent{3 * mib, 125*mib + 4096}, Extent{}, 256 * mib}},
		"measured":             {Ext4, true, 5*mib + 4096, 3 * 4096, Layout{true, Extent{3 * mib, 5*mib + 4096}, Extent{9 * mib, 3 * 4096}, 128 * mib}},
		"erofs":                {Erofs, true, 5*mib + 4096, 0, Layout{true, Extent{3 * mib, 5*mib + 4096}, Extent{}, 10 * mib}},
		"measured without DAX": {Erofs, false, 3 * 4096, 4096, Layout{false, Extent{mib, 3 * 4096}, Extent{2 * mib, 4096}, 3 * mib}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Plan(test.filesystem, test.dax, test.root, test.hash)
			if err != nil || l != test.want {
				t.Fatalf("the layout is %+v, %v: want %+v", l, err, test.want)
			}
			image := made(t, l)
			if got, err := Read(bytes.NewReader(image), int64(len(image))); err != nil || got != l {
				t.Errorf("read %+v, %v: want %+v", got, err, l)
			}
			if !bytes.Equal(image[l.Root.Start:l.Root.end()], content(1, l.Root.Size)) || !bytes.Equal(image[l.Hash.Start:l.Hash.end()], content(2, l.Hash.Size)) && l.Hash.Size > 0 {
				t.Error("a partition has other content")
			}
			for _, disk := range []int64{0, daxStart} {
				if disk == 0 || test.dax {
					sfdisk(t, image[disk:], l.partitions(disk))
				}
			}
		})
	}
}

// sfdisk compares partitions with those that sfdisk finds on a disk.
func sfdisk(t *testing.T, disk []byte, want []Extent) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	out := tool(t, "sfdisk", "--verify", "--dump", file)
	var got []Extent
	for line := range strings.Lines(out) {
		_, fields, found := strings.Cut(line, " : ")
		if !found {
			continue
		}
		var part Extent
		if _, err := fmt.Sscanf(strings.ReplaceAll(fields, " ", ""), "start=%d,size=%d,type=83", &part.Start, &part.Size); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, Extent{part.Start * sectorSize, part.Size * sectorSize})
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sfdisk finds %v: want %v\n%s", got, want, out)
	}
}

// tool runs a program, and skips the test without it.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("no %s", name)
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// The checksum is the one that Kata's program nsdax of release 3.28 writes.
func TestHeader(t *testing.T) {
	const want = 0x685b032be3943830
	h := newHeader(daxStart)
	if h.Checksum != want {
		t.Errorf("the checksum is %#x: want %#x", h.Checksum, want)
	}
	if n := len(h.encode()); n != headerSize {
		t.Errorf("the header has %d bytes: want %d", n, headerSize)
	}
}

func TestWriteRefuses(t *testing.T) {
	good, err := Plan(Ext4, true, 8192, 4096)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		root, hash int64
		want       string
	}{
		{4096, 4096, "the root filesystem has 4096 bytes: want 8192"},
		{8193, 4096, "the root filesystem has more than 8192 bytes"},
		{8192, 0, "the hash tree has 0 bytes: want 4096"},
	} {
		err := good.Write(io.Discard, bytes.NewReader(content(1, test.root)), bytes.NewReader(content(2, test.hash)))
		if err == nil || err.Error() != test.want {
			t.Errorf("with %d and %d bytes: got %v: want %s", test.root, test.hash, err, test.want)
		}
	}
	for _, test := range []struct {
		size int64
		want string
	}{
		{0, "the root partition has 0 bytes: want a multiple of 4096"},
		{4097, "the root partition has 4097 bytes: want a multiple of 4096"},
		{sectorSize << 32, "are more than the 2199023255552 that a partition table can address"},
	} {
		if _, err := Plan(Erofs, true, test.size, 0); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d bytes: got %v: want %s", test.size, err, test.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	number := func(at int, value uint32) func([]byte) []byte {
		return func(image []byte) []byte { binary.LittleEndian.PutUint32(image[at:], value); return image }
	}
	const first, second = entriesStart, entriesStart + entrySize
	// resum corrects the checksum of the header after a change.
	resum := func(change func([]byte) []byte) func([]byte) []byte {
		return func(image []byte) []byte {
			image = change(image)
			h, err := readHeader(bytes.NewReader(image))
			if err != nil {
				panic(err)
			}
			h.Checksum = h.sum()
			copy(image[headerStart:], h.encode())
			return image
		}
	}
	for name, test := range map[string]struct {
		change func(image []byte) []byte
		want   string
	}{
		"cut in the table":  {func([]byte) []byte { return []byte("cut") }, "reading the MBR at byte 0: EOF"},
		"cut in the header": {func(image []byte) []byte { return image[:6000] }, "reading the DAX header at byte 4096: unexpected EOF"},
		"cut":               {func(image []byte) []byte { return image[:4*mib] }, "the hash partition ends at byte 4198400, but the image has 4194304 bytes"},
		"odd size":          {func(image []byte) []byte { return append(image, make([]byte, mib)...) }, "want a multiple of 2 MiB, or Linux refuses it as an NVDIMM"},
		"no mark":           {number(508, 0), "the MBR at byte 0: it ends with 00 00: want 55 aa"},
		"no second table":   {number(daxStart+508, 0), "the MBR at byte 2097152: it ends with 00 00: want 55 aa"},
		"empty table":       {func(image []byte) []byte { clear(image[first:510]); return image }, "the MBR at byte 0: no partition"},
		"no root":           {func(image []byte) []byte { clear(image[first:second]); return image }, "partition 2 exists, but not partition 1"},
		"third partition":   {number(second+entrySize+4, linux), "partition 3: want a root partition and at most a hash partition"},
		"other type":        {number(first+4, 0x7), "partition 1 has the type 0x7: want 0x83"},
		"overlap":           {func(image []byte) []byte { return number(second+8, 6144)(number(daxStart+second+8, 2048)(image)) }, "the hash partition begins at byte 3145728, within the root partition"},
		"other start":       {number(daxStart+first+8, 4096), "partition 1 begins at byte 3145728 of the file and has 8192 bytes by the MBR at byte 0, but at byte 4194304"},
		"fewer partitions":  {func(image []byte) []byte { clear(image[daxStart+second : daxStart+510]); return image }, "has 2 partitions, the one at byte 2097152 has 1"},
		"header changed":    {number(headerStart+100, 1), "the DAX header at byte 4096: the checksum is 0x685b032be3943830: want"},
		"signature":         {number(headerStart, 1), `the DAX header at byte 4096: the signature is "\x01\x00\x00\x00`},
		"other alignment":   {resum(number(headerStart+84, 4096)), "the alignment is 4096: want 2097152"},
		"other mode":        {resum(number(headerStart+72, 2)), "the mode is 2: want 1"},
	} {
		l, err := Plan(Erofs, true, 8192, 4096)
		if err != nil {
			t.Fatal(err)
		}
		image := test.change(made(t, l))
		_, err = Read(bytes.NewReader(image), int64(len(image)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v: want %s", name, err, test.want)
		}
	}
}
