package qemu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sync/errgroup"
)

// getConfig is the vhost-user message for a device's configuration. The answer is the
// content of the message itself, whose configuration is all zeros.
const getConfig = 24

// numbers are the answers to the other vhost-user messages that need one.
var numbers = map[uint32]uint64{
	1:  1<<32 | 1<<30, // GET_FEATURES: virtio 1, and features of the protocol.
	15: 1<<0 | 1<<9,   // GET_PROTOCOL_FEATURES: several queues, and a configuration.
	17: 16,            // GET_QUEUE_NUM.
}

// serveVhostUser answers what QEMU asks the process behind a vhost-user device while
// it makes the device, until ctx ends. It serves no guest: its queues never start.
func serveVhostUser(ctx context.Context, listener *net.UnixListener) error {
	defer listener.Close()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var devices errgroup.Group
	for {
		conn, err := listener.AcceptUnix()
		if ctx.Err() != nil {
			return devices.Wait()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("waiting for QEMU on %s: %w", listener.Addr(), err), devices.Wait())
		}
		devices.Go(func() error { return serveDevice(ctx, conn) })
	}
}

// header begins each message, in the host's byte order.
type header struct{ Request, Flags, Size uint32 }

// serveDevice answers one device. It does not receive the files that come with a
// message, so the kernel drops them.
func serveDevice(ctx context.Context, conn *net.UnixConn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	for {
		const maxContent, version, isReply = 4096, 1, 1 << 2
		var h header
		err := binary.Read(conn, binary.NativeEndian, &h)
		if err == nil && h.Size > maxContent {
			err = fmt.Errorf("it has %d bytes: want %d at most", h.Size, maxContent)
		}
		content := make([]byte, min(h.Size, maxContent))
		if err == nil {
			_, err = io.ReadFull(conn, content)
		}
		if ctx.Err() != nil || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a vhost-user message: %w", err)
		}
		number, known := numbers[h.Request]
		if known {
			content = binary.NativeEndian.AppendUint64(nil, number)
		} else if h.Request != getConfig {
			continue
		}
		reply, err := binary.Append(nil, binary.NativeEndian, header{h.Request, version | isReply, uint32(len(content))})
		if err == nil {
			_, err = conn.Write(append(reply, content...))
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("answering the vhost-user message %d: %w", h.Request, err)
		}
	}
}
