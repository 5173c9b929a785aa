package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// run is an emulator that was unpacked, on a machine that may run it.
type run struct {
	Emulator
	r *report.Report
	t *tarball.Tarball
	h host.Host
}

// programChecks run the program; "machines" is for all of them where it does not run.
var programChecks = []string{"version", "devices", "unasked devices", "firmware folder", "machines"}

// skip reports the checks that run the program as skipped.
func (x *run) skip(why string) {
	for _, name := range programChecks {
		x.r.Skip(name, "%s", why)
	}
}

// outputs are what checks read: the program's arguments, and the check that fails
// where it does not print.
var outputs = []struct{ args, check string }{
	{"--version", "version"},
	{"-device help", "devices"}, {"-object help", "devices"}, {"-machine help", "devices"}, {"-accel help", "devices"},
	{"-L help", "firmware folder"},
}

// check runs the program: it prints what it has, and makes machines.
func (x *run) check(ctx context.Context) error {
	printed := map[string]string{}
	for _, o := range outputs {
		timed, cancel := context.WithTimeout(ctx, x.h.Timeout)
		text, err := host.Output(command.New(timed, x.t.Path(x.program()), strings.Fields(o.args)...))
		cancel()
		switch {
		case errors.Is(err, syscall.ENOEXEC):
			x.skip("this machine does not run programs for " + x.arch)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			x.r.Fail(o.check, "%v", err)
			return nil
		}
		printed[o.args] = text
	}
	x.checkVersion(printed["--version"])
	x.checkNames(printed)
	x.checkFolder(printed["-L help"])
	return x.checkMachines(ctx)
}

var versionLine = regexp.MustCompile(`^QEMU emulator version (\S+) \((.*)\)`)

// checkVersion compares what the emulator prints with the pin and with the name of
// Kata's builds.
func (x *run) checkVersion(text string) {
	line, _, _ := strings.Cut(text, "\n")
	m := versionLine.FindStringSubmatch(line)
	if m == nil {
		x.r.Fail("version", "it prints %q: want QEMU emulator version NUMBER (PACKAGE)", line)
		return
	}
	problems := report.Unequal("the package version", m[2], "kata-static"+x.suffix)
	if pin, is := strings.CutPrefix(x.version, "v"); is && pin != "" && pin[0] >= '0' && pin[0] <= '9' {
		problems = append(problems, report.Unequal("the version", m[1], pin)...)
	}
	x.r.Judge("version", problems, "%s", line)
}

// checkNames compares what the emulator has with its list.
func (x *run) checkNames(printed map[string]string) {
	offers := parseDeviceHelp(printed["-device help"])
	var devices []string
	for _, offer := range offers {
		devices = append(devices, offer.name)
	}
	accelerators := parseHelp(printed["-accel help"])
	problems := slices.Concat(
		missing("-device", x.required["-device"], devices),
		missing("-object", x.required["-object"], append(parseHelp(printed["-object help"]), x.hiddenObjects()...)),
		missing("-machine", x.required["-machine"], parseHelp(printed["-machine help"])),
		missing("-accel", []string{"kvm"}, accelerators),
	)
	if slices.Contains(accelerators, "tcg") && x.arch != "aarch64" {
		problems = append(problems, "-accel tcg: only KVM may run guests")
	}
	x.r.Judge("devices", problems, "%d devices, %d objects and %s of the list among %d devices; accelerators %s",
		len(x.required["-device"]), len(x.required["-object"]), strings.Join(x.required["-machine"], ", "), len(devices), strings.Join(accelerators, ", "))
	problems = nil
	for _, offer := range unasked(offers, x.required["-device"]) {
		problems = append(problems, fmt.Sprintf("%s, among the %s devices, is not on the list", offer.name, strings.ToLower(offer.kind)))
	}
	x.r.Judge("unasked devices", problems, "no network, display, sound or USB device but those of the list")
}

// missing says which of the wanted names an option lacks.
func missing(option string, wanted, found []string) (problems []string) {
	for _, name := range wanted {
		if !slices.Contains(found, name) {
			problems = append(problems, fmt.Sprintf("%s %s is missing", option, name))
		}
	}
	return problems
}

// hiddenObjects returns the objects of the list that the program has, but does not
// name on this machine.
func (x *run) hiddenObjects() (names []string) {
	program := x.t.Read(x.program())
	for _, t := range trialsOf(x.required["-object"], true) {
		if t.hidden && t.lacking() != "" && bytes.Contains(program, []byte("\x00"+t.name+"\x00")) {
			names = append(names, t.name)
		}
	}
	return names
}

// checkFolder checks that the program looks for firmware relative to itself,
// wherever it was unpacked.
func (x *run) checkFolder(printed string) {
	folders := strings.Fields(printed)
	want := x.t.Path(x.folder())
	ours, err := os.Stat(want)
	if err == nil && slices.ContainsFunc(folders, func(folder string) bool {
		found, err := os.Stat(folder)
		return err == nil && os.SameFile(found, ours)
	}) {
		x.r.Pass("firmware folder", "%s, from where the program is", x.folder())
		return
	}
	x.r.Fail("firmware folder", "it looks in %s: want %s, next to the program", strings.Join(folders, ", "), want)
}
