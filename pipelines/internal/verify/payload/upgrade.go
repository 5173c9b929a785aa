package payload

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// upgradeFile is a file that only the upgrade has, below the folder of the installation.
const upgradeFile = "share/upgrade-mark"

// otherImages makes the image of another version, in which one component of the shims has
// a further file, and one in which that component is truncated.
func (r *run) otherImages(ctx context.Context, upgrade, broken string) error {
	names, _, err := components(r.image, plainShim, r.Arch)
	if err != nil {
		return err
	}
	smallest := int64(-1)
	for _, name := range names {
		info, err := os.Stat(tarballIn(r.image, name))
		if err != nil {
			return err
		}
		if smallest < 0 || info.Size() < smallest {
			r.broken, smallest = name, info.Size()
		}
	}
	for _, dir := range []string{upgrade, broken} {
		// Links suffice: what differs is replaced.
		if _, err := host.Output(command.New(ctx, "cp", "-al", r.image, dir)); err != nil {
			return err
		}
	}
	short := tarballIn(broken, r.broken)
	if err := errors.Join(os.Remove(short), truncate(tarballIn(r.image, r.broken), short, smallest/2)); err != nil {
		return err
	}
	return addFile(ctx, tarballIn(upgrade, r.broken), filepath.Join(r.dir, "component"))
}

// tarballIn is the path of a component in an unpacked image.
func tarballIn(image, name string) string {
	return filepath.Join(image, artifacts, "tarballs", "kata-static-"+name+".tar.zst")
}

// addFile replaces a tarball by one with a further file. Its files are unpacked into work.
func addFile(ctx context.Context, tarball, work string) error {
	opened, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer opened.Close()
	members, err := archive.Extract(opened, func(name string, _ int64) (string, error) {
		at := filepath.Join(work, name)
		return at, os.MkdirAll(filepath.Dir(at), 0o755)
	})
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Link != "" {
			at := filepath.Join(work, m.Name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(m.Link, at)); err != nil {
				return err
			}
		}
	}
	mark := filepath.Join(work, "opt/kata", upgradeFile)
	if err := errors.Join(os.MkdirAll(filepath.Dir(mark), 0o755), os.WriteFile(mark, []byte("another version\n"), 0o644), os.Remove(tarball)); err != nil {
		return err
	}
	_, err = archive.Pack(ctx, work, tarball, archive.Options{Level: 1})
	return err
}

// truncate cuts the end off a copy of a file.
func truncate(from, to string, size int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.CopyN(out, in, size)
	return errors.Join(err, out.Close())
}
