//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
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
	found := report.Try(filepath.Glob(filepath.Join(virtioBus, "devices", "*", class, "*")))
	report.Want(len(found) > 0, "no virtio device has made a %s device", class)
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
	file := report.Try(os.Open("/dev/hwrng"))
	defer file.Close()
	o.Size = int64(report.Try(io.ReadFull(file, make([]byte, 32))))
}

// port writes the name of the virtio serial port to the port.
func port(o *serial.Observation) {
	const wait, pause = 5 * time.Second, 50 * time.Millisecond
	// The names arrive over a queue of the device, some time after its driver is bound.
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); time.Sleep(pause) {
		for _, path := range report.Try(filepath.Glob("/sys/class/virtio-ports/*/name")) {
			if read(path) == serial.PortName {
				o.Value = filepath.Base(filepath.Dir(path))
				write("/dev/"+o.Value, serial.PortName+"\n")
				return
			}
		}
	}
	report.Must(fmt.Errorf("no port named %s", serial.PortName))
}

// vsock opens a socket to the host; without a device its own address is
// VMADDR_CID_ANY.
func vsock(o *serial.Observation) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	report.Must(doing("opening a vsock socket", err))
	defer closeSocket(fd)
	device := report.Try(os.Open("/dev/vsock"))
	defer device.Close()
	cid, err := unix.IoctlGetUint32(int(device.Fd()), unix.IOCTL_VM_SOCKETS_GET_LOCAL_CID)
	report.Must(doing("asking for the address", err))
	if cid != unix.VMADDR_CID_ANY {
		o.Value = strconv.FormatUint(uint64(cid), 10)
	}
}

// closeSocket closes a socket after its last use, when an error does not matter.
func closeSocket(fd int) { _ = unix.Close(fd) }

// address is that of the guest, and gateway the machine that QEMU's user network
// answers for.
var (
	address = net.IPv4(10, 0, 2, 15)
	gateway = net.IPv4(10, 0, 2, 2)
)

// network brings the virtio interface up, and sends a datagram to the gateway. The
// kernel first sends an ARP request, and the gateway answers: a packet out, one in.
func network(o *serial.Observation) {
	const discard, wait, pause = 9, 5 * time.Second, 20 * time.Millisecond
	o.Value = child("net")
	report.Must(doing("bringing "+o.Value+" up", up(o.Value)))
	socket := report.Try(net.DialUDP("udp", nil, &net.UDPAddr{IP: gateway, Port: discard}))
	defer socket.Close()
	report.Try(socket.Write([]byte("hello")))
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); time.Sleep(pause) {
		for line := range strings.Lines(string(report.Try(os.ReadFile("/proc/net/arp")))) {
			// IP address, type and flags of the hardware, its address; 0x2 is complete.
			if f := strings.Fields(line); len(f) > 3 && f[0] == gateway.String() && f[2] == "0x2" {
				o.Items = []string{f[3]}
				return
			}
		}
	}
	report.Must(fmt.Errorf("%s: %s answered no ARP request in %v", o.Value, gateway, wait))
}

// up gives an interface its address, and sets the flags of a running one.
func up(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeSocket(fd)
	request, err := unix.NewIfreq(name)
	if err == nil {
		err = request.SetInet4Addr(address.To4())
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCSIFADDR, request)
	}
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
