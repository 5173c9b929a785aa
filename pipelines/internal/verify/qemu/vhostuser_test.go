package qemu

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// serve starts the process behind devices, and returns its socket, and what ends
// it and returns its error.
func serve(t *testing.T) (socket string, end func() error) {
	t.Helper()
	// A test's own folder may have too long a name for a socket.
	dir, err := os.MkdirTemp("", "vhost-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "user")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serveVhostUser(ctx, listener) }()
	return socket, func() error { cancel(); return <-served }
}

func dial(t *testing.T, socket string) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return conn
}

func testMessage(request uint32, content []byte) []byte {
	m := binary.NativeEndian.AppendUint32(nil, request)
	m = binary.NativeEndian.AppendUint32(m, 1)
	m = binary.NativeEndian.AppendUint32(m, uint32(len(content)))
	return append(m, content...)
}

// askDevice sends a message and returns the content of its answer.
func askDevice(t *testing.T, conn *net.UnixConn, request uint32, content []byte) []byte {
	t.Helper()
	if _, err := conn.Write(testMessage(request, content)); err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 12)
	if _, err := io.ReadFull(conn, header); err != nil {
		t.Fatal(err)
	}
	if got := binary.NativeEndian.Uint32(header); got != request {
		t.Fatalf("answer to %d: want %d", got, request)
	}
	if flags := binary.NativeEndian.Uint32(header[4:]); flags != 1|1<<2 {
		t.Errorf("flags %#x", flags)
	}
	answer := make([]byte, binary.NativeEndian.Uint32(header[8:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestServe(t *testing.T) {
	socket, end := serve(t)
	conn := dial(t, socket)
	const getFeatures, setOwner, setCall, getConfig = 1, 3, 13, 24
	if got := binary.NativeEndian.Uint64(askDevice(t, conn, getFeatures, nil)); got&(1<<32) == 0 || got&(1<<30) == 0 {
		t.Errorf("features %#x: want version 1 and those of the protocol", got)
	}
	if _, err := conn.Write(testMessage(setOwner, nil)); err != nil {
		t.Fatal(err)
	}
	// A message that comes with a file, as those about queues do.
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer file.Close()
	if _, _, err := conn.WriteMsgUnix(testMessage(setCall, make([]byte, 8)), syscall.UnixRights(int(file.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	if got := askDevice(t, conn, getConfig, make([]byte, 72)); len(got) != 72 {
		t.Errorf("a configuration of %d bytes: want 72", len(got))
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	if _, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"}); err == nil {
		t.Error("somebody still listens")
	}
}

// A bad message must not allocate the size that it claims.
func TestServeHugeMessage(t *testing.T) {
	socket, end := serve(t)
	conn := dial(t, socket)
	huge := testMessage(1, nil)
	binary.NativeEndian.PutUint32(huge[8:], 1<<31)
	if _, err := conn.Write(huge); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("it answered")
	}
	if err := end(); err == nil {
		t.Error("no error")
	}
}
