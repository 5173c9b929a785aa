package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest/guesttest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage/kimagetest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// bench is a machine whose tools are scripts: the compiler makes an empty init, and
// QEMU prints what the test wants, moving data through the devices. It has no
// mke2fs, so that the disk is empty.
func bench(t *testing.T, script string) host.Host {
	t.Helper()
	return guesttest.Host(t, map[string]string{"qemu-system-x86_64": script})
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
		{Name: serial.Kernel, Value: "6.18.15 x86_64", Items: []string{"#1 SMP"}, Size: 2},
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
		{Name: serial.Controllers, Items: []string{"cpu", "cpuset", "io", "memory", "pids"}},
		{Name: serial.DeviceRules, Value: "forbidden, and allowed again"},
		{Name: serial.Event, Value: "an event"},
		{Name: serial.Taint, Value: "0"},
	}
}

// deviceScript is shell that does what the guest does with port and shared folder;
// it leaves the content of the shared file in $nonce.
const deviceScript = `
for argument; do
	case "$argument" in
	local,*) share="${argument##*path=}" ;;
	file,id=port,*) printf 'kata.verify\n' > "${argument##*path=}" ;;
	esac
done
nonce="$(cat "$share/from-host")"
cp "$share/from-host" "$share/from-guest"
`

// shared says what was read from the shared folder and from persistent memory: the
// lines are made by shell, and have a checksum that shell can compute.
const shared = `
for name in "mount 9p" dax; do
text="{\"name\":\"$name\",\"value\":\"$nonce\"}"
crc="$(printf %s "$text" | gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' ')"
echo "@kata-verify $crc $text"
done
`

func script(t *testing.T, change func([]serial.Observation) []serial.Observation) string {
	t.Helper()
	observations := healthy()
	if change != nil {
		observations = change(observations)
	}
	return "echo '[    0.0] Linux version 6.18.15'\n" + deviceScript + guesttest.Say(t, observations...) + shared + guesttest.Say(t, serial.Observation{Name: serial.End})
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
	r := look(t, debugKernel(t), good(t), bench(t, script(t, nil)))
	for _, check := range r.Checks {
		expected := report.Passed
		// The bench has neither a vsock device nor mke2fs.
		if check.Name == "virtio-vsock" || check.Name == "mount ext4" {
			expected = report.Skipped
		}
		if check.Name == "virtio-vsock" && check.Verdict == report.Failed {
			continue // a machine that has /dev/vhost-vsock: no device in the lines above
		}
		if check.Verdict != expected {
			t.Errorf("%s: %s: %s %q", check.Name, check.Verdict, check.Saw, check.Console)
		}
	}
	for _, name := range []string{"boot", "same build", "virtio-9p", "virtio-console", "BPF event"} {
		verifytest.Find(t, r, name)
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
		"off too soon": {`echo 'Linux version'`, "boot", "powered off before its init was done, and the init never began"},
		"off midway":   {guesttest.Say(t, healthy()[:2]...), "boot", `the last report of the init was "kernel"`},
		"stays on":     {script(t, nil) + "exec sleep 60", "boot", "did not power off"},
		"other build":  {script(t, replace(serial.Observation{Name: serial.Notes, Value: hex.EncodeToString([]byte(strings.Replace(notes, "id", "ID", 1)))})), "same build", "vmlinuz is a kernel with the build ID 4944, and vmlinux another"},
		"other release": {script(t, replace(serial.Observation{Name: serial.Kernel, Value: "6.18.14 x86_64"})), "running release",
			`the release is "6.18.14": want "6.18.15"`},
		"no config.gz": {script(t, replace(serial.Observation{Name: serial.Config, Error: "no such file"})), "/proc/config.gz", "no such file"},
		"missing device": {script(t, replace(serial.Observation{Name: serial.Devices, Items: []string{"no driver: virtio1, type 0x0002"}})),
			"virtio-blk", "no device has the driver virtio_blk (no driver: virtio1, type 0x0002)"},
		"broken disk":    {script(t, replace(serial.Observation{Name: serial.Disk, Value: "/dev/vda", SHA256: "00"})), "virtio-blk", "not what is on the disk"},
		"silent network": {script(t, replace(serial.Observation{Name: serial.Network, Value: "eth0", Error: "nobody answered"})), "virtio-net", "nobody answered"},
		"other entropy":  {script(t, replace(serial.Observation{Name: serial.Entropy, Value: "tpm-rng-0", Size: 32})), "virtio-rng", "want virtio_rng"},
		"no controller": {script(t, replace(serial.Observation{Name: serial.Controllers, Items: []string{"cpu", "cpuset", "io", "pids"}})),
			"cgroup v2", "no controller memory"},
		"no overlay": {script(t, replace(serial.Observation{Name: serial.Mount + "overlay", Error: "no such device"})), "mount overlay", "no such device"},
		"warning":    {script(t, replace(serial.Observation{Name: serial.Taint, Value: "512", Items: []string{"warning", "WARNING: at foo"}})), "taint", "WARNING: at foo"},
		"no event":   {script(t, replace(serial.Observation{Name: serial.Event, Error: "no event of sys_getpgid"})), "BPF event", "no event of"},
	} {
		t.Run(name, func(t *testing.T) {
			r := look(t, debugKernel(t), good(t), bench(t, test.script))
			check := verifytest.Find(t, r, test.check)
			if check.Verdict != report.Failed || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s\nwant it to fail with %q", check.Verdict, check.Saw, test.saw)
			}
			if r.Err() == nil {
				t.Error("the report has no error")
			}
		})
	}
}

// TestDAX checks files on persistent memory, on a machine that can make the image.
func TestDAX(t *testing.T) {
	with := config + "CONFIG_VIRTIO_PMEM=y\nCONFIG_FS_DAX=y\n"
	files := good(t)
	files[share+"config-"+version], files[share+"vmlinux-"+version] = with, vmlinux(t, with, btfSection())
	devices := replace(serial.Observation{Name: serial.Devices, Items: []string{"virtio_blk: virtio1", "virtio_pmem: virtio5"}})
	for name, test := range map[string]struct {
		script, saw string
		verdict     report.Verdict
	}{
		"mapped":    {script(t, devices), "read, a hole filled", report.Passed},
		"copied":    {script(t, devices) + guesttest.Say(t, serial.Observation{Name: serial.DAX, Error: "statx shows no DAX"}), "statx shows no DAX", report.Failed},
		"other":     {script(t, devices) + guesttest.Say(t, serial.Observation{Name: serial.DAX, Value: "old"}), `the file of the host is "old"`, report.Failed},
		"no driver": {script(t, nil), "no device has the driver virtio_pmem", report.Failed},
		"panic": {deviceScript + guesttest.Say(t, healthy()[:7]...) + "echo 'Kernel panic - not syncing: Attempted to kill init!'; exec sleep 60",
			"the guest did not get that far", report.Skipped},
		"no mke2fs": {script(t, devices), "no mke2fs", report.Skipped},
	} {
		t.Run(name, func(t *testing.T) {
			h := bench(t, test.script)
			if name != "no mke2fs" {
				require.NoError(t, os.WriteFile(filepath.Join(h.Tools, "mke2fs"), []byte("#!/bin/sh\n"), 0o755))
			}
			check := verifytest.Find(t, look(t, debugKernel(t), files, h), "mount DAX")
			if check.Verdict != test.verdict || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s\nwant %s with %q", check.Verdict, check.Saw, test.verdict, test.saw)
			}
		})
	}
}

// A kernel without the driver of virtio-rng must leave the device alone.
func TestNoHostEntropy(t *testing.T) {
	without := strings.Replace(config, "CONFIG_HW_RANDOM_VIRTIO=y\n", "", 1)
	files := with(with(good(t), "config-"+version, without), "vmlinux-"+version, vmlinux(t, without, btfSection()))
	for device, want := range map[string]report.Verdict{
		"no driver: virtio0, type 0x0004": report.Passed,
		"virtio_rng: virtio0":             report.Failed,
		"no driver: virtio0, type 0x0005": report.Failed,
	} {
		devices := replace(serial.Observation{Name: serial.Devices, Items: []string{device, "virtio_blk: virtio1"}})
		check := verifytest.Find(t, look(t, debugKernel(t), files, bench(t, script(t, devices))), "no virtio-rng")
		if check.Verdict != want || want == report.Failed && !strings.Contains(check.Saw, device) {
			t.Errorf("%s: %s: %s", device, check.Verdict, check.Saw)
		}
	}
}

func TestHang(t *testing.T) {
	for name, test := range map[string]struct{ script, saw, tail string }{
		"silent":  {`exec sleep 60`, "nothing came over ttyS0, which needs the option CONFIG_SERIAL_8250_CONSOLE", ""},
		"early":   {`echo 'Linux version'; exec sleep 60`, "and the init never began", "Linux version"},
		"in init": {guesttest.Say(t, healthy()[:2]...) + `echo 'the last line'; exec sleep 60`, `the last report of the init was "kernel"`, "the last line"},
	} {
		t.Run(name, func(t *testing.T) {
			h := bench(t, test.script)
			h.Timeout = 300 * time.Millisecond
			r := look(t, debugKernel(t), good(t), h)
			check := verifytest.Find(t, r, "boot")
			if check.Verdict != report.Failed || !strings.HasPrefix(check.Saw, "hang: ") || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s", check.Verdict, check.Saw)
			}
			if test.tail != "" && (len(check.Console) == 0 || check.Console[len(check.Console)-1] != test.tail) {
				t.Errorf("the console ends with %q", check.Console)
			}
		})
	}
}

// A program that the machine lacks skips the boot, with advice, and does not count as
// passed.
func TestMissingTools(t *testing.T) {
	for missing, want := range map[string]string{
		"qemu-system-x86_64": "no qemu-system-x86_64 on this machine: apt-get install qemu-system-x86",
		"go":                 "no go in PATH",
		"pipelines":          "no pipelines/internal/verify/kernel/guestinit below",
	} {
		t.Run(missing, func(t *testing.T) {
			h := bench(t, "exit 1")
			require.NoError(t, os.RemoveAll(filepath.Join(h.Root, missing)))
			r := look(t, debugKernel(t), good(t), h)
			check := verifytest.Find(t, r, "boot")
			if check.Verdict != report.Skipped || !strings.Contains(check.Saw, want) {
				t.Errorf("%s: %s", check.Verdict, check.Saw)
			}
			if r.Skipped != 1 || r.Failed != 0 {
				t.Errorf("%d skipped, %d failed", r.Skipped, r.Failed)
			}
		})
	}
}

func TestBrokenInit(t *testing.T) {
	h := bench(t, "exit 1")
	require.NoError(t, os.WriteFile(filepath.Join(h.Tools, "go"), []byte("#!/bin/sh\necho 'main.go:7: undefined: x' >&2; exit 1\n"), 0o755))
	_, err := verify.Run(t.Context(), debugKernel(t), verify.Artifact{Tarball: good(t).Pack(t)}, h)
	require.Error(t, err, "compiling the guest's init: exit status 1\nmain.go:7: undefined: x")
}
