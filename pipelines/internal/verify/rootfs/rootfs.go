// Package rootfs verifies the root filesystems of guests, in disk images and initrds, on
// the shipped files themselves: the partition tables and the DAX header, the filesystem,
// dm-verity, the packages, and the modes of all files. Then it boots them with a kernel of
// this tree, as Kata's runtimes do, and speaks with their agent.
//
// It reads filesystems with the tools that check them, e2fsck and debugfs or fsck.erofs:
// they need no mount and no privilege. The layout and the hash tree are read by package
// guestimage, whose tests compare it with the tools of others.
package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/guestimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Guest are the root filesystems of an asset.
type Guest struct {
	// Arch is their architecture, as `uname -m` prints it.
	Arch string
	// Images are in the tarball, and Budgets the largest sizes of their filesystems by path,
	// 0 for any.
	Images  []recipe.Image
	Budgets map[string]int64
	// Initrd is the path of an initrd in the tarball, "" for none, and Link that of the link
	// to it.
	Initrd, Link string
	// Extension is the name that the image has as an extension, "" for a guest of its own.
	Extension string
	// Locked are the packages of the lock; without any, the lists of packages are not
	// compared.
	Locked []recipe.Locked
}

// Image is an image of the tarball.
type Image struct {
	recipe.Image
	// File is the image, and Root a copy of its root filesystem.
	File, Root string
	Layout     guestimage.Layout
	// Verity has the parameters of dm-verity, of a measured image.
	Verity guestimage.Verity
}

// maxImage is the largest image or initrd that is read.
const maxImage = 16 << 30

// Layout has images, initrd, links and root hashes.
func (g Guest) Layout() tarball.Layout {
	layout := tarball.Layout{}
	for _, image := range g.Images {
		layout[image.Path] = tarball.File{Mode: 0o644, Max: maxImage}
		layout[path.Join(path.Dir(image.Path), guestimage.LinkName(image.Variant))] = tarball.File{Link: path.Base(image.Path)}
		if image.Measured {
			layout[rootHash(image)] = tarball.File{Mode: 0o644}
		}
	}
	if g.Initrd != "" {
		layout[g.Initrd] = tarball.File{Mode: 0o644, Max: maxImage}
		layout[g.Link] = tarball.File{Link: path.Base(g.Initrd)}
	}
	return layout
}

// SetInitrd sets the paths of an initrd of a distribution, as assets/rootfs/initrd.sh has
// them.
func (g *Guest) SetInitrd(distribution, release, variant string) {
	const folder = "opt/kata/share/kata-containers/"
	if variant != "" {
		variant = "-" + variant
	}
	g.Initrd = folder + "kata-" + distribution + "-" + release + variant + ".initrd"
	g.Link = folder + "kata-containers-initrd" + variant + ".img"
}

// rootHash is the path of the file with the root hash of an image.
func rootHash(image recipe.Image) string {
	return path.Join(path.Dir(image.Path), guestimage.RootHashName(image.Variant))
}

// Checks are those of the files, of which an initrd has no partitions, and those of booting.
func (Guest) Checks() []string {
	return append([]string{"members", "links", "partitions", "filesystem", "verity", "packages", "modes"}, bootChecks...)
}

// Check checks the files, and then boots them.
func (g Guest) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	layout := g.Layout()
	layout.Check(r, t, fmt.Sprintf("%d files and links", len(layout)))
	layout.CheckLinks(r, t)
	s := &subject{Guest: g, Host: h, ctx: ctx, t: t}
	r.Run("partitions", s.partitions)
	r.Run("filesystem", s.filesystems)
	r.Run("verity", s.verity)
	r.Run("packages", s.packages)
	r.Run("modes", s.modes)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.boot(r)
}

// subject is a tarball while it is checked.
type subject struct {
	Guest
	host.Host
	ctx    context.Context
	t      *tarball.Tarball
	images []Image
	// contents are those of the images and of the initrd, once their filesystems are clean.
	contents []contents
}

// partitions reads the layouts of the images and compares them with their declarations.
func (s *subject) partitions() (string, error) {
	if len(s.Images) == 0 {
		return "", report.Missing("the asset has no image, only an initrd")
	}
	var saw []string
	var problems error
	for _, declared := range s.Images {
		image, err := s.image(declared)
		if err != nil {
			problems = errors.Join(problems, fmt.Errorf("%s: %w", path.Base(declared.Path), err))
			continue
		}
		s.images = append(s.images, image)
		l := image.Layout
		line := fmt.Sprintf("%s: %d bytes, %s of %d bytes at %d", path.Base(declared.Path), l.Size, declared.Filesystem, l.Root.Size, l.Root.Start)
		if l.DAX {
			line += ", DAX header and both partition tables"
		}
		if declared.Measured {
			line += fmt.Sprintf(", hash tree of %d bytes at %d", l.Hash.Size, l.Hash.Start)
		}
		saw = append(saw, line)
	}
	return strings.Join(saw, "\n"), problems
}

// image reads the layout of an image, and copies its root filesystem.
func (s *subject) image(declared recipe.Image) (Image, error) {
	image := Image{Image: declared, File: s.t.Path(declared.Path)}
	file, err := files.Open(image.File)
	if err != nil {
		return image, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return image, err
	}
	if image.Layout, err = guestimage.Read(file, info.Size()); err != nil {
		return image, err
	}
	root := section(file, image.Layout.Root)
	found, err := guestimage.Plan(declared.Filesystem, declared.DAX, image.Layout.Root.Size, image.Layout.Hash.Size)
	kind, budget := guestimage.Filesystem(root), s.Budgets[declared.Path]
	switch {
	case err != nil:
		return image, err
	case image.Layout.DAX != declared.DAX:
		return image, fmt.Errorf("it has a DAX header: %t, and should: %t", image.Layout.DAX, declared.DAX)
	case (image.Layout.Hash.Size > 0) != declared.Measured:
		return image, fmt.Errorf("it has a hash partition: %t, and should: %t", image.Layout.Hash.Size > 0, declared.Measured)
	case kind != declared.Filesystem:
		return image, fmt.Errorf("the root filesystem is of the kind %q: want %s", kind, declared.Filesystem)
	case image.Layout != found:
		return image, fmt.Errorf("the layout is %+v: want %+v", image.Layout, found)
	case budget > 0 && image.Layout.Root.Size > budget:
		return image, fmt.Errorf("the root filesystem has %d bytes: more than the budget of %d", image.Layout.Root.Size, budget)
	}
	image.Root = filepath.Join(s.t.Dir, path.Base(declared.Path)+".root")
	return image, s.copy(image.Root, root)
}

func (s *subject) copy(to string, from io.Reader) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = files.Copy(s.ctx, out, from)
	return errors.Join(err, out.Close())
}

func section(file io.ReaderAt, part guestimage.Extent) *io.SectionReader {
	return io.NewSectionReader(file, part.Start, part.Size)
}

// verity checks the hash trees, and that they would show a changed byte.
func (s *subject) verity() (string, error) {
	var saw []string
	var problems error
	for i := range s.images {
		image := &s.images[i]
		if !image.Measured {
			continue
		}
		line, err := s.measured(image)
		if err != nil {
			err = fmt.Errorf("%s: %w", path.Base(image.Path), err)
		}
		saw, problems = append(saw, line), errors.Join(problems, err)
	}
	if len(saw) == 0 {
		return "", report.Missing("no image is measured")
	}
	return strings.Join(saw, "\n"), problems
}

func (s *subject) measured(image *Image) (string, error) {
	name := path.Base(rootHash(image.Image))
	var err error
	if image.Verity, err = guestimage.ParseVerity(string(s.t.Read(rootHash(image.Image)))); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if err := image.Verity.Covers(image.Layout.Root.Size); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	file, err := files.Open(image.File)
	if err != nil {
		return "", err
	}
	defer file.Close()
	check := func(root io.Reader) error {
		return image.Verity.Check(files.Reader(s.ctx, root), section(file, image.Layout.Hash), image.Layout.Hash.Size)
	}
	if err := check(section(file, image.Layout.Root)); err != nil {
		return "", err
	}
	middle := image.Layout.Root.Size / 2
	if check(&flipped{from: section(file, image.Layout.Root), at: middle}) == nil && s.ctx.Err() == nil {
		return "", fmt.Errorf("a flipped bit of byte %d is not found", middle)
	}
	return fmt.Sprintf("%s: root hash %x of %d blocks; a flipped bit of byte %d is found", name, image.Verity.RootHash, image.Verity.DataBlocks, middle), nil
}

// flipped flips a bit of one byte of what it reads.
type flipped struct {
	from io.Reader
	at   int64
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.from.Read(p)
	if f.at >= 0 && f.at < int64(n) {
		p[f.at] ^= 1
	}
	f.at -= int64(n)
	return n, err
}
