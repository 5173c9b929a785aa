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

// mountAt returns a step that mounts a file system of the kernel's own.
func mountAt(kind, target string) func(*serial.Observation) error {
	return func(o *serial.Observation) error {
		o.Value = target
		err := mount(kind, kind, target, "")
		// CONFIG_DEVTMPFS_MOUNT does not act on an initramfs, but another init
		// of the kernel may.
		if errors.Is(err, unix.EBUSY) {
			return nil
		}
		return err
	}
}

func mount(source, kind, target, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, 0, options); err != nil {
		return fmt.Errorf("mounting %s: %w", kind, err)
	}
	return nil
}

// keep writes a file and reads it back.
func keep(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		return err
	}
	return holds(path, content)
}

// holds reads a file that must have a certain content.
func holds(path, content string) error {
	got, err := read(path)
	if err == nil && got != content {
		err = fmt.Errorf("%s has %q: want %q", path, got, content)
	}
	return err
}

const scratch = "/run/tmpfs"

func mountTmpfs(o *serial.Observation) error {
	o.Value = scratch
	if err := mount("tmpfs", "tmpfs", scratch, "size=64m"); err != nil {
		return err
	}
	return keep(scratch+"/file", "kept")
}

// mountOverlay puts a container's root together: what is below shows through,
// what is written goes into the upper folder, what is removed is gone.
func mountOverlay(o *serial.Observation) error {
	dir := scratch + "/overlay"
	lower, upper, work, merged := dir+"/lower", dir+"/upper", dir+"/work", dir+"/merged"
	if err := errors.Join(
		os.MkdirAll(lower, 0o755), os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755),
		os.WriteFile(lower+"/below", []byte("below"), 0o644), os.WriteFile(lower+"/removed", nil, 0o644),
		mount("overlay", "overlay", merged, "lowerdir="+lower+",upperdir="+upper+",workdir="+work),
	); err != nil {
		return err
	}
	if err := holds(merged+"/below", "below"); err != nil {
		return fmt.Errorf("reading through to the lower folder: %w", err)
	}
	if err := keep(merged+"/above", "above"); err != nil {
		return err
	}
	if err := holds(upper+"/above", "above"); err != nil {
		return fmt.Errorf("looking for what was written in the upper folder: %w", err)
	}
	if err := os.Remove(merged + "/removed"); err != nil {
		return err
	}
	if names, err := list(merged); err != nil || slices.Contains(names, "removed") {
		return errors.Join(errors.New("a removed file of the lower folder is still there"), err)
	}
	o.Value = "read, written and removed"
	return unix.Unmount(merged, 0)
}

// mountExt4 reads the file that was put on the disk outside, writes one, and
// finds it again after another mount.
func mountExt4(o *serial.Observation) error {
	device, err := virtioBlock()
	if err != nil {
		return err
	}
	const target = "/run/ext4"
	if err := mount(device, "ext4", target, ""); err != nil {
		return err
	}
	if o.Value, err = read(target + "/" + serial.FromHost); err != nil {
		return err
	}
	if err := keep(target+"/"+serial.FromGuest, "kept"); err != nil {
		return err
	}
	if err := unix.Unmount(target, 0); err != nil {
		return fmt.Errorf("unmounting ext4: %w", err)
	}
	if err := mount(device, "ext4", target, ""); err != nil {
		return fmt.Errorf("for the second time: %w", err)
	}
	if err := holds(target+"/"+serial.FromGuest, "kept"); err != nil {
		return fmt.Errorf("after the second mount: %w", err)
	}
	return unix.Unmount(target, 0)
}

// mount9p reads the file that was put into the shared folder outside, and
// answers with the same in another.
func mount9p(o *serial.Observation) error {
	const target = "/run/9p"
	if err := mount(serial.ShareTag, "9p", target, "trans=virtio,version=9p2000.L"); err != nil {
		return err
	}
	var err error
	if o.Value, err = read(target + "/" + serial.FromHost); err != nil {
		return err
	}
	if err := keep(target+"/"+serial.FromGuest, o.Value); err != nil {
		return err
	}
	return unix.Unmount(target, 0)
}
