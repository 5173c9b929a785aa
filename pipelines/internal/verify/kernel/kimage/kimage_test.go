package kimage_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage/kimagetest"
)

const (
	release = "6.18.15"
	text    = "Linux version " + release + " (kata@kata-containers) #1 SMP\n"
)

func open(data []byte) (kimage.Image, error) {
	return kimage.Open(bytes.NewReader(data), int64(len(data)))
}

func compress(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func half(data []byte) []byte { return data[:len(data)/2] }

func vmlinux(machine string, sections ...kimagetest.Section) []byte {
	return kimagetest.ELF(machine, append(sections, kimagetest.Section{Name: ".rodata", Address: 0x1000, Data: []byte("Linux version %s\x00" + text)})...)
}

// s390 is an image for s390x.
func s390() []byte {
	data := make([]byte, 0x11000)
	copy(data[0x10008:], "S390EP")
	binary.BigEndian.PutUint64(data[0x10428:], 0x10600)
	copy(data[0x10600:], release+" (kata@kata-containers) #1 SMP\x00")
	copy(data[len(data)-4:], "zIPL")
	return data
}

// patch returns the data with one byte changed.
func patch(data []byte, at int, to byte) []byte {
	data = bytes.Clone(data)
	data[at] = to
	return data
}

func TestOpen(t *testing.T) {
	for name, test := range map[string]struct {
		data    []byte
		format  string
		arch    string
		release string
	}{
		"bzImage":           {kimagetest.BzImage(release), kimage.BzImage, "x86_64", release},
		"32-bit bzImage":    {patch(kimagetest.BzImage(release), 0x236, 0), kimage.BzImage, "i386", release},
		"arm64 Image":       {kimagetest.ARM64(text), kimage.ARM64Image, "aarch64", release},
		"arm64 Image.gz":    {compress(t, kimagetest.ARM64(text)), kimage.ARM64Gzip, "aarch64", release},
		"s390 bzImage":      {s390(), kimage.S390BzImage, "s390x", release},
		"x86_64 vmlinux":    {vmlinux("x86_64"), kimage.ELF, "x86_64", release},
		"aarch64 vmlinux":   {vmlinux("aarch64"), kimage.ELF, "aarch64", release},
		"s390x vmlinux":     {vmlinux("s390x"), kimage.ELF, "s390x", release},
		"ppc64le vmlinux":   {vmlinux("ppc64le"), kimage.ELF, "ppc64le", release},
		"ELF without words": {kimagetest.ELF("x86_64", kimagetest.Section{Name: ".text", Data: []byte{0x90}}), kimage.ELF, "x86_64", ""},
	} {
		t.Run(name, func(t *testing.T) {
			image, err := open(test.data)
			require.NoError(t, err)
			if image.Format != test.format || image.Arch != test.arch || image.Release != test.release {
				t.Errorf("got %s, %s, %q", image.Format, image.Arch, image.Release)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	elf := vmlinux("x86_64")
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":               {nil, "0 bytes that begin with nothing: not a kernel image"},
		"text":                  {[]byte("hello"), "68 65 6c 6c 6f: not a kernel image"},
		"a large text":          {bytes.Repeat([]byte("x"), 1<<17), "not a bzImage, arm64 Image or ELF file"},
		"half a bzImage":        {half(kimagetest.BzImage(release)), "cut short: it has"},
		"header of a bzImage":   {kimagetest.BzImage(release)[:0x210], "cut short"},
		"half an Image":         {kimagetest.ARM64(text)[:200], "it was cut short, or is not Linux"},
		"half an Image.gz":      {half(compress(t, kimagetest.ARM64(text+strings.Repeat("abcdefgh", 9999)))), "cut short: its gzip stream ends"},
		"gzip of something":     {compress(t, []byte("hello")), "not an arm64 Image"},
		"half an s390 image":    {s390()[:0x10800], "does not end with the mark"},
		"header of s390":        {s390()[:0x10020], "cut short"},
		"half an ELF":           {half(elf), "cut short"},
		"ELF without its table": {elf[:len(elf)-1], "cut short"},
		"header of an ELF":      {elf[:40], "cut short"},
		"32-bit ELF":            {patch(elf, 4, 1), "ELF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(test.data)
			require.Error(t, err, test.want)
		})
	}
}

func TestContents(t *testing.T) {
	config, notes, types := []byte("CONFIG_A=y\n"), []byte("build id"), kimagetest.BTF()
	embedded := append(append([]byte("IKCFG_ST"), compress(t, config)...), "IKCFG_ED"...)
	for name, data := range map[string][]byte{
		"vmlinux": vmlinux("x86_64", kimagetest.Section{Name: ".text", Data: embedded},
			kimagetest.Section{Name: ".notes", Data: notes}, kimagetest.Section{Name: ".BTF", Data: types}),
		// A header whose lengths do not fit comes before the right one.
		"raw image": kimagetest.ARM64(text + string(embedded) + string(types[:8]) + strings.Repeat("\xff", 64) + string(types) + "more"),
	} {
		t.Run(name, func(t *testing.T) {
			image, err := open(data)
			require.NoError(t, err)
			if got, err := image.Config(); err != nil || !bytes.Equal(got, config) {
				t.Errorf("configuration %q, %v", got, err)
			}
			if got, err := image.BTF(); err != nil || !bytes.Equal(got, types) {
				t.Errorf("types % x, %v; want % x", got, err, types)
			}
		})
	}
	image, err := open(vmlinux("x86_64", kimagetest.Section{Name: ".notes", Data: notes}))
	require.NoError(t, err)
	if !image.Contains(notes) || image.Contains([]byte("another build")) {
		t.Error("the notes are not told from others")
	}
	if _, err := image.Config(); !errors.Is(err, kimage.ErrNone) {
		t.Errorf("configuration of an image without one: %v", err)
	}
	if _, err := image.BTF(); !errors.Is(err, kimage.ErrNone) {
		t.Errorf("types of an image without any: %v", err)
	}
	broken, err := open(vmlinux("x86_64", kimagetest.Section{Name: ".text", Data: []byte("IKCFG_ST\x1f\x8b\x08broken")}))
	require.NoError(t, err)
	if _, err := broken.Config(); err == nil || errors.Is(err, kimage.ErrNone) {
		t.Errorf("a broken configuration: %v", err)
	}
}

func TestHasBanner(t *testing.T) {
	image, err := open(vmlinux("x86_64"))
	require.NoError(t, err)
	const at = 0x1000 + uint64(len("Linux version %s\x00"))
	for address, want := range map[uint64]bool{at: true, at + 1: false, 0x1000: false, 0: false, 1 << 40: false} {
		if has, known := image.HasBanner(address); has != want || !known {
			t.Errorf("%#x: %v, %v; want %v", address, has, known, want)
		}
	}
	raw, err := open(kimagetest.ARM64(text))
	require.NoError(t, err)
	if _, known := raw.HasBanner(at); known {
		t.Error("a raw image has no addresses")
	}
}

func TestBuildID(t *testing.T) {
	other := "\x06\x00\x00\x00\x01\x00\x00\x00\x00\x01\x00\x00Linux\x00\x00\x00\x00\x00\x00\x00"
	little := "\x04\x00\x00\x00\x03\x00\x00\x00\x03\x00\x00\x00GNU\x00\xab\xcd\xef\x00"
	big := "\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00\x03GNU\x00\xab\xcd\xef\x00"
	for notes, want := range map[string]string{
		"": "", "short": "", other: "", little: "abcdef", other + little: "abcdef", big: "abcdef",
		little[:17]: "", strings.Replace(little, "GNU", "XEN", 1): "", strings.Repeat("\xff", 40): "",
	} {
		if got := kimage.BuildID([]byte(notes)); got != want {
			t.Errorf("%q: %q, want %q", notes, got, want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, seed := range [][]byte{kimagetest.BzImage(release), kimagetest.ARM64(text), s390(), vmlinux("ppc64le"), vmlinux("s390x")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		image, err := open(data)
		if err != nil {
			return
		}
		if image.Format == "" || image.Arch == "" {
			t.Errorf("an image without format or architecture: %+v", image)
		}
		// None of them may panic on any input.
		_, _ = image.Config()
		_, _ = image.BTF()
		kimage.BuildID(data)
		image.HasBanner(0x1000)
	})
}

// TestPacks guards against a kernel that counts as packed in the image of another.
func TestPacks(t *testing.T) {
	payload := kimage.Section{Name: ".vmlinux.bin.compressed", Data: []byte("a kernel, compressed")}
	ours := kimage.Image{Sections: []kimage.Section{{Name: ".text", Data: []byte("unpack")}, payload}}
	image := kimage.Image{Sections: []kimage.Section{{Data: []byte("head, " + string(payload.Data) + ", tail")}}}
	if !image.Packs(ours) {
		t.Error("its own decompressor is another's")
	}
	ours.Sections[1].Data = []byte("another kernel, compressed")
	if image.Packs(ours) || image.Packs(kimage.Image{}) {
		t.Error("another's decompressor, or nothing, is its own")
	}
}

// TestNoStub guards against sections that are read out of an image without an EFI stub:
// these bytes would be a COFF file for no machine, with sections beyond its end.
func TestNoStub(t *testing.T) {
	data := s390()
	copy(data, "\x00\x00\x01\x00")
	copy(data[20:], strings.Repeat("\xf0", 24))
	if _, err := open(data); err != nil {
		t.Error(err)
	}
}
