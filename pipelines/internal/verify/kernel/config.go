package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// checkEmbedded compares the file with the configuration in the kernel itself.
func (f *files) checkEmbedded() (saw string, err error) {
	switch {
	case f.config == nil:
		return "", errNoConfig
	case f.full == nil:
		return "", report.Missing("no vmlinux to read it from")
	}
	embedded, err := f.full.Config()
	switch {
	case errors.Is(err, kimage.ErrNone) && f.options["CONFIG_IKCONFIG"] != "y":
		return "", report.Missing("CONFIG_IKCONFIG is off: nothing in the kernel confirms the config file")
	case errors.Is(err, kimage.ErrNone):
		return "", errors.New("the config file has CONFIG_IKCONFIG=y, but there is no configuration in vmlinux")
	case err == nil && !bytes.Equal(embedded, f.config):
		err = fmt.Errorf("vmlinux carries another configuration than the config file: %s",
			firstDifference(embedded, f.config))
	}
	return fmt.Sprintf("equals the config file, %d bytes", len(embedded)), err
}

const errNoConfig = report.Missing("no config in the tarball")

// checkRequested checks that the configuration meets the plan.
func (f *files) checkRequested() (saw string, err error) {
	if f.config == nil {
		return "", errNoConfig
	}
	requested, tolerated := len(f.Plan.Requested.Options), len(f.Plan.Tolerated())
	saw = fmt.Sprintf("%d as requested, %d excepted", requested-tolerated, tolerated)
	return saw, f.Plan.CheckRequested(f.config, nil)
}

// firstDifference returns the first line in which two configurations differ.
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
// otherwise checks that there are none.
func (f *files) checkBTF() (saw string, err error) {
	if f.full == nil || f.config == nil {
		return "", report.Missing("no vmlinux, or no config that says whether it has types")
	}
	expected := f.options["CONFIG_DEBUG_INFO_BTF"] == "y"
	raw, err := f.full.BTF()
	switch {
	case errors.Is(err, kimage.ErrNone) && !expected:
		return "absent, as CONFIG_DEBUG_INFO_BTF is off", nil
	case errors.Is(err, kimage.ErrNone):
		return "", errors.New("CONFIG_DEBUG_INFO_BTF is on, but vmlinux has no .BTF")
	case err != nil:
		return "", err
	case !expected:
		return "", fmt.Errorf("vmlinux has .BTF, %d bytes, and CONFIG_DEBUG_INFO_BTF is off", len(raw))
	}
	return types(raw)
}

// types decodes every type, and looks for the one that most programs use.
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
	pid := slices.IndexFunc(task.Members, func(m btf.Member) bool { return m.Name == "pid" })
	if pid < 0 {
		return "", errors.New("task_struct in .BTF has no pid")
	}
	offset := task.Members[pid].Offset.Bytes()
	return fmt.Sprintf("%d types, task_struct has %d bytes and pid at %d", count, task.Size, offset), nil
}

// checkSymbols compares System.map with vmlinux.
func (f *files) checkSymbols() (saw string, err error) {
	if f.symbols == nil {
		return "", report.Missing("it is not in the tarball")
	}
	count, banner := 0, uint64(0)
	for line := range strings.Lines(string(f.symbols)) {
		count++
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return "", fmt.Errorf("line %d is not a symbol: %.60q", count, line)
		}
		address, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			return "", fmt.Errorf("line %d has no address: %.60q", count, line)
		}
		if fields[2] == "linux_banner" {
			banner = address
		}
	}
	if banner == 0 {
		return "", fmt.Errorf("no linux_banner among %d symbols", count)
	}
	var has, known bool
	if f.full != nil {
		has, known = f.full.HasBanner(banner)
	}
	switch {
	case !known:
		return "", report.Missing(fmt.Sprintf("%d symbols; no vmlinux with addresses to compare them with", count))
	case !has:
		return "", fmt.Errorf("it belongs to another build: vmlinux has no linux_banner at %#x", banner)
	}
	return fmt.Sprintf("%d symbols, linux_banner at %#x as in vmlinux", count, banner), nil
}
