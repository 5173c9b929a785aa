package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

func TestArgs(t *testing.T) {
	var out strings.Builder
	for _, arch := range []string{"x86_64", "aarch64", "s390x", "ppc64le"} {
		machine, ok := host.ForArch(arch)
		if !ok {
			t.Fatalf("no machine for %s", arch)
		}
		guest := host.Guest{
			Kernel: "k", Initrd: "i", Accelerator: "tcg", Disk: "a,b", Share: "share,", ShareTag: "tag",
			Port: "port", PortName: "name", Vsock: 70000, Pmem: "pmem",
		}
		if arch == "aarch64" {
			guest.Accelerator, guest.Vsock, guest.Pmem = "kvm", 0, ""
		}
		out.WriteString(machine.Program + " (" + machine.Package + ")\n  " + strings.Join(machine.Args(guest), "\n  ") + "\n")
		out.WriteString("brief, with a folder\n  " + strings.Join(machine.Brief(guest, "socket,", "MORE=1"), "\n  ") + "\n")
	}
	require.Golden(t, "testdata/args.golden", out.String())
	if _, ok := host.ForArch("mips"); ok {
		t.Error("there is a machine for mips")
	}
}

// run runs a shell script in place of QEMU.
func run(t *testing.T, ctx context.Context, script string, timeout time.Duration) (result host.Result, lines []string, err error) {
	t.Helper()
	h := host.Host{Timeout: timeout, Grace: time.Second}
	// A line that begins with "over" ends the boot.
	result, err = h.Boot(ctx, "/bin/sh", []string{"-c", script}, func(line string) bool {
		lines = append(lines, line)
		return strings.HasPrefix(line, "over")
	})
	return result, lines, err
}

func TestRun(t *testing.T) {
	const long, short = time.Minute, time.Second
	for name, test := range map[string]struct {
		script  string
		timeout time.Duration
		ending  host.Ending
		lines   string
		stderr  string
	}{
		"off":              {`printf 'one\r\n\r\ntwo\nrest'`, long, host.Off, "one|two|rest", ""},
		"off in time":      {`echo over; sleep 0.01`, long, host.Off, "over", ""},
		"stopped":          {`echo over; exec sleep 60`, long, host.Stopped, "over", ""},
		"over twice":       {`echo over; echo overflow; exec sleep 60`, long, host.Stopped, "over|overflow", ""},
		"hang":             {`echo one; exec sleep 60`, short, host.Hang, "one", ""},
		"refused":          {`echo "no such machine" >&2; exit 1`, long, host.Refused, "", "no such machine"},
		"refused at large": {`i=0; while [ $i -lt 2000 ]; do echo "line $i of many" >&2; i=$((i+1)); done; exit 1`, long, host.Refused, "", "line 1999 of many"},
	} {
		t.Run(name, func(t *testing.T) {
			result, lines, err := run(t, t.Context(), test.script, test.timeout)
			require.NoError(t, err)
			if result.Ending != test.ending {
				t.Errorf("ending %s, want %s", result.Ending, test.ending)
			}
			if got := strings.Join(lines, "|"); got != test.lines {
				t.Errorf("lines %q, want %q", got, test.lines)
			}
			if !strings.HasSuffix(result.Stderr, test.stderr) || len(result.Stderr) > 10<<10 {
				t.Errorf("stderr is %q", result.Stderr)
			}
			if got := strings.Join(result.Tail, "|"); got != test.lines {
				t.Errorf("tail %q, want %q", got, test.lines)
			}
		})
	}
}

func TestRunKeepsTheEndAlone(t *testing.T) {
	result, lines, err := run(t, t.Context(), `i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done; head -c 300000 /dev/zero | tr '\0' x`, time.Minute)
	require.NoError(t, err)
	if len(lines) != 501 || len(lines[500]) > 64<<10 {
		t.Errorf("%d lines, the last has %d bytes", len(lines), len(lines[len(lines)-1]))
	}
	if len(result.Tail) != 40 || result.Tail[38] != "499" {
		t.Errorf("the tail has %d lines", len(result.Tail))
	}
}

func TestRunIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	time.AfterFunc(100*time.Millisecond, func() { cancel(interrupted) })
	start := time.Now()
	if _, _, err := run(t, ctx, `exec sleep 60`, time.Minute); !errors.Is(err, interrupted) {
		t.Errorf("got %v", err)
	}
	if time.Since(start) > 10*time.Second {
		t.Error("it waited for the guest")
	}
}

func TestRunWithoutProgram(t *testing.T) {
	h := host.Host{Timeout: time.Minute}
	if _, err := h.Boot(t.Context(), filepath.Join(t.TempDir(), "qemu"), nil, func(string) bool { return false }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
