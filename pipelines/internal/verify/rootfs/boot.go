package rootfs

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/guestimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// The checks of booting. Those from agentCheck on belong to the first way that boots.
const (
	bootCheck      = "boot"
	nvdimmCheck    = "boot as NVDIMM"
	changedCheck   = "boot of a changed image"
	agentCheck     = "agent"
	extensionCheck = "extension"
	containerCheck = "container"
	typesCheck     = "types of the kernel"
)

// bootChecks are the names of all of them.
var bootChecks = []string{bootCheck, nvdimmCheck, changedCheck, agentCheck, extensionCheck, containerCheck, typesCheck}

// bootable is a root filesystem to boot.
type bootable struct {
	host.Host
	arch, dir string
	// image is nil for an initrd, whose path initrd is.
	image  *Image
	initrd string
	// extension is the image that the guest mounts in addition, nil for none.
	extension *extension
	// pause says that it has the pause bundle, and tools that it has bpftool.
	pause, tools bool
}

// boot boots every root filesystem in each way that runtimes use and this machine can emulate.
func (s *subject) boot(r *report.Report) error {
	all := make([]bootable, len(s.images))
	for i := range s.images {
		all[i].image = &s.images[i]
	}
	if s.Initrd != "" {
		all = append(all, bootable{initrd: s.t.Path(s.Initrd)})
	}
	for i, b := range all {
		b.Host, b.arch, b.dir = s.Host, s.Arch, filepath.Join(s.t.Dir, fmt.Sprintf("boot%d", i))
		if err := os.Mkdir(b.dir, 0o755); err != nil {
			return err
		}
		err := s.see(&b)
		if err == nil {
			err = b.boot(s.ctx, r)
		}
		if missing, skipped := report.AsMissing(err); skipped {
			r.Result(bootCheck, "", missing)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// see looks at what a root filesystem has. Without an init the error is a report.Missing.
func (s *subject) see(b *bootable) error {
	name := path.Base(s.Initrd)
	if b.image != nil {
		name = path.Base(b.image.Path)
	}
	i := slices.IndexFunc(s.contents, func(c contents) bool { return c.name == name })
	if i < 0 {
		return s.nothing()
	}
	has := func(paths ...string) bool {
		return slices.ContainsFunc(s.contents[i].entries, func(e entry) bool { return slices.Contains(paths, e.path) })
	}
	b.tools = has("sbin/bpftool", "usr/sbin/bpftool")
	if s.Extension != "" {
		return s.extend(b)
	}
	if !has("init", "sbin/init", "usr/sbin/init") {
		return report.Missing(name + " has no init")
	}
	b.pause = has("pause_bundle/config.json")
	return nil
}

// way is one way to boot a root filesystem.
type way struct {
	check string
	guest host.Guest
	// parameters are those of the kernel.
	parameters string
	// dax says that the root filesystem must be mounted with DAX: with dm-verity it is not.
	dax bool
	// changed says that a byte is changed before, so that it must not boot.
	changed bool
	// extension is the name of the extension that systemd must mount, "" for none.
	extension string
}

// boot boots a root filesystem with a guest kernel of this tree.
func (b bootable) boot(ctx context.Context, r *report.Report) error {
	m, err := newMonitor(ctx, b)
	if err != nil {
		return fmt.Errorf("preparing the guest: %w", err)
	}
	booted := false
	for _, w := range b.ways(m.machine) {
		d := &dialogue{bootable: b, brief: booted || w.changed}
		check, err := m.boot(ctx, w, d)
		if err != nil {
			return fmt.Errorf("booting the guest: %w", err)
		}
		r.Add(check)
		d.add(r)
		booted = booted || check.Verdict == report.Passed
	}
	return nil
}

// ways returns the ways to boot, the plainest first.
func (b bootable) ways(machine host.Machine) []way {
	if b.image == nil {
		return []way{{check: bootCheck, guest: host.Guest{Initrd: b.initrd}}}
	}
	disk := way{check: bootCheck, guest: host.Guest{Disk: b.image.File}, parameters: b.root("/dev/vda", false)}
	if b.extension != nil {
		b.extension.attach(&disk)
	}
	ways := []way{disk}
	if b.extension == nil && b.image.Layout.DAX && machine.NVDIMM != nil {
		ways = append(ways, way{check: nvdimmCheck, guest: host.Guest{NVDIMM: b.image.File}, parameters: b.root("/dev/pmem0p", true), dax: !b.image.Measured})
	}
	if b.tested().Measured {
		disk.check, disk.changed = changedCheck, true
		ways = append(ways, disk)
	}
	return ways
}

// root returns the parameters of the kernel that Kata's runtimes have for the root filesystem
// on the partitions of a disk.
func (b bootable) root(partition string, dax bool) string {
	device, flags := partition+"1", "ro"
	if b.image.Filesystem == guestimage.Ext4 {
		flags = "data=ordered,errors=remount-ro"
	}
	create := ""
	switch {
	case b.image.Measured:
		create = fmt.Sprintf("dm-mod.create=%q ", b.image.Verity.Create(partition+"1", partition+"2"))
		device = "/dev/dm-0"
	case dax:
		flags = "dax," + flags
	}
	return fmt.Sprintf("%sroot=%s rootflags=%s rootfstype=%s ro", create, device, flags, b.image.Filesystem)
}

// tested returns the image of the asset.
func (b bootable) tested() *Image {
	if b.extension != nil {
		return &b.extension.Image
	}
	return b.image
}

// change flips a bit of the first byte of the filesystem, and a second time flips it back.
// No filesystem uses that byte, so only dm-verity can refuse the image.
func (b bootable) change() error {
	image := b.tested()
	file, err := os.OpenFile(image.File, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	first, at := make([]byte, 1), image.Layout.Root.Start
	if _, err := file.ReadAt(first, at); err != nil {
		return err
	}
	first[0] ^= 1
	if _, err := file.WriteAt(first, at); err != nil {
		return err
	}
	return file.Close()
}

// common are the parameters of the kernel for every way: those of Kata's runtimes, and what
// shows on the console how far systemd gets.
const common = "systemd.unit=kata-containers.target systemd.mask=systemd-networkd.service systemd.mask=systemd-networkd.socket " +
	"systemd.show_status=1 systemd.status_unit_format=combined systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all"

// newMonitor finds what boots need; the error is a report.Missing for what this machine lacks.
func newMonitor(ctx context.Context, b bootable) (*monitor, error) {
	m := &monitor{Host: b.Host, dir: b.dir}
	var err error
	if m.machine, m.qemu, err = b.MachineFor(b.arch); err != nil {
		return nil, err
	}
	if m.kernel, err = guest.Kernel(b.Host, b.arch, "vmlinuz", b.dir); err != nil {
		return nil, err
	}
	return m, m.findVsock(ctx)
}
