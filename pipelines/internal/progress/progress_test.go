package progress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// clock is a test double of time.Now that moves when told to.
type clock struct{ now time.Time }

func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

func reporter(t *testing.T, mode Mode, width int) (*Reporter, *bytes.Buffer, *clock) {
	t.Helper()
	var out bytes.Buffer
	c := &clock{now: time.Unix(0, 0)}
	r := New(&out, mode, func() int { return width })
	r.screen.mu.Lock()
	r.screen.now = func() time.Time { return c.now }
	r.screen.mu.Unlock()
	return r, &out, c
}

func TestPlain(t *testing.T) {
	r, out, c := reporter(t, Plain, 0)
	s := r.Stage("kernel-debug", "build")
	c.advance(30 * time.Second)
	r.screen.tick()
	io.WriteString(s, "  CC  init/main.o\n  CC  half")
	c.advance(40 * time.Second)
	r.screen.tick()
	fmt.Fprintf(s, "\ngcc %s\n", strings.Repeat("-I folder ", 100))
	r.screen.tick()
	s.Bytes(1<<20, 4<<20)
	r.screen.tick()
	s.End(nil, "6 files")
	s.End(errors.New("late"), "")
	r.Stage("kernel-debug", "pack").End(errors.New("no space"), "")
	r.Note("kernel-debug", "done")
	r.Close()
	want := `kernel-debug  build        70.0s  ...   CC  init/main.o
kernel-debug  build        70.0s  ... gcc -I folder -I folder -I folder -I folder -I folder -I folder -I folder -I folde
kernel-debug  build        70.0s  ... [======                  ]  25% of 4.0 MiB
kernel-debug  build        70.0s  6 files
kernel-debug  pack          0.0s  failed
kernel-debug  done
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out, want)
	}
}

func TestGitHub(t *testing.T) {
	r, out, _ := reporter(t, GitHub, 0)
	s := r.Stage("qemu", "build")
	io.WriteString(s, "one\n::error::forged\n\x1b[2Jtwo\n")
	s.End(nil, "")
	r.Close()
	want := "::group::qemu  build\none\n. ::error::forged\n[2Jtwo\n::endgroup::\nqemu  build         0.0s\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// TestForeignText has a registry's words in a note and a detail.
func TestForeignText(t *testing.T) {
	r, out, _ := reporter(t, GitHub, 0)
	r.Note("registry", "403: x\n::error::pwned\n\x1b[31m red\r ::stop-commands::y\n\n##[error]z")
	r.Stage("a\x1b\n::b", "pull").End(nil, "got\n  ::warning::it")
	r.Close()
	want := "registry  403: x\n. ::error::pwned\n[31m red\n. ::stop-commands::y\n## [error]z\n" +
		"::group::a::b  pull\n::endgroup::\na::b  pull          0.0s  got\n. ::warning::it\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out, want)
	}
}

func TestTerminalRepaintsInPlace(t *testing.T) {
	r, out, _ := reporter(t, Terminal, 30)
	s := r.Stage("qemu", "build")
	io.WriteString(s, strings.Repeat("x", 200)+"\n")
	r.screen.tick()
	r.screen.tick()
	s.End(nil, "")
	r.Close()
	lines := strings.Split(out.String(), "\n")
	for _, line := range lines {
		line = strings.TrimPrefix(line, "\x1b[1A\x1b[J")
		if len(line) > 30 {
			t.Errorf("line is wider than the terminal: %q", line)
		}
	}
	if up := strings.Count(out.String(), "\x1b[1A\x1b[J"); up < 2 {
		t.Errorf("the live line was erased %d times, want at least 2:\n%q", up, out)
	}
	if !strings.HasSuffix(out.String(), "qemu  build         0.0s\n") {
		t.Errorf("no final line: %q", out)
	}
}

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Millisecond: "0.4s", 99 * time.Second: "99.0s", 245 * time.Second: "4m05s", 3720 * time.Second: "1h02m",
	} {
		if got := Elapsed(d); got != want {
			t.Errorf("Elapsed(%v) = %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 157422084: "150.1 MiB", 1 << 31: "2.0 GiB"} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %s, want %s", n, got, want)
		}
	}
}

// Code without an observer is handed a nil reporter.
func TestNilReporter(t *testing.T) {
	var reporter *Reporter
	reporter.Note("kernel", "nothing")
	stage := reporter.Stage("kernel", "build")
	stage.Note("nothing")
	stage.Bytes(1, 2)
	if n, err := stage.Write([]byte("line\n")); n != 5 || err != nil {
		t.Errorf("Write returned %d, %v", n, err)
	}
	stage.End(nil, "done")
	reporter.Close()
}
