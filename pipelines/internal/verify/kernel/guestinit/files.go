//go:build linux

package main

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

// sum returns a step that hashes a file.
func sum(path string) func(*serial.Observation) error {
	return func(o *serial.Observation) error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		return hash(o, file)
	}
}

func hash(o *serial.Observation, r io.Reader) error {
	h := sha256.New()
	n, err := io.Copy(h, r)
	o.Size, o.SHA256 = n, hex.EncodeToString(h.Sum(nil))
	return err
}

// kernelConfig hashes the unpacked configuration of the running kernel.
func kernelConfig(o *serial.Observation) error {
	file, err := os.Open("/proc/config.gz")
	if err != nil {
		return err
	}
	defer file.Close()
	stream, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	return hash(o, stream)
}

// notes passes on the ELF notes of the running kernel, in hex.
func notes(o *serial.Observation) error {
	data, err := os.ReadFile("/sys/kernel/notes")
	o.Value, o.Size = hex.EncodeToString(data), int64(len(data))
	return err
}

// read returns the content of a small file without blanks around it.
func read(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}

// taints are the bits of /proc/sys/kernel/tainted that a kernel sets when it
// finds a defect in itself or in its machine.
var taints = []struct {
	bit  uint
	what string
}{
	{4, "machine check"}, {5, "bad page"}, {7, "oops"}, {9, "warning"}, {14, "soft lockup"},
}

// taint says whether the kernel has found a defect, and what it said of it.
func taint(o *serial.Observation) error {
	text, err := read("/proc/sys/kernel/tainted")
	if err != nil {
		return err
	}
	o.Value = text
	bits, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("/proc/sys/kernel/tainted: %w", err)
	}
	for _, t := range taints {
		if bits&(1<<t.bit) != 0 {
			o.Items = append(o.Items, t.what)
		}
	}
	if len(o.Items) > 0 {
		o.Items = append(o.Items, complaints()...)
	}
	return nil
}

// complaints returns the line after each cut, which the kernel writes above a warning
// or an oops, in the kernel's log, a few at most.
func complaints() (found []string) {
	const readAll, most, cut = 3, 5, "[ cut here ]"
	buffer := make([]byte, 1<<20)
	n, err := unix.Klogctl(readAll, buffer)
	if err != nil {
		return []string{"the kernel's log: " + err.Error()}
	}
	lines := strings.Split(string(buffer[:n]), "\n")
	for i, line := range lines[:len(lines)-1] {
		if strings.Contains(line, cut) && len(found) < most {
			found = append(found, lines[i+1])
		}
	}
	return found
}
