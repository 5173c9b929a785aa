// Package vhostuser answers what QEMU asks the process behind a vhost-user device
// while it makes the device. It serves no guest: its queues never start.
package vhostuser

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// The messages that want an answer.
const (
	getFeatures         = 1
	getProtocolFeatures = 15
	getQueues           = 17
	getConfig           = 24
)

// What is answered: features of the device and of the protocol, by bit, and how
// many queues there are.
const (
	features         = 1<<virtioVersion1 | 1<<hasProtocolFeatures
	protocolFeatures = 1<<multiQueue | 1<<config
	queues           = 16

	virtioVersion1      = 32
	hasProtocolFeatures = 30
	multiQueue          = 0
	config              = 9
)

// A message is three 32-bit numbers of the host's order, request, flags and size,
// and its content.
const (
	headerSize = 12
	maxContent = 4096
	version    = 1
	isReply    = 1 << 2
)

// Serve answers on a unix socket until ctx ends, whose cause is no error. Nothing
// of it is left then, not even the socket.
func Serve(ctx context.Context, listener *net.UnixListener) error {
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
		go func() { failed <- serve(ctx, conn) }()
	}
	for range open {
		problems = append(problems, <-failed)
	}
	return errors.Join(problems...)
}

// serve answers one device.
func serve(ctx context.Context, conn *net.UnixConn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	for {
		request, content, err := read(conn)
		if ctx.Err() != nil || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a message of QEMU: %w", err)
		}
		answer, wanted := answer(request, content)
		if !wanted {
			continue
		}
		if err := write(conn, request, answer); err != nil && ctx.Err() == nil {
			return fmt.Errorf("answering QEMU's message %d: %w", request, err)
		}
	}
}

// answer returns the content of the answer to a message that wants one.
func answer(request uint32, content []byte) (answer []byte, wanted bool) {
	number := func(n uint64) ([]byte, bool) { return binary.NativeEndian.AppendUint64(nil, n), true }
	switch request {
	case getFeatures:
		return number(features)
	case getProtocolFeatures:
		return number(protocolFeatures)
	case getQueues:
		return number(queues)
	case getConfig:
		// The same head, and a configuration of zeros as it came.
		return content, true
	}
	return nil, false
}

// read takes a message; files that come with it are closed.
func read(conn *net.UnixConn) (request uint32, content []byte, err error) {
	header := make([]byte, headerSize)
	files := make([]byte, syscall.CmsgSpace(8*4))
	n, filesSize, _, _, err := conn.ReadMsgUnix(header, files)
	if err != nil {
		return 0, nil, err
	}
	if n == 0 {
		return 0, nil, io.EOF
	}
	closeFiles(files[:filesSize])
	if _, err := io.ReadFull(conn, header[n:]); err != nil {
		return 0, nil, err
	}
	size := binary.NativeEndian.Uint32(header[8:])
	if size > maxContent {
		return 0, nil, fmt.Errorf("it has %d bytes: want %d at most", size, maxContent)
	}
	content = make([]byte, size)
	_, err = io.ReadFull(conn, content)
	return binary.NativeEndian.Uint32(header), content, err
}

func closeFiles(control []byte) {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return // None came: there is nothing to close.
	}
	for _, message := range messages {
		files, err := syscall.ParseUnixRights(&message)
		if err != nil {
			continue // A message of another kind has no files.
		}
		for _, file := range files {
			_ = syscall.Close(file)
		}
	}
}

func write(conn *net.UnixConn, request uint32, content []byte) error {
	message := binary.NativeEndian.AppendUint32(nil, request)
	message = binary.NativeEndian.AppendUint32(message, version|isReply)
	message = binary.NativeEndian.AppendUint32(message, uint32(len(content)))
	_, err := conn.Write(append(message, content...))
	return err
}
