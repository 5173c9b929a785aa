package verify

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/fv"
)

// OVMF is a firmware of the tree.
type OVMF struct {
	// Asset is its name, Arch its architecture as `uname -m` prints it.
	Asset, Arch string
	// Version is the pin, "edk2-stable202502", which guests see.
	Version string
}

// Verify looks at the tarball of a firmware. The error is for what is no
// tarball, and for a machine on which nothing can be verified; what is wrong
// with the firmware is in the report.
func (o OVMF) Verify(ctx context.Context, tarball string, boot Boot) (*Report, error) {
	known, ok := known(o.Asset, o.Arch)
	if !ok {
		return nil, fmt.Errorf("nobody has said what the firmware %q is on %s", o.Asset, o.Arch)
	}
	dir, err := os.MkdirTemp("", "kata-verify-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the firmware: %w", err)
	}
	defer os.RemoveAll(dir)
	members, err := known.unpack(tarball, dir)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", tarball, err)
	}
	report := &Report{Asset: o.Asset, Arch: o.Arch, Tarball: tarball}
	known.checkMembers(report, members)
	images, err := known.open(report, dir)
	if err != nil {
		return nil, err
	}
	known.checkContents(report, images)
	o.checkVersion(report, images)
	if o.Arch == "x86_64" {
		known.checkTable(report, images[0])
	} else {
		known.images[0].checkBranch(report, images[0])
	}
	if err := boot.firmware(ctx, report, o, known, images, dir); err != nil {
		return nil, err
	}
	return report, nil
}

// path is that of an image in the tarball.
func (f firmware) path(image flash) string { return "opt/kata/share/" + f.folder + "/" + image.name }

// unpack lists the tarball and puts the images into dir.
func (f firmware) unpack(tarball, dir string) ([]archive.Member, error) {
	file, err := os.Open(tarball)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return archive.Extract(file, func(name string, size int64) (string, error) {
		for _, image := range f.images {
			if name != "./"+f.path(image) {
				continue
			}
			if size > image.size {
				return "", fmt.Errorf("it has %d bytes: want %d", size, image.size)
			}
			return filepath.Join(dir, image.name), nil
		}
		return "", nil
	})
}

// checkMembers holds the members of the tarball against the images, no more and
// no less.
func (f firmware) checkMembers(report *Report, members []archive.Member) {
	var problems []string
	found := map[string]bool{}
	for _, m := range members {
		name := strings.TrimPrefix(m.Name, "./")
		image, known := f.image(name)
		switch {
		case m.Mode.IsDir() && strings.HasPrefix("opt/kata/share/"+f.folder+"/", name):
		case !known:
			problems = append(problems, fmt.Sprintf("%s does not belong to the asset", m.Name))
		case !m.Mode.IsRegular() || m.Mode.Perm() != 0o644:
			problems = append(problems, fmt.Sprintf("%s has mode %s: want a file with 0644", m.Name, m.Mode))
		case m.Size != image.size:
			problems = append(problems, fmt.Sprintf("%s has %d bytes: want %d", m.Name, m.Size, image.size))
		}
		found[name] = true
	}
	var saw []string
	for _, image := range f.images {
		if !found[f.path(image)] {
			problems = append(problems, fmt.Sprintf("./%s is missing", f.path(image)))
		}
		saw = append(saw, fmt.Sprintf("%s with %d MiB", f.path(image), image.size>>20))
	}
	report.Judge("members", problems, "%s", strings.Join(saw, ", "))
}

// image returns the one that has a path in the tarball.
func (f firmware) image(name string) (flash, bool) {
	for _, image := range f.images {
		if f.path(image) == name {
			return image, true
		}
	}
	return flash{}, false
}

// image is an opened one; parsed, whose offsets begin behind the head, is nil
// where it could not be parsed, and a check has said so, and data where it is
// missing.
type image struct {
	path   string
	data   []byte
	parsed *fv.Image
	// files are those of all volumes, also of volumes in files.
	files []fv.File
}

// open reads the images, and checks their volumes on the way.
func (f firmware) open(report *Report, dir string) ([]image, error) {
	var images []image
	for _, known := range f.images {
		i := image{path: filepath.Join(dir, known.name)}
		var err error
		if i.data, err = optional(i.path); err != nil {
			return nil, err
		}
		if i.data != nil {
			i.parsed, i.files = known.check(report, i.data)
		}
		images = append(images, i)
	}
	return images, nil
}

// check parses an image and checks which volumes it has, and that it keeps no
// variables yet.
func (f flash) check(report *Report, data []byte) (*fv.Image, []fv.File) {
	name := "volumes of " + f.name
	if len(data) < f.head {
		report.Fail(name, "%d bytes: too few for its head of %d", len(data), f.head)
		return nil, nil
	}
	data = data[f.head:]
	parsed, err := fv.Parse(data)
	if err != nil {
		report.Fail(name, "%v", err)
		return nil, nil
	}
	nested, err := parsed.Nested()
	if err != nil {
		report.Fail(name, "%v", err)
		return nil, nil
	}
	var problems, saw []string
	if len(parsed.Volumes) != len(f.volumes) {
		problems = append(problems, fmt.Sprintf("%d volumes: want %d", len(parsed.Volumes), len(f.volumes)))
	}
	for n, v := range parsed.Volumes {
		what := fmt.Sprintf("%#x-%#x", f.head+v.Offset, f.head+v.Offset+v.Length)
		if n < len(f.volumes) && v.FileSystem != f.volumes[n] {
			problems = append(problems, fmt.Sprintf("volume %d at %s has the file system %s: want %s", n+1, what, v.FileSystem, f.volumes[n]))
			continue
		}
		if v.FileSystem != fv.Variables {
			saw = append(saw, fmt.Sprintf("%s: %d files", what, len(v.Files)))
			continue
		}
		size, err := v.VariableStore(data)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		saw = append(saw, fmt.Sprintf("%s: no variables in a store of %d KiB", what, size>>10))
	}
	if parsed.Padding > 0 {
		saw = append(saw, fmt.Sprintf("%d bytes of padding", parsed.Padding))
	}
	var files []fv.File
	for _, v := range slices.Concat(parsed.Volumes, nested) {
		files = append(files, v.Files...)
	}
	if len(nested) > 0 {
		saw = append(saw, fmt.Sprintf("%d volumes within: %d files together", len(nested), len(files)))
	}
	report.Judge(name, problems, "%s", strings.Join(saw, "\n"))
	return parsed, files
}
