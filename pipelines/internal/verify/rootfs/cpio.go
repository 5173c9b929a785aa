package rootfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

const (
	// cpioMagic begins a header of the format newc, and cpioEnd is the name of the last one.
	cpioMagic, cpioEnd = "070701", "TRAILER!!!"
	// cpioDigits is how many hex digits each of the cpioFields numbers has.
	cpioFields, cpioDigits = 13, 8
	// cpioMode, cpioSize and cpioName are the positions of numbers.
	cpioMode, cpioSize, cpioName = 1, 6, 11
	// longestName is what Linux accepts.
	longestName = 4096
)

// readCPIO reads an archive in the format newc, as Linux does:
// Documentation/driver-api/early-userspace/buffer-format.rst. It refuses names that leave
// the root, duplicate names, and anything but zeros after the end.
func readCPIO(from *bufio.Reader, each func(e entry, content io.Reader) error) error {
	seen := map[string]bool{}
	for {
		e, size, err := cpioHeader(from)
		if err != nil {
			return err
		}
		if e.path == cpioEnd {
			return onlyZeros(from)
		}
		if clean := path.Clean("/" + e.path); clean != "/"+e.path {
			return fmt.Errorf("member %q: want a clean path", e.path)
		}
		if seen[e.path] {
			return fmt.Errorf("duplicate member %q", e.path)
		}
		seen[e.path] = true
		content := io.LimitReader(from, size)
		if err := each(e, content); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return fmt.Errorf("reading %s: %w", e.path, err)
		}
		if _, err := from.Discard(int(-size & 3)); err != nil {
			return fmt.Errorf("after %s: %w", e.path, err)
		}
	}
}

// cpioHeader reads a header and the name after it.
func cpioHeader(from *bufio.Reader) (e entry, size int64, err error) {
	head := make([]byte, len(cpioMagic)+cpioFields*cpioDigits)
	if _, err := io.ReadFull(from, head); err != nil {
		return e, 0, fmt.Errorf("reading the header of a member: %w", err)
	}
	if magic := string(head[:len(cpioMagic)]); magic != cpioMagic {
		return e, 0, fmt.Errorf("a member begins with %q: want %s, the format newc", magic, cpioMagic)
	}
	var numbers [cpioFields]int64
	for i := range numbers {
		at := len(cpioMagic) + i*cpioDigits
		value, err := strconv.ParseUint(string(head[at:at+cpioDigits]), 16, 32)
		if err != nil {
			return e, 0, fmt.Errorf("reading the header of a member: %w", err)
		}
		numbers[i] = int64(value)
	}
	if numbers[cpioName] < 2 || numbers[cpioName] > longestName {
		return e, 0, fmt.Errorf("a name of %d bytes", numbers[cpioName])
	}
	name := make([]byte, numbers[cpioName]+(-numbers[cpioName]-int64(len(head)))&3)
	if _, err := io.ReadFull(from, name); err != nil {
		return e, 0, fmt.Errorf("reading the name of a member: %w", err)
	}
	e = entry{strings.TrimPrefix(string(name[:numbers[cpioName]-1]), "./"), uint32(numbers[cpioMode])}
	return e, numbers[cpioSize], nil
}

func onlyZeros(from *bufio.Reader) error {
	for {
		b, err := from.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case b != 0:
			return errors.New("there is more after the end of the archive")
		}
	}
}
