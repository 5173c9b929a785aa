package verify

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kimage"
)

// checkConfig looks at the configuration file: that it is the kernel's own, that
// all that was asked for is in it, and nothing that must not be.
func (k Kernel) checkConfig(report *Report, f *files) {
	if f.config == nil {
		report.Skip("embedded config", "no config in the tarball")
		report.Skip("requested options", "no config in the tarball")
		return
	}
	k.checkEmbedded(report, f)
	if err := k.Plan.CheckRequested(f.config, nil); err != nil {
		report.Fail("requested options", "%v", err)
	} else {
		requested, tolerated := len(k.Plan.Requested.Options), len(k.Plan.Tolerated())
		report.Pass("requested options", "%d as requested, %d excepted", requested-tolerated, tolerated)
	}
	if len(k.Plan.Forbidden) == 0 {
		return
	}
	if err := k.Plan.CheckForbidden(f.config); err != nil {
		report.Fail("forbidden options", "%v", err)
	} else {
		report.Pass("forbidden options", "none of %d that belong to the debug kernel", len(k.Plan.Forbidden))
	}
}

// checkEmbedded compares the file with what the kernel carries in itself.
func (k Kernel) checkEmbedded(report *Report, f *files) {
	const name = "embedded config"
	expected := f.options["CONFIG_IKCONFIG"] == "y"
	if f.vmlinux == nil {
		report.Skip(name, "no vmlinux to read it from")
		return
	}
	embedded, err := f.vmlinux.Config()
	switch {
	case errors.Is(err, kimage.ErrNone) && !expected:
		report.Skip(name, "CONFIG_IKCONFIG is off: nothing in the kernel confirms the config file, whose options are looked at")
	case errors.Is(err, kimage.ErrNone):
		report.Fail(name, "the config file has CONFIG_IKCONFIG=y, but there is no configuration in vmlinux")
	case err != nil:
		report.Fail(name, "%v", err)
	case !bytes.Equal(embedded, f.config):
		report.Fail(name, "vmlinux carries another configuration than the config file: %s", firstDifference(embedded, f.config))
	default:
		report.Pass(name, "equals the config file, %d bytes", len(embedded))
	}
}

// firstDifference tells the first line in which two configurations differ.
func firstDifference(embedded, shipped []byte) string {
	a, b := strings.Split(string(embedded), "\n"), strings.Split(string(shipped), "\n")
	for i := range max(len(a), len(b)) {
		var left, right string
		if i < len(a) {
			left = a[i]
		}
		if i < len(b) {
			right = b[i]
		}
		if left != right {
			return fmt.Sprintf("line %d is %q in vmlinux and %q in the file", i+1, left, right)
		}
	}
	return "they differ in their length alone"
}
