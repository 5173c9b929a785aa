package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage"
)

// checkConfig checks the configuration file: that it is the kernel's own, and that
// it meets the plan.
func (f *files) checkConfig() {
	if f.config == nil {
		f.r.Skip("embedded config", "no config in the tarball")
		f.r.Skip("requested options", "no config in the tarball")
		return
	}
	f.checkEmbedded()
	requested, tolerated := len(f.Plan.Requested.Options), len(f.Plan.Tolerated())
	f.r.Result("requested options", f.Plan.CheckRequested(f.config, nil), "%d as requested, %d excepted", requested-tolerated, tolerated)
	if forbidden := len(f.Plan.Forbidden); forbidden > 0 {
		f.r.Result("forbidden options", f.Plan.CheckForbidden(f.config), "none of %d that belong to the debug kernel", forbidden)
	}
}

// checkEmbedded compares the file with the configuration in the kernel itself.
func (f *files) checkEmbedded() {
	const name = "embedded config"
	expected := f.options["CONFIG_IKCONFIG"] == "y"
	if f.full == nil {
		f.r.Skip(name, "no vmlinux to read it from")
		return
	}
	embedded, err := f.full.Config()
	switch {
	case errors.Is(err, kimage.ErrNone) && !expected:
		f.r.Skip(name, "CONFIG_IKCONFIG is off: nothing in the kernel confirms the config file")
	case errors.Is(err, kimage.ErrNone):
		f.r.Fail(name, "the config file has CONFIG_IKCONFIG=y, but there is no configuration in vmlinux")
	case err != nil:
		f.r.Fail(name, "%v", err)
	case !bytes.Equal(embedded, f.config):
		f.r.Fail(name, "vmlinux carries another configuration than the config file: %s", firstDifference(embedded, f.config))
	default:
		f.r.Pass(name, "equals the config file, %d bytes", len(embedded))
	}
}

// firstDifference is the first line in which two configurations differ.
func firstDifference(embedded, shipped []byte) string {
	a, b := strings.Split(string(embedded), "\n"), strings.Split(string(shipped), "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is %q in vmlinux and %q in the file", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("it has %d lines in vmlinux and %d in the file", len(a), len(b))
}

// checkBTF parses the types of the kernel if its configuration promises them, and
// else makes sure that there are none.
func (f *files) checkBTF() {
	const name = "BTF"
	if f.full == nil || f.config == nil {
		f.r.Skip(name, "no vmlinux, or no config that says whether it has types")
		return
	}
	expected := f.options["CONFIG_DEBUG_INFO_BTF"] == "y"
	raw, err := f.full.BTF()
	switch {
	case errors.Is(err, kimage.ErrNone) && !expected:
		f.r.Pass(name, "absent, as CONFIG_DEBUG_INFO_BTF is off")
	case errors.Is(err, kimage.ErrNone):
		f.r.Fail(name, "CONFIG_DEBUG_INFO_BTF is on, but vmlinux has no .BTF")
	case err != nil:
		f.r.Fail(name, "%v", err)
	case !expected:
		f.r.Fail(name, "vmlinux has .BTF, %d bytes, and CONFIG_DEBUG_INFO_BTF is off", len(raw))
	default:
		saw, err := types(raw)
		f.r.Result(name, err, "%s", saw)
	}
}

// types decodes every type, and finds the one that most programs use.
func types(raw []byte) (saw string, err error) {
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return "", fmt.Errorf("parsing .BTF: %w", err)
	}
	count := 0
	for kind, err := range spec.All() {
		if err != nil {
			return "", fmt.Errorf("parsing type %d of .BTF: %w", count, err)
		}
		if _, void := kind.(*btf.Void); !void {
			count++
		}
	}
	var task *btf.Struct
	if err := spec.TypeByName("task_struct", &task); err != nil {
		return "", fmt.Errorf("looking for task_struct among %d types of .BTF: %w", count, err)
	}
	for _, member := range task.Members {
		if member.Name == "pid" {
			return fmt.Sprintf("%d types, task_struct has %d bytes and pid at %d", count, task.Size, member.Offset.Bytes()), nil
		}
	}
	return "", errors.New("task_struct in .BTF has no pid")
}

// checkSymbols compares System.map with vmlinux.
func (f *files) checkSymbols() {
	const name = "System.map"
	if f.symbols == nil {
		f.r.Skip(name, "it is not in the tarball")
		return
	}
	count, banner := 0, uint64(0)
	for line := range bytes.Lines(f.symbols) {
		fields := strings.Fields(string(line))
		if len(fields) != 3 {
			f.r.Fail(name, "line %d is not a symbol: %.60q", count+1, line)
			return
		}
		address, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			f.r.Fail(name, "line %d has no address: %.60q", count+1, line)
			return
		}
		if fields[2] == "linux_banner" {
			banner = address
		}
		count++
	}
	if banner == 0 {
		f.r.Fail(name, "no linux_banner among %d symbols", count)
		return
	}
	var has, known bool
	if f.full != nil {
		has, known = f.full.HasBanner(banner)
	}
	switch {
	case !known:
		f.r.Skip(name, "%d symbols; no vmlinux with addresses to compare them with", count)
	case !has:
		f.r.Fail(name, "it is of another build: vmlinux has no linux_banner at %#x", banner)
	default:
		f.r.Pass(name, "%d symbols, linux_banner at %#x as in vmlinux", count, banner)
	}
}
