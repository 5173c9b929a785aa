// Package kernel verifies guest kernels: it inspects the images, the configuration,
// types, symbols and modules, and boots the kernel in QEMU with a small init, the
// command guestinit, which reports over the serial line (package serial).
package kernel

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Kernel is what the tree says about a guest kernel.
type Kernel struct {
	// Arch is its architecture as `uname -m` prints it.
	Arch string
	// Suffix ends the names of the files.
	Suffix string
	// Plan is that of its configuration.
	Plan *kconfig.Plan
	// Modules says that it has a secondary tarball of modules, ModulesOutput.
	Modules bool
	// Certificate is the PEM certificate that modules are signed with, nil if the
	// tree declares none.
	Certificate []byte
}

// ModulesOutput is the name of the secondary tarball of modules.
const ModulesOutput = "modules"

// folder is where a kernel is installed.
const folder = "opt/kata/share/kata-containers/"

// path is that of a file of the kernel in the tarball: of vmlinuz, vmlinux, config
// or System.map, or of vmlinux.elf, which has the symbols for debuggers where VMMs
// start another vmlinux.
func (k Kernel) path(what string) string {
	return fmt.Sprintf("%s%s-%s-%d%s", folder, what, strings.TrimPrefix(k.Plan.Version, "v"), k.Plan.ConfigVersion, k.suffix())
}

func (k Kernel) suffix() string {
	if k.Suffix == "" {
		return ""
	}
	return "-" + k.Suffix
}

// Layout has the four files and two links of every kernel.
func (k Kernel) Layout() tarball.Layout {
	l := tarball.Layout{
		Files: map[string]tarball.File{}, Optional: []string{k.path("vmlinux.elf")},
		Limit: 4 << 30, What: "a kernel",
	}
	for _, what := range []string{"vmlinuz", "vmlinux", "config", "System.map"} {
		l.Files[k.path(what)] = tarball.File{Mode: 0o644}
	}
	for _, what := range []string{"vmlinuz", "vmlinux"} {
		l.Files[folder+what+k.suffix()+".container"] = tarball.File{Link: strings.TrimPrefix(k.path(what), folder)}
	}
	return l
}

// Checks are those of the files, and those of the guest, of which some depend on
// the configuration.
func (Kernel) Checks() []string {
	names := []string{
		"members", "links", "vmlinuz", "vmlinux", "vmlinux.elf", "embedded config", "requested options", "forbidden options",
		"BTF", "System.map", "module signatures", "boot", "running release", "running machine", "/proc/config.gz",
		"/sys/kernel/btf", "same build", "taint", "virtio drivers", "vsock sockets", "mount tmpfs", "mount overlay",
		"mount ext4", "mount debugfs", "mount tracefs", "cgroup v2", "device rules", "BPF event",
	}
	for _, device := range devices {
		names = append(names, device.name)
	}
	return names
}

// Check inspects and boots the kernel.
func (k Kernel) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	f := &files{Kernel: k, r: r, t: t}
	if err := f.read(); err != nil {
		return err
	}
	layout := k.Layout()
	if f.separateELF() {
		layout.Files[k.path("vmlinux.elf")] = tarball.File{Mode: 0o644}
	}
	layout.Check(r, t, fmt.Sprintf("%d files and 2 links below %s", len(layout.Files)-2, strings.TrimSuffix(folder, "/")))
	layout.CheckLinks(r, t)
	if err := f.open(); err != nil {
		return err
	}
	f.checkConfig()
	f.checkBTF()
	f.checkSymbols()
	if err := f.checkModules(); err != nil {
		return err
	}
	return f.boot(ctx, h)
}

// files are the parts of a kernel that could be read; those that could not are nil,
// and a check has reported it.
type files struct {
	Kernel
	r *report.Report
	t *tarball.Tarball

	vmlinuz, vmlinux *kimage.Image
	// full is the image with all that a kernel can have in it: vmlinux.elf, or
	// vmlinux where it is the same.
	full            *kimage.Image
	config, symbols []byte
	// options are those of config.
	options map[string]string
	// release is what `uname -r` must print.
	release string
}

// read reads the files that are no images.
func (f *files) read() (err error) {
	if f.config, err = f.t.Read(f.path("config")); err != nil {
		return err
	}
	if f.symbols, err = f.t.Read(f.path("System.map")); err != nil {
		return err
	}
	f.options = options(f.config)
	f.release = release(f.Plan.Version, f.options)
	return nil
}

// separateELF says whether the kernel must have a vmlinux.elf: where VMMs start a
// raw or a compressed vmlinux, its symbols and debug information are in a file of
// their own.
func (f *files) separateELF() bool {
	return (f.Arch == "aarch64" || f.Arch == "s390x") && f.options["CONFIG_DEBUG_INFO"] == "y"
}

// open reads and checks the images.
func (f *files) open() (err error) {
	if f.vmlinuz, err = f.image("vmlinuz"); err != nil {
		return err
	}
	if f.vmlinux, err = f.image("vmlinux"); err != nil {
		return err
	}
	f.full = f.vmlinux
	if f.separateELF() {
		f.full, err = f.image("vmlinux.elf")
	}
	return err
}

var (
	optionLine = regexp.MustCompile(`^(CONFIG_[A-Za-z0-9_]+)=(.*)$`)
	shortRe    = regexp.MustCompile(`^(\d+\.\d+)(-.*)?$`)
)

// options returns what a .config sets; options that are not set are absent.
func options(config []byte) map[string]string {
	values := map[string]string{}
	for line := range bytes.Lines(config) {
		if m := optionLine.FindSubmatch(bytes.TrimSpace(line)); m != nil {
			values[string(m[1])] = string(m[2])
		}
	}
	return values
}

// release is what `uname -r` prints for a pin: Linux calls 6.19 and its candidates
// 6.19.0 and 6.19.0-rc1, and appends CONFIG_LOCALVERSION.
func release(pin string, options map[string]string) string {
	version := strings.TrimPrefix(pin, "v")
	if m := shortRe.FindStringSubmatch(version); m != nil {
		version = m[1] + ".0" + m[2]
	}
	return version + strings.Trim(options["CONFIG_LOCALVERSION"], `"`)
}
