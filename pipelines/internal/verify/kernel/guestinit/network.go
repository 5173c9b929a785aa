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

// network brings the virtio interface up, and has the gateway answer the ARP request
// of the kernel for a datagram: a packet out, and one in.
func network(o *serial.Observation) error {
	name, err := child("net")
	if err != nil {
		return err
	}
	o.Value = name
	if err := up(name); err != nil {
		return fmt.Errorf("bringing %s up: %w", name, err)
	}
	const discard, wait, pause = 9, 5 * time.Second, 20 * time.Millisecond
	socket, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: gateway, Port: discard})
	if err != nil {
		return err
	}
	defer socket.Close()
	if _, err := socket.Write([]byte("hello")); err != nil {
		return err
	}
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); time.Sleep(pause) {
		table, err := os.ReadFile("/proc/net/arp")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(table)) {
			// IP address, type and flags of the hardware, its address; 0x2 is complete.
			if f := strings.Fields(line); len(f) > 3 && f[0] == gateway.String() && f[2] == "0x2" {
				o.Items = []string{f[3]}
				return nil
			}
		}
	}
	return fmt.Errorf("%s: %s answered no ARP request in %v", name, gateway, wait)
}

// up gives an interface its address, and sets the flags of a running one.
func up(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeSocket(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := request.SetInet4Addr(address.To4()); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, request); err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// closeSocket ends the use of a socket: all that it was for has happened.
func closeSocket(fd int) { _ = unix.Close(fd) }
