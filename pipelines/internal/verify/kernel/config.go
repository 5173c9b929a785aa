package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

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
	if err := f.Plan.CheckRequested(f.config, nil); err != nil {
		f.r.Fail("requested options", "%v", err)
	} else {
		requested, tolerated := len(f.Plan.Requested.Options), len(f.Plan.Tolerated())
		f.r.Pass("requested options", "%d as requested, %d excepted", requested-tolerated, tolerated)
	}
	if len(f.Plan.Forbidden) == 0 {
		return
	}
	if err := f.Plan.CheckForbidden(f.config); err != nil {
		f.r.Fail("forbidden options", "%v", err)
	} else {
		f.r.Pass("forbidden options", "none of %d that belong to the debug kernel", len(f.Plan.Forbidden))
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
	return "they differ only in length"
}
