//go:build linux

package main

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

// read returns the content of a small file without blanks around it.
func read(path string) string { return strings.TrimSpace(string(try(os.ReadFile(path)))) }

// write writes to a file, and makes it if needed.
func write(path, content string) { must(os.WriteFile(path, []byte(content), 0o644)) }

// list returns the names in a folder, sorted.
func list(dir string) (names []string) {
	for _, entry := range try(os.ReadDir(dir)) {
		names = append(names, entry.Name())
	}
	return names
}

func sum(path string) func(*serial.Observation) {
	return func(o *serial.Observation) {
		file := try(os.Open(path))
		defer file.Close()
		hash(o, file)
	}
}

func hash(o *serial.Observation, r io.Reader) {
	h := sha256.New()
	o.Size = try(io.Copy(h, r))
	o.SHA256 = hex.EncodeToString(h.Sum(nil))
}

// config hashes the unpacked configuration of the running kernel.
func config(o *serial.Observation) {
	file := try(os.Open("/proc/config.gz"))
	defer file.Close()
	hash(o, try(gzip.NewReader(file)))
}

// notes reports the ELF notes of the running kernel, in hex.
func notes(o *serial.Observation) {
	o.Value = hex.EncodeToString(try(os.ReadFile("/sys/kernel/notes")))
}

// taints are the bits of /proc/sys/kernel/tainted that a kernel sets when it
// finds a defect in itself or in its machine.
var taints = []struct {
	bit  uint
	what string
}{
	{4, "machine check"}, {5, "bad page"}, {7, "oops"}, {9, "warning"}, {14, "soft lockup"},
}

// taint reports the defects that the kernel has found, and a few of its messages: the
// lines below the cut that it writes above a warning or an oops.
func taint(o *serial.Observation) {
	const readAll, most, cut = 3, 5, "[ cut here ]"
	o.Value = read("/proc/sys/kernel/tainted")
	bits := try(strconv.ParseUint(o.Value, 10, 64))
	for _, t := range taints {
		if bits&(1<<t.bit) != 0 {
			o.Items = append(o.Items, t.what)
		}
	}
	if len(o.Items) == 0 {
		return
	}
	buffer := make([]byte, 1<<20)
	n, err := unix.Klogctl(readAll, buffer)
	must(doing(strings.Join(o.Items, ", ")+", and reading the kernel's log", err))
	lines, found := strings.Split(string(buffer[:n]), "\n"), 0
	for i, line := range lines[:len(lines)-1] {
		if strings.Contains(line, cut) && found < most {
			o.Items, found = append(o.Items, lines[i+1]), found+1
		}
	}
}
