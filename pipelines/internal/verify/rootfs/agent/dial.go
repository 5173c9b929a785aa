package agent

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/mdlayher/vsock"
)

// Address is how to reach the vsock of a guest: CID over the device of the host, or without
// one Socket, the unix socket of vhost-device-vsock.
type Address struct {
	CID    uint32
	Socket string
}

// Dial connects to a port of the guest.
func (a Address) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	if a.CID != 0 {
		return vsock.Dial(a.CID, port, nil)
	}
	connection, err := new(net.Dialer).DialContext(ctx, "unix", a.Socket)
	if err != nil {
		return nil, err
	}
	if err := handshake(ctx, connection, port); err != nil {
		_ = connection.Close() // It is of no use.
		return nil, fmt.Errorf("connecting to port %d of the guest: %w", port, err)
	}
	return connection, nil
}

// handshake asks the daemon for a port of the guest: it answers when the guest does.
func handshake(ctx context.Context, connection net.Conn, port uint32) error {
	if deadline, limited := ctx.Deadline(); limited {
		if err := connection.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(connection, "CONNECT %d\n", port); err != nil {
		return err
	}
	// The answer is read byte by byte: what comes after it is the guest's.
	answer, err := bufio.NewReaderSize(oneByte{connection}, 16).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "OK") {
		return fmt.Errorf("vhost-device-vsock answers %q", strings.TrimSpace(answer))
	}
	return connection.SetDeadline(time.Time{})
}

// oneByte reads no more than one byte at a time.
type oneByte struct{ net.Conn }

func (o oneByte) Read(p []byte) (int, error) { return o.Conn.Read(p[:min(len(p), 1)]) }
