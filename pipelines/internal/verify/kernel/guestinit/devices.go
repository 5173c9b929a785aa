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
func drivers(o *serial.Observation) { o.Items = list(virtioBus + "/drivers") }

// devices lists the virtio devices by driver: "virtio_blk: virtio1", or "no
// driver: virtio1, type 0x0002".
func devices(o *serial.Observation) {
	for _, name := range list(virtioBus + "/devices") {
		dir := filepath.Join(virtioBus, "devices", name)
		item := "no driver: " + name + ", type " + read(dir+"/device")
		if target, err := os.Readlink(dir + "/driver"); err == nil {
			item = filepath.Base(target) + ": " + name
		}
		o.Items = append(o.Items, item)
	}
	slices.Sort(o.Items)
}

// child returns the one name that a virtio device has below a class of devices.
func child(class string) string {
	found := try(filepath.Glob(filepath.Join(virtioBus, "devices", "*", class, "*")))
	if len(found) == 0 {
		must(fmt.Errorf("no virtio device has made a %s device", class))
	}
	return filepath.Base(found[0])
}

// disk reads the disk from its beginning to its end.
func disk(o *serial.Observation) {
	o.Value = "/dev/" + child("block")
	sum(o.Value)(o)
}

// entropy takes bytes from the virtio generator, even if the machine has a better
// one.
func entropy(o *serial.Observation) {
	const folder = "/sys/class/misc/hw_random/"
	for _, name := range strings.Fields(read(folder + "rng_available")) {
		if strings.HasPrefix(name, "virtio_rng") {
			write(folder+"rng_current", name)
		}
	}
	o.Value = read(folder + "rng_current")
	file := try(os.Open("/dev/hwrng"))
	defer file.Close()
	o.Size = int64(try(io.ReadFull(file, make([]byte, 32))))
}

// port writes the name of the virtio serial port to the port.
func port(o *serial.Observation) {
	const wait, pause = 5 * time.Second, 50 * time.Millisecond
	// The names arrive over a queue of the device, some time after its driver is bound.
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); time.Sleep(pause) {
		for _, path := range try(filepath.Glob("/sys/class/virtio-ports/*/name")) {
			if read(path) == serial.PortName {
				o.Value = filepath.Base(filepath.Dir(path))
				write("/dev/"+o.Value, serial.PortName+"\n")
				return
			}
		}
	}
	must(fmt.Errorf("no port named %s", serial.PortName))
}

// vsock opens a socket to the host; without a device its own address is
// VMADDR_CID_ANY.
func vsock(o *serial.Observation) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(doing("opening a vsock socket", err))
	defer closeSocket(fd)
	device := try(os.Open("/dev/vsock"))
	defer device.Close()
	cid, err := unix.IoctlGetUint32(int(device.Fd()), unix.IOCTL_VM_SOCKETS_GET_LOCAL_CID)
	must(doing("asking for the address", err))
	if cid != unix.VMADDR_CID_ANY {
		o.Value = strconv.FormatUint(uint64(cid), 10)
	}
}

// closeSocket closes a socket after its last use, when an error does not matter.
func closeSocket(fd int) { _ = unix.Close(fd) }
