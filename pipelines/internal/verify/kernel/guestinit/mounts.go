//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// mountAt returns a step that mounts a file system without a device.
func mountAt(kind, target string) func(*serial.Observation) {
	return func(o *serial.Observation) {
		o.Value = target
		report.Must(mount(kind, kind, target, ""))
	}
}

func mount(source, kind, target, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	return doing("mounting "+kind, unix.Mount(source, target, kind, 0, options))
}

func unmount(target string) { report.Must(doing("unmounting "+target, unix.Unmount(target, 0))) }

// holds returns an error for a file that has other content.
func holds(path, content string) error {
	if got := read(path); got != content {
		return fmt.Errorf("%s has %q: want %q", path, got, content)
	}
	return nil
}

const scratch = "/run/tmpfs"

func mountTmpfs(o *serial.Observation) {
	o.Value = scratch
	report.Must(mount("tmpfs", "tmpfs", scratch, "size=64m"))
	write(scratch+"/file", "kept")
	report.Must(holds(scratch+"/file", "kept"))
}

// mountOverlay mounts an overlay, as the root of a container is one: files of the lower
// folder show through, written files go into the upper folder, removed files are gone.
func mountOverlay(o *serial.Observation) {
	const lower, upper, work, merged = scratch + "/lower", scratch + "/upper", scratch + "/work", scratch + "/merged"
	for _, dir := range []string{lower, upper, work} {
		report.Must(os.Mkdir(dir, 0o755))
	}
	write(lower+"/below", "below")
	write(lower+"/removed", "removed")
	report.Must(mount("overlay", "overlay", merged, "lowerdir="+lower+",upperdir="+upper+",workdir="+work))
	report.Must(doing("reading through to the lower folder", holds(merged+"/below", "below")))
	write(merged+"/above", "above")
	report.Must(holds(merged+"/above", "above"))
	report.Must(doing("looking for what was written in the upper folder", holds(upper+"/above", "above")))
	report.Must(os.Remove(merged + "/removed"))
	report.Want(!slices.Contains(list(merged), "removed"), "a removed file of the lower folder is still there")
	o.Value = "read, written and removed"
	unmount(merged)
}

// mountExt4 reads the file that the host put on the disk, writes one, and reads it
// again after another mount.
func mountExt4(o *serial.Observation) {
	const target = "/run/ext4"
	device := "/dev/" + child("block")
	report.Must(mount(device, "ext4", target, ""))
	o.Value = read(target + "/" + serial.FromHost)
	write(target+"/"+serial.FromGuest, "kept")
	report.Must(holds(target+"/"+serial.FromGuest, "kept"))
	unmount(target)
	report.Must(doing("for the second time", mount(device, "ext4", target, "")))
	report.Must(doing("after the second mount", holds(target+"/"+serial.FromGuest, "kept")))
	unmount(target)
}

// mount9p reads the file that the host put into the shared folder, and writes another
// with the same content.
func mount9p(o *serial.Observation) {
	const target = "/run/9p"
	report.Must(mount(serial.ShareTag, "9p", target, "trans=virtio,version=9p2000.L"))
	o.Value = read(target + "/" + serial.FromHost)
	write(target+"/"+serial.FromGuest, o.Value)
	report.Must(holds(target+"/"+serial.FromGuest, o.Value))
	unmount(target)
}

// mountDAX maps files of the persistent memory device: one of the host, and a sparse one
// whose hole is read before it is filled. The first fault of a page is where a kernel can
// go wrong.
func mountDAX(o *serial.Observation) {
	const target = "/run/dax"
	report.Must(mount("/dev/pmem0", "ext4", target, "dax=always"))
	direct(target + "/" + serial.FromHost)
	o.Value = strings.TrimRight(string(mapped(target+"/"+serial.FromHost, "")), "\x00")
	write(target+"/hole", "")
	report.Must(os.Truncate(target+"/hole", int64(os.Getpagesize())))
	direct(target + "/hole")
	first := mapped(target+"/hole", "filled")[0]
	report.Want(first == 0, "a hole begins with %#x", first)
	report.Must(holds(target+"/hole", "filled"+strings.Repeat("\x00", os.Getpagesize()-len("filled"))))
	unmount(target)
}

// mountVirtioFS uses the folder that a process of the host shares: it reads a file, writes
// one under another name and renames it, removes one, and maps two, to read and to write.
func mountVirtioFS(o *serial.Observation) {
	const target = "/run/virtiofs"
	report.Must(mount(serial.ShareTag, "virtiofs", target, ""))
	o.Value = read(target + "/" + serial.FromHost)
	write(target+"/new", o.Value)
	report.Must(os.Rename(target+"/new", target+"/"+serial.FromGuest))
	report.Must(holds(target+"/"+serial.FromGuest, o.Value))
	write(target+"/removed", "removed")
	report.Must(os.Remove(target + "/removed"))
	o.Items = list(target)
	got := strings.TrimRight(string(mapped(target+"/"+serial.FromHost, "")), "\x00")
	report.Want(got == o.Value, "a file that is mapped has %q, and %q if it is read", got, o.Value)
	write(target+"/"+serial.Mapped, "")
	report.Must(os.Truncate(target+"/"+serial.Mapped, int64(os.Getpagesize())))
	mapped(target+"/"+serial.Mapped, o.Value)
	unmount(target)
}

// submounts writes a file to a mount of the host in the shared folder, which Linux mounts
// at its first use, and unmounts it while the file may still be on its way to be closed.
func submounts(o *serial.Observation) {
	const target, rounds = "/run/virtiofs", 100
	report.Must(mount(serial.ShareTag, "virtiofs", target, ""))
	for ; o.Size < rounds; o.Size++ {
		write(target+"/"+serial.Submount+"/file", "written")
		unmount(target + "/" + serial.Submount)
	}
	unmount(target)
}

// direct ends a step if a file is not mapped without a copy.
func direct(path string) {
	var stat unix.Statx_t
	report.Must(unix.Statx(unix.AT_FDCWD, path, 0, 0, &stat))
	report.Want(stat.Attributes&unix.STATX_ATTR_DAX != 0, "%s is not mapped directly: statx shows no DAX", path)
}

// mapped returns the first page of a file as it is mapped, and then writes to it.
func mapped(path, content string) []byte {
	file := report.Try(os.OpenFile(path, os.O_RDWR, 0))
	defer file.Close()
	page := report.Try(unix.Mmap(int(file.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED))
	was := bytes.Clone(page)
	if copy(page, content); content != "" {
		report.Must(unix.Msync(page, unix.MS_SYNC))
	}
	report.Must(unix.Munmap(page))
	return was
}

// read returns the content of a small file without blanks around it.
func read(path string) string { return strings.TrimSpace(string(report.Try(os.ReadFile(path)))) }

// write writes to a file, and makes it if needed.
func write(path, content string) { report.Must(os.WriteFile(path, []byte(content), 0o644)) }

// list returns the names in a folder, sorted.
func list(dir string) (names []string) {
	for _, entry := range report.Try(os.ReadDir(dir)) {
		names = append(names, entry.Name())
	}
	return names
}

func sum(path string) func(*serial.Observation) {
	return func(o *serial.Observation) {
		file := report.Try(os.Open(path))
		defer file.Close()
		hash(o, file)
	}
}

func hash(o *serial.Observation, r io.Reader) {
	h := sha256.New()
	o.Size = report.Try(io.Copy(h, r))
	o.SHA256 = hex.EncodeToString(h.Sum(nil))
}

// config hashes the unpacked configuration of the running kernel.
func config(o *serial.Observation) {
	file := report.Try(os.Open("/proc/config.gz"))
	defer file.Close()
	hash(o, report.Try(gzip.NewReader(file)))
}

// notes reports the ELF notes of the running kernel, in hex.
func notes(o *serial.Observation) {
	o.Value = hex.EncodeToString(report.Try(os.ReadFile("/sys/kernel/notes")))
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
	bits := report.Try(strconv.ParseUint(o.Value, 10, 64))
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
	report.Must(doing(strings.Join(o.Items, ", ")+", and reading the kernel's log", err))
	lines, found := strings.Split(string(buffer[:n]), "\n"), 0
	for i, line := range lines[:len(lines)-1] {
		if strings.Contains(line, cut) && found < most {
			o.Items, found = append(o.Items, lines[i+1]), found+1
		}
	}
}
