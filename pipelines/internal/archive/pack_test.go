package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testFrame is how much a frame of the tests holds.
const testFrame = 1 << 20

var epoch = time.Unix(1772323200, 0)

// node is a file to make: a folder where data is nil and there is no link.
type node struct {
	name string
	mode fs.FileMode
	data []byte
	link string
}

// sample has what a kernel's tarball has, several frames of it, and names that
// sort differently as paths and as bytes, need PAX, or fill a frame.
func sample() []node {
	return []node{
		{name: "opt/kata/share/kata-containers/vmlinux-6.18.15-188-debug", mode: 0o755, data: code(testFrame+12345, 1)},
		{name: "opt/kata/share/kata-containers/vmlinuz-6.18.15-188-debug", mode: 0o644, data: code(testFrame/2, 2)},
		{name: "opt/kata/share/kata-containers/config-6.18.15-188-debug", mode: 0o600, data: []byte("CONFIG_BPF=y\n")},
		{name: "opt/kata/share/kata-containers/vmlinux-debug.container", link: "vmlinux-6.18.15-188-debug"},
		{name: "opt/kata/share/kata-containers.txt", mode: 0o400, data: []byte("sorts before the folder\n")},
		{name: "opt/kata/bin/tool", mode: 0o711, data: []byte("#!/bin/sh\n")},
		{name: "opt/kata/bin/up", link: "../share/kata-containers"},
		{name: "opt/kata/empty", mode: 0o700},
		{name: "opt/kata/ä/" + strings.Repeat("long", 40), mode: 0o666, data: []byte{}},
	}
}

// code returns bytes that compress about as well as machine code.
func code(n int, seed uint64) []byte {
	made.Lock()
	defer made.Unlock()
	if data := made.code[seed]; len(data) == n {
		return data
	}
	random := rand.New(rand.NewPCG(seed, seed))
	data := make([]byte, 0, n+8)
	for len(data) < n {
		data = binary.LittleEndian.AppendUint32(data, uint32(random.ExpFloat64()*300))
	}
	if made.code == nil {
		made.code = map[uint64][]byte{}
	}
	made.code[seed] = data[:n]
	return data[:n]
}

// made keeps what code made: under the race detector that takes its time.
var made struct {
	sync.Mutex
	code map[uint64][]byte
}

func plant(t testing.TB, nodes []node) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range nodes {
		path := filepath.Join(dir, n.name)
		err := os.MkdirAll(filepath.Dir(path), 0o777)
		switch {
		case err != nil:
		case n.link != "":
			err = os.Symlink(n.link, path)
		case n.data == nil:
			err = os.MkdirAll(path, n.mode)
		default:
			err = os.WriteFile(path, n.data, n.mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func pack(t testing.TB, dir string, level int) (string, Summary) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.tar.zst")
	summary, err := Pack(t.Context(), dir, out, Options{Level: level, ModTime: epoch, frame: testFrame})
	if err != nil {
		t.Fatal(err)
	}
	return out, summary
}

func TestPackGolden(t *testing.T) {
	dir := plant(t, sample())
	var got strings.Builder
	fmt.Fprintf(&got, "frames of %d bytes with windows of %d; here of %d\n", frameSize, windowSize, testFrame)
	for level := 1; level <= len(levels); level++ {
		_, summary := pack(t, dir, level)
		if level == 1 {
			for _, m := range summary.Members {
				fmt.Fprintf(&got, "%s %8d %.12s %s %s\n", m.Mode, m.Size, m.SHA256, m.Name, m.Link)
			}
		}
		fmt.Fprintf(&got, "level %d: %d bytes, sha256 %s\n", level, summary.Size, summary.SHA256)
	}
	golden := filepath.Join("testdata", "pack.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("other bytes than before: a new compressor must raise the recipe's schema (-want +got)\n%s", diff)
	}
}

func TestPackDependsOnContentAlone(t *testing.T) {
	_, want := pack(t, plant(t, sample()), 1)
	for _, test := range []struct {
		name              string
		umask, processors int
		change            func(nodes []node)
		after             func(dir string) error
	}{
		{name: "umask 077, 1 processor", umask: 0o077, processors: 1},
		{name: "umask 0, 7 processors, order", umask: 0, processors: 7, change: slices.Reverse[[]node]},
		{name: "time", umask: 0o022, processors: 2, after: func(dir string) error {
			return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.Type() == fs.ModeSymlink {
					return err
				}
				return os.Chtimes(path, time.Unix(1, 0), time.Unix(2, 3))
			})
		}},
		{name: "setgid folder", umask: 0o022, processors: 2, after: func(dir string) error {
			return os.Chmod(filepath.Join(dir, "opt"), fs.ModeSetgid|fs.ModeSticky|0o770)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(test.processors))
			nodes := sample()
			if test.change != nil {
				test.change(nodes)
			}
			old := syscall.Umask(test.umask)
			dir := plant(t, nodes)
			syscall.Umask(old)
			if test.after != nil {
				if err := test.after(dir); err != nil {
					t.Fatal(err)
				}
			}
			_, got := pack(t, dir, 1)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("differs (-want +got)\n%s", diff)
			}
		})
	}
}

func TestPackIsPlainTar(t *testing.T) {
	dir := plant(t, sample())
	out, summary := pack(t, dir, 1)
	into := t.TempDir()
	run := func(command string, arguments ...string) string {
		data, err := exec.CommandContext(t.Context(), command, arguments...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", command, arguments, err, data)
		}
		return string(data)
	}
	plain := filepath.Join(t.TempDir(), "out.tar")
	run("zstd", "-q", "-d", out, "-o", plain)
	run("tar", "-xf", plain, "-C", into)
	run("diff", "-r", "--no-dereference", dir, into)
	listing := run("tar", "--numeric-owner", "--full-time", "--quoting-style=literal", "-tvf", plain)
	lines := strings.Split(strings.TrimSuffix(listing, "\n"), "\n")
	if len(lines) != len(summary.Members) {
		t.Fatalf("tar lists %d members, want %d\n%s", len(lines), len(summary.Members), listing)
	}
	for i, m := range summary.Members {
		mode := strings.ToLower(m.Mode.String())
		if !strings.HasPrefix(lines[i], mode+" 0/0 ") || !strings.Contains(lines[i], " ./opt/") {
			t.Errorf("tar lists %q, want mode %s, owner 0/0", lines[i], mode)
		}
	}
	info, err := os.Stat(out)
	if err != nil || info.Mode().Perm() != 0o644 || info.Size() != summary.Size {
		t.Errorf("the tarball is %v, %v; want mode 0644, %d bytes", info, err, summary.Size)
	}
}

func TestPackRefuses(t *testing.T) {
	file := func(name string) []node { return []node{{name: name, mode: 0o644, data: []byte("x")}} }
	link := func(name, to string) []node { return []node{{name: name, link: to}} }
	deep := []node{{name: "opt/kata/bin/x", mode: 0o644, data: []byte("x")}}
	path := "opt/kata/bin/x"
	for _, test := range []struct {
		name  string
		nodes []node
		after func(path string) error
		want  string
	}{
		{name: "empty", want: "holds no file to pack"},
		{name: "folders alone", nodes: []node{{name: "opt/kata", mode: 0o755}}, want: "holds no file to pack"},
		{name: "pipe", nodes: deep, want: "./opt/kata/bin/x.2 is a named pipe", after: func(p string) error { return syscall.Mkfifo(p+".2", 0o644) }},
		{name: "socket", nodes: deep, want: "./opt/kata/bin/s is a socket", after: func(p string) error {
			listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Dir(p) + "/s"})
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = listener.Close() })
			return nil
		}},
		{name: "setuid", nodes: deep, want: "./opt/kata/bin/x is setuid", after: func(p string) error { return os.Chmod(p, fs.ModeSetuid|0o755) }},
		{name: "setgid", nodes: deep, want: "./opt/kata/bin/x is setuid or setgid", after: func(p string) error { return os.Chmod(p, fs.ModeSetgid|0o755) }},
		{name: "absolute link", nodes: link("opt/l", "/etc/passwd"), want: "./opt/l links to /etc/passwd: make the link relative"},
		{name: "escaping link", nodes: link("opt/l", "../../etc"), want: "./opt/l links to ../../etc, outside the tree"},
		{name: "link at the top", nodes: link("l", ".."), want: "outside the tree"},
		{name: "file at the top", nodes: file("init"), want: "./init is in the root of the host"},
		{name: "link in the root", nodes: link("bin", "opt/kata"), want: "./bin is in the root of the host"},
		{name: "link without ASCII", nodes: link("opt/l", "é"), want: "./opt/l links to é: use an ASCII letter"},
		{name: "late steps up", nodes: link("opt/kata/l", "x/../y"), want: "put the steps up first"},
		{name: "resolv.conf", nodes: file("etc/resolv.conf"), want: "./etc/resolv.conf belongs to the host"},
		{name: "hosts as a folder", nodes: file("etc/hosts/x"), want: "./etc/hosts/ belongs to the host"},
		{name: "dockerenv", nodes: file(".dockerenv"), want: "belongs to the host"},
		{name: "mtab link", nodes: link("etc/mtab", "../opt/x"), want: "belongs to the host"},
		{name: "dev", nodes: file("dev/shm/x"), want: "./dev/ belongs to the host"},
		{name: "proc", nodes: file("proc/x"), want: "./proc/ belongs to the host"},
		{name: "control character", nodes: file("opt/a\nb"), want: `"./opt/a\nb": the name has control characters`},
		{name: "not UTF-8", nodes: file("opt/\xff"), want: "is not UTF-8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := plant(t, test.nodes)
			if test.after != nil {
				if err := test.after(filepath.Join(dir, path)); err != nil {
					t.Fatal(err)
				}
			}
			into := t.TempDir()
			_, err := Pack(t.Context(), dir, filepath.Join(into, "out"), Options{Level: 2, ModTime: epoch})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			wantEmpty(t, into)
		})
	}
}

func TestPackOptions(t *testing.T) {
	dir := plant(t, []node{{name: "opt/x", mode: 0o644, data: []byte("x")}})
	for _, level := range []int{0, 5, -1} {
		if _, err := Pack(t.Context(), dir, filepath.Join(t.TempDir(), "out"), Options{Level: level}); err == nil {
			t.Errorf("level %d: no error", level)
		}
	}
	if _, err := Pack(t.Context(), filepath.Join(dir, "missing"), filepath.Join(t.TempDir(), "out"), Options{Level: 1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	if _, err := Pack(t.Context(), filepath.Join(dir, "opt/x"), filepath.Join(t.TempDir(), "out"), Options{Level: 1}); err == nil {
		t.Error("a file for the folder: no error")
	}
}

func TestPackCancelled(t *testing.T) {
	dir := plant(t, []node{{name: "opt/x", mode: 0o644, data: bytes.Repeat(code(testFrame, 2), 64)}})
	for _, after := range []time.Duration{0, 30 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		defer cancel()
		into := t.TempDir()
		if _, err := Pack(ctx, dir, filepath.Join(into, "out"), Options{Level: 4, ModTime: epoch}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s: %v, want %v", after, err, context.DeadlineExceeded)
		}
		wantEmpty(t, into)
	}
}

// failing takes some bytes and then no more.
type failing struct{ left int }

var errFull = errors.New("disk full")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestFramesReportTheOutput(t *testing.T) {
	for _, left := range []int{0, 1 << 20} {
		_, err := compose(&failing{left}, Options{Level: 1, frame: testFrame}, func(w *writer) error {
			for range 4 {
				if _, err := w.Write(code(testFrame+12345, 1)); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, errFull) {
			t.Errorf("output with room for %d: %v, want %v", left, err, errFull)
		}
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestPackMemory: memory does not grow with the number of frames.
func TestPackMemory(t *testing.T) {
	allocated := func(frames int) int {
		dir := plant(t, []node{{name: "opt/x", mode: 0o644, data: bytes.Repeat(code(testFrame, 2), frames)}})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		pack(t, dir, 1)
		runtime.ReadMemStats(&after)
		return int(after.TotalAlloc - before.TotalAlloc)
	}
	allocated(1) // Tables that are made once.
	few, many := allocated(2*workers()), allocated(12*workers())
	if more := many - few; more > 2*testFrame {
		t.Errorf("%d frames of %d bytes allocate %d bytes, and %d frames %d more", 2*workers(), testFrame, few, 12*workers(), more)
	}
}
