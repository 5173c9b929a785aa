//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

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
	must(doing("bringing "+o.Value+" up", up(o.Value)))
	socket := try(net.DialUDP("udp", nil, &net.UDPAddr{IP: gateway, Port: discard}))
	defer socket.Close()
	try(socket.Write([]byte("hello")))
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); time.Sleep(pause) {
		for line := range strings.Lines(string(try(os.ReadFile("/proc/net/arp")))) {
			// IP address, type and flags of the hardware, its address; 0x2 is complete.
			if f := strings.Fields(line); len(f) > 3 && f[0] == gateway.String() && f[2] == "0x2" {
				o.Items = []string{f[3]}
				return
			}
		}
	}
	must(fmt.Errorf("%s: %s answered no ARP request in %v", o.Value, gateway, wait))
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
