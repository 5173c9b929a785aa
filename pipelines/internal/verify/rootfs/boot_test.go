package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/guestimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// TestWays: images boot as Kata's runtimes boot them.
func TestWays(t *testing.T) {
	verity := guestimage.Verity{RootHash: bytes.Repeat([]byte{0xab}, 32), Salt: []byte{0x12}, DataBlocks: 16}
	image := func(filesystem string, dax, measured bool) *Image {
		return &Image{Image: recipe.Image{Filesystem: filesystem, Measured: measured}, Layout: guestimage.Layout{DAX: dax}, Verity: verity}
	}
	create := func(disk string) string {
		return fmt.Sprintf(`dm-mod.create="dm-verity,,,ro,0 128 verity 1 %s1 %s2 4096 4096 16 0 sha256 %x 12" `, disk, disk, verity.RootHash)
	}
	for name, test := range map[string]struct {
		bootable
		arch string
		want []string
	}{
		"initrd": {bootable{initrd: "x"}, "x86_64", []string{"boot: "}},
		"ext4":   {bootable{image: image("ext4", false, false)}, "x86_64", []string{"boot: root=/dev/vda1 rootflags=data=ordered,errors=remount-ro rootfstype=ext4 ro"}},
		"erofs, DAX": {bootable{image: image("erofs", true, false)}, "x86_64", []string{
			"boot: root=/dev/vda1 rootflags=ro rootfstype=erofs ro", "boot as NVDIMM: root=/dev/pmem0p1 rootflags=dax,ro rootfstype=erofs ro",
		}},
		"DAX on s390x": {bootable{image: image("erofs", true, false)}, "s390x", []string{"boot: root=/dev/vda1 rootflags=ro rootfstype=erofs ro"}},
		"measured": {bootable{image: image("ext4", true, true)}, "x86_64", []string{
			"boot: " + create("/dev/vda") + "root=/dev/dm-0 rootflags=data=ordered,errors=remount-ro rootfstype=ext4 ro",
			"boot as NVDIMM: " + create("/dev/pmem0p") + "root=/dev/dm-0 rootflags=data=ordered,errors=remount-ro rootfstype=ext4 ro",
			"boot of a changed image: " + create("/dev/vda") + "root=/dev/dm-0 rootflags=data=ordered,errors=remount-ro rootfstype=ext4 ro",
		}},
	} {
		machine, _ := host.ForArch(test.arch)
		var got []string
		for _, w := range test.ways(machine) {
			got = append(got, w.check+": "+w.parameters)
		}
		if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

// TestChange flips one bit of the first byte of the root filesystem, and flips it back.
func TestChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image")
	before := []byte("table|root")
	if err := os.WriteFile(file, before, 0o600); err != nil {
		t.Fatal(err)
	}
	b := bootable{image: &Image{File: file, Layout: guestimage.Layout{Root: guestimage.Extent{Start: 6, Size: 4}}}}
	for _, want := range []string{"table|soot", string(before)} {
		if err := b.change(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
}

const (
	targetLine  = "[  OK  ] Reached target kata-containers.target - Kata Containers Agent Target."
	unitLine    = "\x1b[0;32m  OK  \x1b[0m] Started kata-agent.service - Kata Containers Agent."
	systemdLine = "[    3.1] systemd[1]: Detected architecture x86-64."
	mountLine   = "[  OK  ] Finished \x1b[0;1;39mkata-extension-mount@devk\u2026ce\x1b[0m - Extension devkit of the guest."
	panicLine   = "[    1.4] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(253,0)"
	corruptLine = "[    1.3] device-mapper: verity: 254:1: data block 0 is corrupted"
)

// TestOutcome judges boots by their consoles and by what the agent did.
func TestOutcome(t *testing.T) {
	answered := dialogue{answered: 2 * time.Second}
	for name, test := range map[string]struct {
		lines     []string
		d         dialogue
		dax       bool
		changed   bool
		extension string
		result    host.Result
		want      string
	}{
		"extension":    {lines: []string{systemdLine, mountLine, targetLine, unitLine}, d: answered, extension: "devkit", want: "extension devkit mounted; kata-containers.target reached, kata-agent.service started; the agent answered 2.0 s after QEMU's start"},
		"no extension": {lines: []string{systemdLine, targetLine, unitLine}, d: answered, extension: "devkit", want: "the agent answers, but systemd has not mounted the extension devkit"},

		"systemd":      {lines: []string{systemdLine, targetLine, unitLine}, d: answered, want: "kata-containers.target reached, kata-agent.service started; the agent answered 2.0 s after QEMU's start"},
		"first":        {lines: []string{"a kernel"}, d: answered, want: "the agent is the first process; the agent answered 2.0 s after QEMU's start"},
		"DAX":          {lines: []string{systemdLine, targetLine, unitLine}, d: answered, dax: true, want: "mounted with DAX; kata-containers.target reached, kata-agent.service started; the agent answered 2.0 s after QEMU's start"},
		"silent":       {lines: []string{"a kernel"}, result: host.Result{Elapsed: time.Minute}, want: "the agent did not answer within 60 s: the last line of the console is a kernel"},
		"nothing":      {want: "the agent did not answer within 0 s: nothing came over the console"},
		"panic":        {lines: []string{panicLine}, want: "the agent did not answer within 0 s: panic: Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(253,0)"},
		"failed unit":  {lines: []string{systemdLine, "[FAILED] Failed to start kata-agent.service - Kata Containers Agent."}, want: "the agent did not answer within 0 s: [FAILED] Failed to start kata-agent.service - Kata Containers Agent."},
		"no DAX":       {lines: []string{"[ 1.0] erofs: (device pmem0p1): DAX unsupported by block device. Turning off DAX."}, d: answered, dax: true, want: "the agent answers, but without DAX: [ 1.0] erofs: (device pmem0p1): DAX unsupported by block device. Turning off DAX."},
		"QEMU":         {result: host.Result{Ending: host.Refused, Stderr: "no such device"}, want: "QEMU failed: no such device"},
		"refused":      {lines: []string{corruptLine, panicLine}, changed: true, want: "refused: " + corruptLine + "; panic: Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(253,0)"},
		"not refused":  {lines: []string{corruptLine}, d: answered, changed: true, want: "it boots, although one byte was changed after it was hashed"},
		"other reason": {lines: []string{panicLine}, changed: true, want: "it does not boot, but dm-verity does not say that it is corrupt; after 0.0 s: panic: Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(253,0)"},
	} {
		c := newConsole()
		for _, line := range test.lines {
			c.line(line)
		}
		got, err := way{changed: test.changed, dax: test.dax, extension: test.extension}.outcome(c.soFar(), &test.d, test.result)
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestUp: systemd is up when it has reached the target and started the agent, in any order.
func TestUp(t *testing.T) {
	for name, lines := range map[string][]string{
		"target": {targetLine, unitLine, unitLine}, "agent": {unitLine, targetLine},
	} {
		c := newConsole()
		for i, line := range lines {
			select {
			case <-c.up:
				if i < 2 {
					t.Errorf("%s: up before line %d", name, i)
				}
			default:
			}
			c.line(line)
		}
		select {
		case <-c.up:
		default:
			t.Errorf("%s: not up", name)
		}
	}
}

// TestSee: what cannot boot is skipped, and what an image has decides what its agent is asked.
func TestSee(t *testing.T) {
	s := &subject{contents: []contents{
		{name: "a.image", entries: []entry{{path: "sbin/init"}, {path: "pause_bundle/config.json"}}},
		{name: "b.image", entries: []entry{{path: "usr/sbin/bpftool"}}},
	}}
	for name, want := range map[string]string{
		"a.image": "pause", "b.image": "b.image has no init", "c.image": "no filesystem could be read: see the checks before",
	} {
		b := bootable{image: &Image{Image: recipe.Image{Path: "opt/kata/" + name}}}
		err := s.see(&b)
		missing, _ := report.AsMissing(err)
		if got := string(missing); got != want && (want != "pause" || !b.pause || b.tools || err != nil) {
			t.Errorf("%s: %v, %+v", name, err, b)
		}
	}
}

// fakes are a machine without guests: QEMU is a script, and the agent's stand-in answers for the
// guest.
func fakes(t *testing.T, qemu string) bootable {
	t.Helper()
	dir := t.TempDir()
	b := bootable{arch: "x86_64", dir: dir, initrd: filepath.Join(dir, "initrd"), Host: host.Host{
		Tools: filepath.Join(dir, "tools"), Cache: filepath.Join(dir, "cache"), Kernel: filepath.Join(dir, "kernel.tar.zst"),
		Accelerator: "tcg", Timeout: 20 * time.Second, Grace: time.Second,
	}}
	tree := filepath.Join(dir, "tree")
	for path, content := range map[string]string{
		filepath.Join(b.Tools, "qemu-system-x86_64"):                "#!/bin/sh\n" + qemu,
		filepath.Join(tree, "opt/kata/share/vmlinuz-6.18.15-188"):   "a kernel",
		filepath.Join(b.Cache, "vhost-device-vsock-0.3.0/bin/none"): "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := archive.Pack(t.Context(), tree, b.Kernel, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	daemon := filepath.Join(b.Cache, "vhost-device-vsock-0.3.0/bin/vhost-device-vsock")
	if err := (host.Host{}).GoBuild(t.Context(), ".", nil, "-o", daemon, "./testdata/vsock"); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBoot boots guests of a script: the agent that answers is the stand-in.
func TestBoot(t *testing.T) {
	if host.Usable(host.VhostVsock) == nil {
		t.Skip("this machine has a vsock device, which the script has not")
	}
	const how = "the agent answered [0-9.]+ s after QEMU's start"
	for name, test := range map[string]struct{ qemu, want string }{
		"first": {"exec sleep 20", "passed boot: the agent is the first process; " + how +
			"\npassed agent: a stand-in \\(0.0.0-stand-in\\) serves, with the interface 0.0.1"},
		"refused": {"echo no such device >&2; exit 1", "failed boot: QEMU failed: no such device"},
	} {
		var r report.Report
		b := fakes(t, test.qemu)
		if err := b.boot(t.Context(), &r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, check := range r.Checks {
			got = append(got, fmt.Sprintf("%s %s: %s", check.Verdict, check.Name, check.Saw))
		}
		if text := strings.Join(got, "\n"); !regexp.MustCompile("^" + test.want + "$").MatchString(text) {
			t.Errorf("%s:\n%s\nwant\n%s", name, text, test.want)
		}
	}
}
