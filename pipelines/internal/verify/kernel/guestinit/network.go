//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

// gateway is the machine that QEMU's user network answers for.
var gateway = [4]byte{10, 0, 2, 2}

// network brings the virtio interface up, and has the gateway answer an ARP
// request: a packet out, and one in.
func network(o *serial.Observation) error {
	name, err := child("net")
	if err != nil {
		return err
	}
	o.Value = name
	if err := up(name); err != nil {
		return fmt.Errorf("bringing %s up: %w", name, err)
	}
	link, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(swap(unix.ETH_P_ARP)))
	if err != nil {
		return fmt.Errorf("opening a packet socket: %w", err)
	}
	defer closeSocket(fd)
	const tries = 5
	for range tries {
		answer, err := ask(fd, link)
		if err != nil {
			return err
		}
		if answer != nil {
			o.Items = []string{answer.String()}
			return nil
		}
	}
	return fmt.Errorf("%s: nobody answered %d ARP requests", name, tries)
}

// closeSocket ends the use of a socket: all that it was for has happened.
func closeSocket(fd int) { _ = unix.Close(fd) }

// up sets the flags of a running interface.
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
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// ask sends one ARP request and waits a second for the answer, nil where none
// came.
func ask(fd int, link *net.Interface) (net.HardwareAddr, error) {
	// Hardware type Ethernet, protocol IPv4, lengths of the addresses, request.
	packet := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	packet = append(packet, link.HardwareAddr...)
	packet = append(packet, 10, 0, 2, 15)
	packet = append(packet, make([]byte, 6)...)
	packet = append(packet, gateway[:]...)
	to := &unix.SockaddrLinklayer{Protocol: swap(unix.ETH_P_ARP), Ifindex: link.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	if err := unix.Sendto(fd, packet, 0, to); err != nil {
		return nil, fmt.Errorf("sending an ARP request: %w", err)
	}
	deadline := time.Now().Add(time.Second)
	buffer := make([]byte, 256)
	for {
		left := time.Until(deadline).Milliseconds()
		if left <= 0 {
			return nil, nil
		}
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(polled, int(left)); err != nil || n == 0 {
			continue
		}
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil {
			return nil, fmt.Errorf("receiving an ARP answer: %w", err)
		}
		const answer = 2
		if n >= 28 && binary.BigEndian.Uint16(buffer[6:]) == answer && [4]byte(buffer[14:18]) == gateway {
			return net.HardwareAddr(buffer[8:14]), nil
		}
	}
}

// swap puts a number into network order.
func swap(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}
