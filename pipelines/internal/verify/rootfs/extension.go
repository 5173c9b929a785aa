package rootfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/guestimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// extension is an image that systemd of a guest mounts in addition to its own, as Kata's
// runtimes compose guests since 3.32: the serial number of its disk has its name, and the
// kernel's command line its parameters of dm-verity.
type extension struct {
	Image
	name string
}

// folder is where the guest mounts it.
func (e extension) folder() string { return "/run/kata-extensions/" + e.name }

// attach gives it to a guest.
func (e extension) attach(w *way) {
	w.extension, w.guest.Extension, w.guest.Serial = e.name, e.File, "extension-"+e.name
	w.parameters += " kata.extension." + e.name + ".verity_params"
	if e.Measured {
		w.parameters += "=" + e.Verity.String()
	}
}

// extend makes the guest of an extension, which boots from the base image. Without one the
// error is a report.Missing.
func (s *subject) extend(b *bootable) error {
	if s.Base == "" {
		return report.Missing("there is no base image for " + s.Arch + " in the caches: build the asset that it extends, or name its tarball with --base")
	}
	base := Image{File: filepath.Join(b.dir, "base.image")}
	if err := base.unpack(s.Base); err != nil {
		return fmt.Errorf("the base image in %s: %w", s.Base, err)
	}
	b.extension, b.image = &extension{*b.image, s.Extension}, &base
	return nil
}

// unpack writes the image of a tarball, and reads what it is.
func (i *Image) unpack(tarball string) error {
	parameters := filepath.Join(filepath.Dir(i.File), "verity")
	for pattern, to := range map[string]string{"*.image": i.File, guestimage.RootHashName("*"): parameters} {
		if _, err := guest.Unpack(tarball, pattern, to); err != nil {
			return err
		}
	}
	file, err := files.Open(i.File)
	if err != nil {
		return fmt.Errorf("it has no image: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if i.Layout, err = guestimage.Read(file, info.Size()); err != nil {
		return err
	}
	i.Filesystem, i.Measured = guestimage.Filesystem(section(file, i.Layout.Root)), i.Layout.Hash.Size > 0
	if !i.Measured {
		return nil
	}
	text, err := os.ReadFile(parameters)
	if err == nil {
		i.Verity, err = guestimage.ParseVerity(string(text))
	}
	return err
}

// mounted has the guest show how the extension is mounted.
func (d *dialogue) mounted(ctx context.Context) (string, error) {
	device, kind := "/dev/mapper/extension-"+d.extension.name, " "+d.extension.Filesystem+" ro,"
	if !d.extension.Measured {
		device = "/dev/vd"
	}
	line, err := d.shell(ctx, "cat /proc/mounts", func(line string) bool {
		return strings.HasPrefix(line, device) && strings.Contains(line, " "+d.extension.folder()+kind)
	})
	return "mounted: " + line, err
}
