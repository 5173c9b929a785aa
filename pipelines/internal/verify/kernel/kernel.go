// Package kernel verifies guest kernels: it inspects the images, the configuration,
// types, symbols and modules, and boots the kernel in QEMU with a small init, the
// command guestinit, which reports over the serial line (package serial).
package kernel

import (
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

// path returns the path of a file of the kernel in the tarball: vmlinuz, vmlinux, config
// or System.map, or vmlinux.elf, which has the symbols for debuggers where VMMs start
// another vmlinux.
func (k Kernel) path(what string) string {
	version := strings.TrimPrefix(k.Plan.Version, "v")
	return fmt.Sprintf("%s%s-%s-%d%s", folder, what, version, k.Plan.ConfigVersion, k.suffix())
}

func (k Kernel) suffix() string {
	if k.Suffix == "" {
		return ""
	}
	return "-" + k.Suffix
}

// Layout has the four files and two links of every kernel, and vmlinux.elf, which some
// kernels have.
func (k Kernel) Layout() tarball.Layout {
	const maxImage = 4 << 30
	l := tarball.Layout{}
	for _, what := range []string{"vmlinuz", "vmlinux", "vmlinux.elf"} {
		l[k.path(what)] = tarball.File{Mode: 0o644, Max: maxImage}
	}
	for _, what := range []string{"config", "System.map"} {
		l[k.path(what)] = tarball.File{Mode: 0o644}
	}
	for _, what := range []string{"vmlinuz", "vmlinux"} {
		l[folder+what+k.suffix()+".container"] = tarball.File{Link: strings.TrimPrefix(k.path(what), folder)}
	}
	return l
}

// Checks are those of the files and those of the guest; some depend on the
// configuration.
func (Kernel) Checks() []string {
	names := []string{
		"members", "links", "vmlinuz", "vmlinux", "vmlinux.elf", "embedded config", "requested options", "forbidden options",
		"BTF", "System.map", "module signatures", "boot",
	}
	for _, p := range probes {
		names = append(names, p.check)
	}
	return names
}

// Check inspects and boots the kernel.
func (k Kernel) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	f := &files{Kernel: k, r: r, t: t, options: map[string]string{}}
	f.config, f.symbols = t.Read(k.path("config")), t.Read(k.path("System.map"))
	options, _ := kconfig.ParseConfig("", f.config) // CheckRequested reports the error.
	for _, o := range options {
		f.options[o.Name] = o.Value
	}
	layout := k.Layout()
	if !f.separateELF() {
		delete(layout, k.path("vmlinux.elf"))
	}
	layout.Check(r, t, fmt.Sprintf("%d files and 2 links below %s", len(layout)-2, strings.TrimSuffix(folder, "/")))
	layout.CheckLinks(r, t)
	f.vmlinuz, f.vmlinux = f.image("vmlinuz"), f.image("vmlinux")
	f.full = f.vmlinux
	if f.separateELF() {
		f.full = f.image("vmlinux.elf")
	}
	r.Run("embedded config", f.checkEmbedded)
	r.Run("requested options", f.checkRequested)
	if debug, rules := len(k.Plan.Forbidden), len(k.Plan.Rules); debug+rules > 0 && f.config != nil {
		err := k.Plan.CheckForbidden(f.config)
		r.Result("forbidden options", fmt.Sprintf("none of %d that belong to the debug kernel, none of those in %d rules", debug, rules), err)
	}
	r.Run("BTF", f.checkBTF)
	r.Run("System.map", f.checkSymbols)
	if k.Modules {
		r.Run("module signatures", func() (string, error) { return f.checkModules(ctx) })
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
	// full is the image with all sections: vmlinux.elf, or vmlinux where there is no
	// vmlinux.elf.
	full            *kimage.Image
	config, symbols []byte
	// options are those of config.
	options map[string]string
}

// separateELF reports whether the kernel must have a vmlinux.elf: where VMMs start a
// raw or a compressed vmlinux, its symbols and debug information are in a file of
// their own.
func (f *files) separateELF() bool {
	return (f.Arch == "aarch64" || f.Arch == "s390x") && f.options["CONFIG_DEBUG_INFO"] == "y"
}

var short = regexp.MustCompile(`^(\d+\.\d+)(-.*)?$`)

// release is what `uname -r` prints: Linux calls 6.19 and its candidates 6.19.0 and
// 6.19.0-rc1, and appends CONFIG_LOCALVERSION.
func (f *files) release() string {
	version := short.ReplaceAllString(strings.TrimPrefix(f.Plan.Version, "v"), "${1}.0${2}")
	return version + strings.Trim(f.options["CONFIG_LOCALVERSION"], `"`)
}
