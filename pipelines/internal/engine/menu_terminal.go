package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Terminal is the one that a person sits at.
type Terminal struct {
	// File is open for reading and writing, Type is as in TERM.
	File *os.File
	Type string
}

// Kinds of frames, as in menu_bridge.py.
const (
	frameKeys   = 'k' // to the menu: what was typed
	frameSize   = 's' // to the menu: lines and columns, 16 bits each
	frameOutput = 'o' // from the menu: what it shows
	frameEnd    = 'e' // from the menu: it has ended
)

const (
	// maxFrame bounds the payload of a frame, in bytes.
	maxFrame = 1 << 16
	// glance is how often a wait for a key looks whether the menu has ended.
	glance = 100 * time.Millisecond
	// leave is for a screen that the menu could not give back itself: the normal
	// one of two, normal colours, cursor keys and keypad, and a visible cursor.
	leave = "\x1b[?1049l\x1b[0m\x1b[?1l\x1b>\x1b[?25h\r\n"
)

// writeFrame writes a kind, the length of the payload in 32 bits, the highest
// first, and the payload.
func writeFrame(w io.Writer, kind byte, payload []byte) error {
	frame := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
	_, err := w.Write(append(frame, payload...))
	return err
}

// readFrame reads what writeFrame wrote; io.EOF is an end between two frames.
func readFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var header [5]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(header[1:])
	if length > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes: the other side does not speak as it should", length)
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(length)); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return header[0], b.Bytes(), nil
}

// sizeFrame is the payload of frameSize.
func sizeFrame(lines, columns int) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(lines)), uint16(columns))
}

// serve connects the terminal to a menu until that ends, and closes the
// connection. However it returns, the terminal is as it was before.
func (t Terminal) serve(ctx context.Context, conn net.Conn) (err error) {
	state, err := term.MakeRaw(int(t.File.Fd()))
	if err != nil {
		return errors.Join(fmt.Errorf("taking over the terminal: %w", err), conn.Close())
	}
	restore := sync.OnceValue(func() error { return term.Restore(int(t.File.Fd()), state) })
	defer func() { err = errors.Join(err, restore()) }()

	var typing sync.WaitGroup
	ended, end := context.WithCancelCause(ctx)
	defer typing.Wait()
	// Nobody waits to read or write after that; a second one changes nothing.
	hangUp := func() { _ = conn.Close() }
	defer hangUp()
	defer end(nil)
	// At once, should whoever interrupted this program not wait for its end.
	defer context.AfterFunc(ctx, func() {
		io.WriteString(t.File, leave)
		_ = restore() // said by the deferred one
		hangUp()
	})()
	send := locked(conn)
	if err := t.tell(send); err != nil {
		return err
	}
	for _, run := range []func(context.Context, func(byte, []byte) error) error{t.resizes, t.keys} {
		typing.Go(func() {
			// A panic passes here on its way to the end of the program.
			defer func() {
				if ended.Err() == nil {
					_ = restore()
				}
			}()
			if err := run(ended, send); err != nil {
				end(err)
				hangUp()
			}
		})
	}
	return t.screen(conn, func() error {
		// Its cause reaches ended a moment later.
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return context.Cause(ended)
	})
}

// screen shows what comes from the menu until it ends. Cause says why this side
// has closed the connection, if it has.
func (t Terminal) screen(conn net.Conn, cause func() error) error {
	for {
		kind, payload, err := readFrame(conn)
		switch {
		case err != nil && cause() != nil:
			return cause()
		case err != nil:
			io.WriteString(t.File, leave)
			return fmt.Errorf("the menu is gone: %w", err)
		case kind == frameEnd:
			return nil
		case kind == frameOutput:
			if _, err := t.File.Write(payload); err != nil {
				return fmt.Errorf("writing to the terminal: %w", err)
			}
		}
	}
}

// locked returns a function that sends a frame at a time.
func locked(w io.Writer) func(kind byte, payload []byte) error {
	var mu sync.Mutex
	return func(kind byte, payload []byte) error {
		mu.Lock()
		defer mu.Unlock()
		return writeFrame(w, kind, payload)
	}
}

// tell tells the menu how large the terminal is.
func (t Terminal) tell(send func(byte, []byte) error) error {
	columns, lines, err := term.GetSize(int(t.File.Fd()))
	if err != nil {
		return fmt.Errorf("asking the terminal for its size: %w", err)
	}
	return send(frameSize, sizeFrame(lines, columns))
}

func (t Terminal) resizes(ctx context.Context, send func(byte, []byte) error) error {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	defer signal.Stop(changed)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if err := t.tell(send); err != nil {
			return err
		}
	}
}

// keys sends what is typed. It never waits in a read: that would take a key from
// whoever reads the terminal next.
func (t Terminal) keys(ctx context.Context, send func(byte, []byte) error) error {
	buffer := make([]byte, 1024)
	for ctx.Err() == nil {
		ready := []unix.PollFd{{Fd: int32(t.File.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(glance.Milliseconds()))
		if n == 0 || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for a key: %w", err)
		}
		if n, err = t.File.Read(buffer); err != nil {
			return fmt.Errorf("reading the terminal: %w", err)
		}
		if err := send(frameKeys, buffer[:n]); err != nil {
			return err
		}
	}
	return nil
}
