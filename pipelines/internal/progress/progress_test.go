package progress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reported returns what a run writes for a reader; its clock is the test's.
func reported(t *testing.T, mode Mode, width int, run func(r *Reporter)) (text string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := New(&out, mode, func() int { return width })
		run(r)
		r.Close()
		text = out.String()
	})
	return text
}

func TestPlain(t *testing.T) {
	got := reported(t, Plain, 0, func(r *Reporter) {
		s := r.Stage("kernel-debug", "build")
		time.Sleep(30 * time.Second)
		io.WriteString(s, "  CC  init/main.o\n  CC  half")
		time.Sleep(60 * time.Second)
		fmt.Fprintf(s, "\ngcc %s\n", strings.Repeat("-I folder ", 100))
		time.Sleep(60 * time.Second)
		s.Bytes(1<<20, 4<<20)
		time.Sleep(60 * time.Second)
		s.End(nil, "6 files")
		s.End(errors.New("late"), "")
		r.Stage("kernel-debug", "pack").End(errors.New("no space"), "")
		r.Note("kernel-debug", "done")
	})
	want := `kernel-debug  build        60.0s  ...   CC  init/main.o
kernel-debug  build        2m00s  ... gcc -I folder -I folder -I folder -I folder -I folder -I folder -I folder -I folde
kernel-debug  build        3m00s  ... [======                  ]  25% of 4.0 MiB
kernel-debug  build        3m30s  6 files
kernel-debug  pack          0.0s  failed
kernel-debug  done
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestGitHub(t *testing.T) {
	got := reported(t, GitHub, 0, func(r *Reporter) {
		s := r.Stage("qemu", "build")
		io.WriteString(s, "one\n::error::forged\n\x1b[2Jtwo\n")
		s.End(nil, "")
	})
	want := "::group::qemu  build\none\n. ::error::forged\n[2Jtwo\n::endgroup::\nqemu  build         0.0s\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestForeignText has a registry's words in a note and a detail.
func TestForeignText(t *testing.T) {
	got := reported(t, GitHub, 0, func(r *Reporter) {
		r.Note("registry", "403: x\n::error::pwned\n\x1b[31m red\r ::stop-commands::y\n\n##[error]z")
		r.Stage("a\x1b\n::b", "pull").End(nil, "got\n  ::warning::it")
	})
	want := "registry  403: x\n. ::error::pwned\n[31m red\n. ::stop-commands::y\n## [error]z\n" +
		"::group::a::b  pull\n::endgroup::\na::b  pull          0.0s  got\n. ::warning::it\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTerminalRepaintsInPlace(t *testing.T) {
	out := reported(t, Terminal, 30, func(r *Reporter) {
		s := r.Stage("qemu", "build")
		io.WriteString(s, strings.Repeat("x", 200)+"\n")
		time.Sleep(250 * time.Millisecond)
		s.End(nil, "")
	})
	lines := strings.Split(out, "\n")
	for _, line := range lines {
		line = strings.TrimPrefix(line, "\x1b[1A\x1b[J")
		if len(line) > 30 {
			t.Errorf("line is wider than the terminal: %q", line)
		}
	}
	if up := strings.Count(out, "\x1b[1A\x1b[J"); up < 2 {
		t.Errorf("the live line was erased %d times, want at least 2:\n%q", up, out)
	}
	if !strings.HasSuffix(out, "qemu  build         0.2s\n") {
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

// Code without an observer gets a nil reporter.
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
