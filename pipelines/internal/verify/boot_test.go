package verify_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kimage/kimagetest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/serial"
)

// bench is a machine whose tools are scripts: the compiler makes an empty init,
// and QEMU prints what the test wants, moving data through the devices.
type bench struct{ dir string }

// newBench returns a machine on which QEMU runs the script.
func newBench(t *testing.T, script string) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(b.dir, "pipelines/internal/verify/guestinit"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.tool(t, "go", `while [ "$1" != -o ]; do shift; done; echo init > "$2"`)
	b.tool(t, "qemu-system-x86_64", script)
	return b
}

func (b *bench) tool(t *testing.T, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// boot has no mke2fs, so that the disk is empty.
func (b *bench) boot() verify.Boot {
	return verify.Boot{
		Root: b.dir, Accelerator: "tcg", Timeout: 10 * time.Second, Grace: 200 * time.Millisecond, Note: func(string) {},
		LookPath: func(name string) (string, error) {
			path := filepath.Join(b.dir, name)
			if _, err := os.Stat(path); err != nil {
				return "", errors.New("not there")
			}
			return path, nil
		},
	}
}

// say is a line of shell that prints observations.
func say(t *testing.T, observations ...serial.Observation) string {
	t.Helper()
	var script strings.Builder
	for _, o := range observations {
		line, err := serial.Encode(o)
		if err != nil {
			t.Fatal(err)
		}
		script.WriteString("cat <<'END'\n" + line + "\nEND\n")
	}
	return script.String()
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// healthy is what the init of a good guest says between begin and end, without
// the file of the host, which differs every time.
func healthy() []serial.Observation {
	disk := make([]byte, 32<<20)
	return []serial.Observation{
		{Name: serial.Begin},
		{Name: serial.Release, Value: "6.18.15", Items: []string{"#1 SMP"}},
		{Name: serial.Machine, Value: "x86_64"},
		{Name: serial.Processors, Size: 2},
		{Name: serial.Config, Size: 5, SHA256: sum([]byte(config))},
		{Name: serial.BTF, Size: 5, SHA256: sum(kimagetest.BTF())},
		{Name: serial.Notes, Value: hex.EncodeToString([]byte(notes))},
		{Name: serial.Drivers, Items: []string{"virtio_blk"}},
		{Name: serial.Devices, Items: []string{"9pnet_virtio: virtio4", "virtio_blk: virtio1", "virtio_console: virtio3", "virtio_net: virtio2", "virtio_rng: virtio0"}},
		{Name: serial.Disk, Value: "/dev/vda", Size: 32 << 20, SHA256: sum(disk)},
		{Name: serial.Network, Value: "eth0", Items: []string{"52:55:0a:00:02:02"}},
		{Name: serial.Entropy, Value: "virtio_rng.0", Size: 32},
		{Name: serial.Port, Value: "vport3p1"},
		{Name: serial.Vsock},
		{Name: serial.Mount + "tmpfs"},
		{Name: serial.Mount + "overlay"},
		{Name: serial.Mount + "cgroup2"},
		{Name: serial.Controllers, Items: []string{"cpu", "cpuset", "io", "memory", "pids"}},
		{Name: serial.DeviceRules, Value: "forbidden, and allowed again"},
		{Name: serial.Event, Value: "an event"},
		{Name: serial.Taint, Value: "0"},
	}
}

// devices is shell that does what the guest does with port and shared folder;
// it leaves the content of the shared file in $nonce.
const devices = `
for argument; do
	case "$argument" in
	local,*) share="${argument##*path=}" ;;
	file,id=port,*) printf 'kata.verify\n' > "${argument##*path=}" ;;
	esac
done
nonce="$(cat "$share/from-host")"
cp "$share/from-host" "$share/from-guest"
`

// share9p says what was read from the shared folder: the line is made by shell,
// and has a checksum that shell can compute.
const share9p = `
text="{\"name\":\"mount 9p\",\"value\":\"$nonce\"}"
crc="$(printf %s "$text" | gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' ')"
echo "@kata-verify $crc $text"
`

func guest(t *testing.T, change func([]serial.Observation) []serial.Observation) string {
	t.Helper()
	observations := healthy()
	if change != nil {
		observations = change(observations)
	}
	return "echo '[    0.0] Linux version 6.18.15'\n" + devices + say(t, observations...) + share9p + say(t, serial.Observation{Name: serial.End})
}

// replace changes the observation of a name.
func replace(o serial.Observation) func([]serial.Observation) []serial.Observation {
	return func(all []serial.Observation) []serial.Observation {
		for i := range all {
			if all[i].Name == o.Name {
				all[i] = o
			}
		}
		return all
	}
}

func TestGoodGuest(t *testing.T) {
	report, err := kernel(t).Verify(t.Context(), good(t).pack(t), newBench(t, guest(t, nil)).boot())
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range report.Checks {
		expected := verify.Passed
		// The bench has neither a vsock device nor mke2fs.
		if check.Name == "virtio-vsock" || check.Name == "mount ext4" {
			expected = verify.Skipped
		}
		if check.Name == "virtio-vsock" && check.Verdict == verify.Failed {
			continue // a machine that has /dev/vhost-vsock: no device in the lines above
		}
		if check.Verdict != expected {
			t.Errorf("%s: %s: %s %q", check.Name, check.Verdict, check.Saw, check.Console)
		}
	}
	for _, name := range []string{"boot", "same build", "virtio-9p", "virtio-console", "BPF event"} {
		find(t, report, name)
	}
}

func TestBadGuests(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		check  string
		saw    string
	}{
		"panic": {`echo 'Linux version'; echo '[    1.2] Kernel panic - not syncing: No working init found.'; exec sleep 60`,
			"boot", "panic: Kernel panic - not syncing: No working init found."},
		"refused":      {`echo 'qemu: could not load kernel' >&2; exit 1`, "boot", "qemu-system-x86_64 failed: qemu: could not load kernel"},
		"off too soon": {`echo 'Linux version'`, "boot", "went off before its init was done, and the init never began"},
		"off midway":   {say(t, healthy()[:3]...), "boot", `the last thing that the init told was "machine"`},
		"stays on":     {guest(t, nil) + "exec sleep 60", "boot", "did not turn itself off"},
		"other build":  {guest(t, replace(serial.Observation{Name: serial.Notes, Value: hex.EncodeToString([]byte(strings.Replace(notes, "id", "ID", 1)))})), "same build", "vmlinuz is a kernel with the build ID 4944, and vmlinux another"},
		"other release": {guest(t, replace(serial.Observation{Name: serial.Release, Value: "6.18.14"})), "running release",
			`the release is "6.18.14": want "6.18.15"`},
		"no config.gz": {guest(t, replace(serial.Observation{Name: serial.Config, Error: "no such file"})), "/proc/config.gz", "no such file"},
		"missing device": {guest(t, replace(serial.Observation{Name: serial.Devices, Items: []string{"no driver: virtio1, type 0x0002"}})),
			"virtio-blk", "no device has the driver virtio_blk (no driver: virtio1, type 0x0002)"},
		"broken disk":    {guest(t, replace(serial.Observation{Name: serial.Disk, Value: "/dev/vda", SHA256: "00"})), "virtio-blk", "not what is on the disk"},
		"silent network": {guest(t, replace(serial.Observation{Name: serial.Network, Value: "eth0", Error: "nobody answered"})), "virtio-net", "nobody answered"},
		"other entropy":  {guest(t, replace(serial.Observation{Name: serial.Entropy, Value: "tpm-rng-0", Size: 32})), "virtio-rng", "want virtio_rng"},
		"no controller": {guest(t, replace(serial.Observation{Name: serial.Controllers, Items: []string{"cpu", "cpuset", "io", "pids"}})),
			"cgroup v2", "no controller memory"},
		"no overlay": {guest(t, replace(serial.Observation{Name: serial.Mount + "overlay", Error: "no such device"})), "mount overlay", "no such device"},
		"warning":    {guest(t, replace(serial.Observation{Name: serial.Taint, Value: "512", Items: []string{"warning", "WARNING: at foo"}})), "taint", "WARNING: at foo"},
		"no event":   {guest(t, replace(serial.Observation{Name: serial.Event, Error: "no event of sys_getpgid"})), "BPF event", "no event of"},
	} {
		t.Run(name, func(t *testing.T) {
			bench := newBench(t, test.script)
			report, err := kernel(t).Verify(t.Context(), good(t).pack(t), bench.boot())
			if err != nil {
				t.Fatal(err)
			}
			check := find(t, report, test.check)
			if check.Verdict != verify.Failed || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s\nwant it to fail with %q", check.Verdict, check.Saw, test.saw)
			}
			if report.Err() == nil {
				t.Error("the report has no error")
			}
		})
	}
}

func TestHang(t *testing.T) {
	for name, test := range map[string]struct{ script, saw, tail string }{
		"silent":  {`exec sleep 60`, "nothing came over ttyS0, for which the kernel lacks CONFIG_SERIAL_8250_CONSOLE", ""},
		"early":   {`echo 'Linux version'; exec sleep 60`, "and the init never began", "Linux version"},
		"in init": {say(t, healthy()[:2]...) + `echo 'the last line'; exec sleep 60`, `the last thing that the init told was "release"`, "the last line"},
	} {
		t.Run(name, func(t *testing.T) {
			boot := newBench(t, test.script).boot()
			boot.Timeout = 300 * time.Millisecond
			report, err := kernel(t).Verify(t.Context(), good(t).pack(t), boot)
			if err != nil {
				t.Fatal(err)
			}
			check := find(t, report, "boot")
			if check.Verdict != verify.Failed || !strings.HasPrefix(check.Saw, "hang: ") || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s", check.Verdict, check.Saw)
			}
			if test.tail != "" && (len(check.Console) == 0 || check.Console[len(check.Console)-1] != test.tail) {
				t.Errorf("the console ends with %q", check.Console)
			}
		})
	}
}

// What is missing on a machine skips the boot with what to do about it, and does
// not count as passed.
func TestMissingTools(t *testing.T) {
	for missing, want := range map[string]string{
		"qemu-system-x86_64": "no qemu-system-x86_64 on this machine: apt-get install qemu-system-x86",
		"go":                 "no go in PATH",
		"pipelines":          "no pipelines/internal/verify/guestinit below",
	} {
		t.Run(missing, func(t *testing.T) {
			bench := newBench(t, "exit 1")
			if err := os.RemoveAll(filepath.Join(bench.dir, missing)); err != nil {
				t.Fatal(err)
			}
			report, err := kernel(t).Verify(t.Context(), good(t).pack(t), bench.boot())
			if err != nil {
				t.Fatal(err)
			}
			check := find(t, report, "boot")
			if check.Verdict != verify.Skipped || !strings.Contains(check.Saw, want) {
				t.Errorf("%s: %s", check.Verdict, check.Saw)
			}
			if report.Skipped != 1 || report.Failed != 0 {
				t.Errorf("%d skipped, %d failed", report.Skipped, report.Failed)
			}
		})
	}
}

func TestBrokenInit(t *testing.T) {
	bench := newBench(t, "exit 1")
	bench.tool(t, "go", `echo 'main.go:7: undefined: x' >&2; exit 1`)
	_, err := kernel(t).Verify(t.Context(), good(t).pack(t), bench.boot())
	if err == nil || !strings.Contains(err.Error(), "compiling the guest's init: exit status 1\nmain.go:7: undefined: x") {
		t.Errorf("got %v", err)
	}
}
