package kernel

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// formats are what the hypervisors of an architecture load, by the file.
var formats = map[string][]string{
	"x86_64 vmlinuz":      {kimage.BzImage},
	"x86_64 vmlinux":      {kimage.ELF},
	"aarch64 vmlinuz":     {kimage.ARM64Gzip, kimage.ARM64Image},
	"aarch64 vmlinux":     {kimage.ARM64Image, kimage.ELF},
	"aarch64 vmlinux.elf": {kimage.ELF},
	"s390x vmlinuz":       {kimage.S390BzImage},
	"s390x vmlinux":       {kimage.ELF},
	"s390x vmlinux.elf":   {kimage.ELF},
	"ppc64le vmlinuz":     {kimage.ELF},
	"ppc64le vmlinux":     {kimage.ELF},
}

// image opens a kernel image and checks its format, architecture and release. An
// image that cannot be read is a failed check, and nil.
func (f *files) image(what string) (opened *kimage.Image) {
	f.r.Run(what, func() (saw string, err error) {
		file, err := os.Open(f.t.Path(f.path(what)))
		if errors.Is(err, fs.ErrNotExist) {
			return "", report.Missing("it is not in the tarball")
		}
		if err != nil {
			return "", err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return "", err
		}
		image, err := kimage.Open(file, info.Size())
		if err != nil {
			return "", err
		}
		opened = &image
		err = f.checkImage(what, image)
		if what == "vmlinux.elf" && err == nil {
			err = f.checkDebug(image, file)
		}
		release := cmp.Or(image.Release, "unknown")
		return fmt.Sprintf("%s for %s, release %s, %d bytes", image.Format, image.Arch, release, info.Size()), err
	})
	return opened
}

func (f *files) checkImage(what string, image kimage.Image) (err error) {
	if image.Arch != f.Arch {
		return fmt.Errorf("an image for another architecture: %s for %s, want %s", image.Format, image.Arch, f.Arch)
	}
	if known := formats[f.Arch+" "+what]; known != nil && !slices.Contains(known, image.Format) {
		err = fmt.Errorf("the format is %s: hypervisors want %s", image.Format, strings.Join(known, ", or "))
	}
	// A compressed image may lack its release, which the boot then checks.
	if image.Release != "" && image.Release != f.release() {
		err = errors.Join(err,
			fmt.Errorf("the release is %s: want %s, the pin %s", image.Release, f.release(), f.Plan.Version))
	}
	return err
}

// checkDebug says what a debugger lacks in vmlinux.elf, and whether vmlinux is
// another build.
func (f *files) checkDebug(image kimage.Image, file *os.File) error {
	parsed, err := elf.NewFile(file)
	if err != nil {
		return err
	}
	for _, name := range []string{".symtab", ".debug_info"} {
		if parsed.Section(name) == nil {
			err = errors.Join(err, fmt.Errorf("it has no %s for debuggers", name))
		}
	}
	if f.vmlinux == nil || f.vmlinux.Format != kimage.ARM64Image {
		return err
	}
	for _, section := range image.Sections {
		if section.Name == ".notes" && !f.vmlinux.Contains(section.Data) {
			err = errors.Join(err, errors.New("vmlinux is another build: it has other notes"))
		}
	}
	return err
}
