//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

// mountAt returns a step that mounts a file system without a device.
func mountAt(kind, target string) func(*serial.Observation) {
	return func(o *serial.Observation) {
		o.Value = target
		must(mount(kind, kind, target, ""))
	}
}

func mount(source, kind, target, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	return doing("mounting "+kind, unix.Mount(source, target, kind, 0, options))
}

func unmount(target string) { must(doing("unmounting "+target, unix.Unmount(target, 0))) }

// holds returns an error for a file that has other content.
func holds(path, content string) error {
	if got := read(path); got != content {
		return fmt.Errorf("%s has %q: want %q", path, got, content)
	}
	return nil
}

const scratch = "/run/tmpfs"

func mountTmpfs(o *serial.Observation) {
	o.Value = scratch
	must(mount("tmpfs", "tmpfs", scratch, "size=64m"))
	write(scratch+"/file", "kept")
	must(holds(scratch+"/file", "kept"))
}

// mountOverlay mounts an overlay, as the root of a container is one: files of the lower
// folder show through, written files go into the upper folder, removed files are gone.
func mountOverlay(o *serial.Observation) {
	const lower, upper, work, merged = scratch + "/lower", scratch + "/upper", scratch + "/work", scratch + "/merged"
	for _, dir := range []string{lower, upper, work} {
		must(os.Mkdir(dir, 0o755))
	}
	write(lower+"/below", "below")
	write(lower+"/removed", "removed")
	must(mount("overlay", "overlay", merged, "lowerdir="+lower+",upperdir="+upper+",workdir="+work))
	must(doing("reading through to the lower folder", holds(merged+"/below", "below")))
	write(merged+"/above", "above")
	must(holds(merged+"/above", "above"))
	must(doing("looking for what was written in the upper folder", holds(upper+"/above", "above")))
	must(os.Remove(merged + "/removed"))
	if slices.Contains(list(merged), "removed") {
		must(errors.New("a removed file of the lower folder is still there"))
	}
	o.Value = "read, written and removed"
	unmount(merged)
}

// mountExt4 reads the file that the host put on the disk, writes one, and reads it
// again after another mount.
func mountExt4(o *serial.Observation) {
	const target = "/run/ext4"
	device := "/dev/" + child("block")
	must(mount(device, "ext4", target, ""))
	o.Value = read(target + "/" + serial.FromHost)
	write(target+"/"+serial.FromGuest, "kept")
	must(holds(target+"/"+serial.FromGuest, "kept"))
	unmount(target)
	must(doing("for the second time", mount(device, "ext4", target, "")))
	must(doing("after the second mount", holds(target+"/"+serial.FromGuest, "kept")))
	unmount(target)
}

// mount9p reads the file that the host put into the shared folder, and writes another
// with the same content.
func mount9p(o *serial.Observation) {
	const target = "/run/9p"
	must(mount(serial.ShareTag, "9p", target, "trans=virtio,version=9p2000.L"))
	o.Value = read(target + "/" + serial.FromHost)
	write(target+"/"+serial.FromGuest, o.Value)
	must(holds(target+"/"+serial.FromGuest, o.Value))
	unmount(target)
}
