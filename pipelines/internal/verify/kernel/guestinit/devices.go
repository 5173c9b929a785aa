//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

const virtioBus = "/sys/bus/virtio"

// drivers lists the drivers for virtio devices that the kernel has.
func drivers(o *serial.Observation) (err error) {
	o.Items, err = list(filepath.Join(virtioBus, "drivers"))
	return err
}

// devices lists the virtio devices by driver: "virtio_blk: virtio1", or "no
// driver: virtio1, type 0x0002".
func devices(o *serial.Observation) error {
	names, err := list(filepath.Join(virtioBus, "devices"))
	for _, name := range names {
		dir := filepath.Join(virtioBus, "devices", name)
		if target, err := os.Readlink(filepath.Join(dir, "driver")); err == nil {
			o.Items = append(o.Items, filepath.Base(target)+": "+name)
			continue
		}
		kind, err := read(filepath.Join(dir, "device"))
		if err != nil {
			kind = err.Error()
		}
		o.Items = append(o.Items, "no driver: "+name+", type "+kind)
	}
	slices.Sort(o.Items)
	return err
}

// list returns the names in a folder, sorted.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, err
}

// child returns the one name that a virtio device has below a class of devices.
func child(class string) (string, error) {
	found, err := filepath.Glob(filepath.Join(virtioBus, "devices", "*", class, "*"))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no virtio device has made a %s device", class)
	}
	return filepath.Base(found[0]), nil
}

// virtioBlock returns the path of the virtio disk.
func virtioBlock() (string, error) {
	name, err := child("block")
	return "/dev/" + name, err
}

// disk reads the disk from its beginning to its end.
func disk(o *serial.Observation) (err error) {
	if o.Value, err = virtioBlock(); err != nil {
		return err
	}
	return sum(o.Value)(o)
}

// entropy takes bytes from the virtio generator, also where the machine has a
// better one.
func entropy(o *serial.Observation) error {
	const folder = "/sys/class/misc/hw_random/"
	available, err := read(folder + "rng_available")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(available) {
		if strings.HasPrefix(name, "virtio_rng") {
			if err := os.WriteFile(folder+"rng_current", []byte(name), 0); err != nil {
				return err
			}
		}
	}
	if o.Value, err = read(folder + "rng_current"); err != nil {
		return err
	}
	file, err := os.Open("/dev/hwrng")
	if err != nil {
		return err
	}
	defer file.Close()
	n, err := io.ReadFull(file, make([]byte, 32))
	o.Size = int64(n)
	return err
}

// port writes the name of the virtio serial port into it.
func port(o *serial.Observation) error {
	const wait, pause = 5 * time.Second, 50 * time.Millisecond
	// The names come over a queue of the device, some time after its driver.
	for deadline := time.Now().Add(wait); ; time.Sleep(pause) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return err
		}
		for _, path := range names {
			if name, err := read(path); err == nil && name == serial.PortName {
				o.Value = filepath.Base(filepath.Dir(path))
				return os.WriteFile("/dev/"+o.Value, []byte(serial.PortName+"\n"), 0)
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no port of the name %s", serial.PortName)
		}
	}
}

// vsock opens a socket to the host; without a device its own address is
// VMADDR_CID_ANY.
func vsock(o *serial.Observation) error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a vsock socket: %w", err)
	}
	defer closeSocket(fd)
	device, err := os.Open("/dev/vsock")
	if err != nil {
		return err
	}
	defer device.Close()
	cid, err := unix.IoctlGetUint32(int(device.Fd()), unix.IOCTL_VM_SOCKETS_GET_LOCAL_CID)
	if err != nil {
		return fmt.Errorf("asking for the address: %w", err)
	}
	if cid != unix.VMADDR_CID_ANY {
		o.Value = strconv.FormatUint(uint64(cid), 10)
	}
	return nil
}
