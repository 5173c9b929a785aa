package verify

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kimage"
)

// checkBTF parses the types of the kernel where its configuration promises
// them, and makes sure that there are none where it does not.
func (k Kernel) checkBTF(report *Report, f *files) {
	const name = "BTF"
	if f.vmlinux == nil || f.config == nil {
		report.Skip(name, "no vmlinux, or no config that tells whether it has types")
		return
	}
	expected := f.options["CONFIG_DEBUG_INFO_BTF"] == "y"
	raw, err := f.vmlinux.BTF()
	switch {
	case errors.Is(err, kimage.ErrNone) && !expected:
		report.Pass(name, "absent, as CONFIG_DEBUG_INFO_BTF is off")
	case errors.Is(err, kimage.ErrNone):
		report.Fail(name, "CONFIG_DEBUG_INFO_BTF is on, but vmlinux has no .BTF")
	case err != nil:
		report.Fail(name, "%v", err)
	case !expected:
		report.Fail(name, "vmlinux has .BTF, %d bytes, and CONFIG_DEBUG_INFO_BTF is off", len(raw))
	default:
		saw, err := types(raw)
		if err != nil {
			report.Fail(name, "%v", err)
			return
		}
		report.Pass(name, "%s", saw)
	}
}

// types decodes every type, and finds the one that most programs ask for.
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

// checkSymbols holds System.map against vmlinux.
func (k Kernel) checkSymbols(report *Report, f *files) {
	const name = "System.map"
	if f.symbols == nil {
		report.Skip(name, "it is not in the tarball")
		return
	}
	count, banner := 0, uint64(0)
	for line := range bytes.Lines(f.symbols) {
		fields := strings.Fields(string(line))
		if len(fields) != 3 {
			report.Fail(name, "line %d is no symbol: %.60q", count+1, line)
			return
		}
		address, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			report.Fail(name, "line %d has no address: %.60q", count+1, line)
			return
		}
		if fields[2] == "linux_banner" {
			banner = address
		}
		count++
	}
	if banner == 0 {
		report.Fail(name, "no linux_banner among %d symbols", count)
		return
	}
	var has, known bool
	if f.vmlinux != nil {
		has, known = f.vmlinux.HasBanner(banner)
	}
	switch {
	case !known:
		report.Skip(name, "%d symbols; there is no vmlinux with addresses to compare them with", count)
	case !has:
		report.Fail(name, "it is of another build than vmlinux, which has something else where linux_banner should be, at %#x", banner)
	default:
		report.Pass(name, "%d symbols, linux_banner at %#x as in vmlinux", count, banner)
	}
}
