package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kimage"
)

// formats are what the hypervisors of an architecture load, by the file.
var formats = []struct {
	arch, file string
	formats    []kimage.Format
}{
	{"x86_64", "vmlinuz", []kimage.Format{kimage.BzImage}},
	{"x86_64", "vmlinux", []kimage.Format{kimage.ELF}},
	{"aarch64", "vmlinuz", []kimage.Format{kimage.ARM64Gzip, kimage.ARM64Image, kimage.ARM64Zboot}},
	{"aarch64", "vmlinux", []kimage.Format{kimage.ARM64Image, kimage.ELF}},
	{"s390x", "vmlinuz", []kimage.Format{kimage.S390BzImage}},
	{"s390x", "vmlinux", []kimage.Format{kimage.ELF}},
	{"ppc64le", "vmlinuz", []kimage.Format{kimage.ELF}},
	{"ppc64le", "vmlinux", []kimage.Format{kimage.ELF}},
}

// image opens a kernel image and checks its format, architecture and release.
// An image that cannot be read is a check that failed, and nil.
func (k Kernel) image(report *Report, what, path, release string) (*kimage.Image, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		report.Skip(what, "it is not in the tarball")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	image, err := kimage.Open(file, info.Size())
	if err != nil {
		report.Fail(what, "%v", err)
		return nil, nil
	}
	report.Judge(what, k.imageProblems(what, image, release), "%s for %s, release %s, %d bytes", image.Format, image.Arch, shown(image.Release), info.Size())
	return &image, nil
}

func (k Kernel) imageProblems(what string, image kimage.Image, release string) []string {
	if image.Arch != k.Arch {
		return []string{fmt.Sprintf("an image for another architecture: %s for %s, want %s", image.Format, image.Arch, k.Arch)}
	}
	var problems []string
	for _, known := range formats {
		if known.arch == k.Arch && known.file == what && !slices.Contains(known.formats, image.Format) {
			problems = append(problems, fmt.Sprintf("the format is %s: hypervisors want %s", image.Format, join(known.formats)))
		}
	}
	// A compressed image need not say its release; then the boot does.
	if image.Release != "" && image.Release != release {
		problems = append(problems, fmt.Sprintf("the release is %s: want %s, the pin %s", image.Release, release, k.Plan.Version))
	}
	return problems
}

func shown(release string) string {
	if release == "" {
		return "not said"
	}
	return release
}

func join(formats []kimage.Format) string {
	words := make([]string, len(formats))
	for i, format := range formats {
		words[i] = string(format)
	}
	return strings.Join(words, ", or ")
}
