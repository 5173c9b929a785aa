package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kimage"
)

// Kernel is what the tree says of a guest kernel.
type Kernel struct {
	// Asset is its name, Arch its architecture as `uname -m` prints it.
	Asset, Arch string
	// Suffix ends the names of the files.
	Suffix string
	// Plan is that of its configuration.
	Plan *kconfig.Plan
	// Modules is the tarball of the modules, "" for a kernel without any.
	Modules string
	// Certificate is the PEM certificate that modules are signed with, nil
	// where the tree declares none.
	Certificate []byte
}

// Verify looks at a kernel's tarball. The error is for what is no tarball, and
// for a machine on which nothing can be verified; what is wrong with the kernel
// is in the report.
func (k Kernel) Verify(ctx context.Context, tarball string, boot Boot) (*Report, error) {
	dir, err := os.MkdirTemp("", "kata-verify-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the files of the kernel: %w", err)
	}
	defer os.RemoveAll(dir)
	names := k.names()
	members, err := unpack(tarball, dir, names)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", tarball, err)
	}
	report := &Report{Asset: k.Asset, Arch: k.Arch, Tarball: tarball}
	k.checkMembers(report, members)
	files, err := k.open(report, dir)
	if err != nil {
		return nil, err
	}
	k.checkConfig(report, files)
	k.checkBTF(report, files)
	k.checkSymbols(report, files)
	if err := k.checkModules(report, files); err != nil {
		return nil, err
	}
	if err := boot.run(ctx, report, k, files, dir); err != nil {
		return nil, err
	}
	return report, nil
}

// files are the parts of a kernel that could be read; those that could not are
// nil, and a check has said so.
type files struct {
	vmlinuz, vmlinux *kimage.Image
	// path is that of vmlinuz on disk.
	path   string
	config []byte
	// options are those of config.
	options map[string]string
	symbols []byte
	// release is what `uname -r` must print.
	release string
}

// names are those of the files of a kernel, by what they are.
type names struct{ vmlinuz, vmlinux, config, symbols string }

func (n names) all() []string { return []string{n.symbols, n.config, n.vmlinux, n.vmlinuz} }

// folder is where a kernel is installed.
const folder = "opt/kata/share/kata-containers"

func (k Kernel) names() names {
	version := strings.TrimPrefix(k.Plan.Version, "v") + "-" + strconv.Itoa(k.Plan.ConfigVersion) + k.suffix()
	return names{"vmlinuz-" + version, "vmlinux-" + version, "config-" + version, "System.map-" + version}
}

func (k Kernel) suffix() string {
	if k.Suffix == "" {
		return ""
	}
	return "-" + k.Suffix
}

// unpack lists the tarball and puts the files of the kernel into dir.
func unpack(tarball, dir string, names names) ([]archive.Member, error) {
	const maxFile = 4 << 30
	file, err := os.Open(tarball)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return archive.Extract(file, func(name string, size int64) (string, error) {
		for _, wanted := range names.all() {
			if name != "./"+folder+"/"+wanted {
				continue
			}
			if size > maxFile {
				return "", fmt.Errorf("it has %d bytes: a kernel has less than %d", size, int64(maxFile))
			}
			return filepath.Join(dir, wanted), nil
		}
		return "", nil
	})
}

// open reads the files, and checks the images on the way.
func (k Kernel) open(report *Report, dir string) (*files, error) {
	names := k.names()
	f := &files{path: filepath.Join(dir, names.vmlinuz)}
	var err error
	if f.config, err = optional(filepath.Join(dir, names.config)); err != nil {
		return nil, err
	}
	if f.symbols, err = optional(filepath.Join(dir, names.symbols)); err != nil {
		return nil, err
	}
	f.options = options(f.config)
	f.release = release(k.Plan.Version, f.options)
	if f.vmlinuz, err = k.image(report, "vmlinuz", f.path, f.release); err != nil {
		return nil, err
	}
	f.vmlinux, err = k.image(report, "vmlinux", filepath.Join(dir, names.vmlinux), f.release)
	return f, err
}

// optional reads a file that may be missing.
func optional(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

var (
	optionLine = regexp.MustCompile(`^(CONFIG_[A-Za-z0-9_]+)=(.*)$`)
	shortRe    = regexp.MustCompile(`^(\d+\.\d+)(-.*)?$`)
)

// options returns what a .config sets; what is not set is not there.
func options(config []byte) map[string]string {
	values := map[string]string{}
	for line := range bytes.Lines(config) {
		if m := optionLine.FindSubmatch(bytes.TrimSpace(line)); m != nil {
			values[string(m[1])] = string(m[2])
		}
	}
	return values
}

// release is what `uname -r` prints for a pin: Linux calls 6.19 and its
// candidates 6.19.0 and 6.19.0-rc1, and appends what the configuration says.
func release(pin string, options map[string]string) string {
	version := strings.TrimPrefix(pin, "v")
	if m := shortRe.FindStringSubmatch(version); m != nil {
		version = m[1] + ".0" + m[2]
	}
	return version + strings.Trim(options["CONFIG_LOCALVERSION"], `"`)
}
