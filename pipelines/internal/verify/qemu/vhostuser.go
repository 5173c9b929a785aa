package qemu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// The messages of vhost-user that need an answer.
const (
	getFeatures         = 1
	getProtocolFeatures = 15
	getQueues           = 17
	getConfig           = 24
)

// The answers: features of the device, virtio 1 and features of the protocol;
// these, several queues and a configuration; and the number of queues.
const (
	features         = 1<<32 | 1<<30
	protocolFeatures = 1<<0 | 1<<9
	queues           = 16
)

// serveVhostUser answers what QEMU asks the process behind a vhost-user device while
// it makes the device, until ctx ends. It serves no guest: its queues never start.
func serveVhostUser(ctx context.Context, listener *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	defer listener.Close()
	failed := make(chan error)
	open := 0
	var problems []error
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			if ctx.Err() == nil {
				problems = append(problems, fmt.Errorf("waiting for QEMU on %s: %w", listener.Addr(), err))
			}
			break
		}
		open++
		go func() { failed <- serveDevice(ctx, conn) }()
	}
	for range open {
		problems = append(problems, <-failed)
	}
	return errors.Join(problems...)
}

// serveDevice answers one device.
func serveDevice(ctx context.Context, conn *net.UnixConn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	for {
		request, content, err := readMessage(conn)
		if ctx.Err() != nil || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a vhost-user message: %w", err)
		}
		answer := answer(request, content)
		if answer == nil {
			continue
		}
		const version, isReply = 1, 1 << 2
		reply := binary.NativeEndian.AppendUint32(nil, request)
		reply = binary.NativeEndian.AppendUint32(reply, version|isReply)
		reply = binary.NativeEndian.AppendUint32(reply, uint32(len(answer)))
		if _, err := conn.Write(append(reply, answer...)); err != nil && ctx.Err() == nil {
			return fmt.Errorf("answering the vhost-user message %d: %w", request, err)
		}
	}
}

// answer returns the content of the answer to a message that needs one, else nil.
func answer(request uint32, content []byte) []byte {
	var number uint64
	switch request {
	case getFeatures:
		number = features
	case getProtocolFeatures:
		number = protocolFeatures
	case getQueues:
		number = queues
	case getConfig:
		return content // The same head, and a configuration of zeros as it came.
	default:
		return nil
	}
	return binary.NativeEndian.AppendUint64(nil, number)
}

// readMessage reads a message: three 32-bit numbers in the host's byte order,
// request, flags and size, and the content. The kernel drops files that come with it,
// which this does not receive.
func readMessage(conn *net.UnixConn) (request uint32, content []byte, err error) {
	const maxContent = 4096
	var header struct{ Request, Flags, Size uint32 }
	if err := binary.Read(conn, binary.NativeEndian, &header); err != nil {
		return 0, nil, err
	}
	if header.Size > maxContent {
		return 0, nil, fmt.Errorf("it has %d bytes: want %d at most", header.Size, maxContent)
	}
	content = make([]byte, header.Size)
	_, err = io.ReadFull(conn, content)
	return header.Request, content, err
}
