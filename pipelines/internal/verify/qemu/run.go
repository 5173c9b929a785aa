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

type run struct {
	Emulator
	r *report.Report
	t *tarball.Tarball
	h host.Host
}

// programChecks run the program; "machines" stands for all
// machines if it does not run.
var programChecks = []string{"version", "devices", "unasked devices", "firmware folder", "machines"}

// skip reports the checks that run the program as skipped.
func (x *run) skip(why string) {
	for _, name := range programChecks {
		x.r.Result(name, "", report.Missing(why))
	}
}

// outputs are what checks read: the program's arguments, and the check that fails if
// the program does.
var outputs = []struct{ args, check string }{
	{"--version", "version"},
	{"-device help", "devices"}, {"-object help", "devices"}, {"-machine help", "devices"}, {"-accel help", "devices"},
	{"-L help", "firmware folder"},
}

// check runs the program, to list what it has and to make machines.
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
			x.r.Result(o.check, "", err)
			return nil
		}
		printed[o.args] = text
	}
	x.r.Run("version", func() (string, error) { return x.checkVersion(printed["--version"]) })
	x.r.Run("devices", func() (string, error) { return x.checkNames(printed) })
	x.r.Run("unasked devices", func() (string, error) { return x.checkUnasked(printed["-device help"]) })
	x.r.Run("firmware folder", func() (string, error) { return x.checkFolder(printed["-L help"]) })
	return x.checkMachines(ctx)
}

var versionLine = regexp.MustCompile(`^QEMU emulator version (\S+) \((.*)\)`)

// checkVersion compares the version that the emulator prints with the pin, and the
// package with the name of Kata's builds.
func (x *run) checkVersion(text string) (line string, problems error) {
	line, _, _ = strings.Cut(text, "\n")
	m := versionLine.FindStringSubmatch(line)
	if m == nil {
		return "", fmt.Errorf("it prints %q: want QEMU emulator version NUMBER (PACKAGE)", line)
	}
	if want := "kata-static" + x.suffix; m[2] != want {
		problems = fmt.Errorf("the package version is %q: want %q", m[2], want)
	}
	pin, is := strings.CutPrefix(x.version, "v")
	if is && pin != "" && pin[0] >= '0' && pin[0] <= '9' && m[1] != pin {
		problems = errors.Join(problems, fmt.Errorf("the version is %q: want %q", m[1], pin))
	}
	return line, problems
}

// checkNames compares what the emulator has with its list.
func (x *run) checkNames(printed map[string]string) (saw string, problems error) {
	found := map[string][]string{"-object": x.hiddenObjects()}
	for _, offer := range parseDeviceHelp(printed["-device help"]) {
		found["-device"] = append(found["-device"], offer.name)
	}
	for _, option := range []string{"-object", "-machine", "-accel"} {
		found[option] = append(found[option], parseHelp(printed[option+" help"])...)
	}
	for _, option := range []string{"-device", "-object", "-machine", "-accel"} {
		for _, name := range x.required[option] {
			if !slices.Contains(found[option], name) {
				problems = errors.Join(problems, fmt.Errorf("%s %s is missing", option, name))
			}
		}
	}
	if slices.Contains(found["-accel"], "tcg") && x.arch != "aarch64" {
		problems = errors.Join(problems, errors.New("-accel tcg: only KVM may run guests"))
	}
	return fmt.Sprintf("%d devices, %d objects and %s of the list among %d devices; accelerators %s",
		len(x.required["-device"]), len(x.required["-object"]), strings.Join(x.required["-machine"], ", "),
		len(found["-device"]), strings.Join(found["-accel"], ", ")), problems
}

// checkUnasked refuses devices that widen the attack surface and are not on the list.
func (x *run) checkUnasked(help string) (saw string, problems error) {
	for _, offer := range unasked(parseDeviceHelp(help), x.required["-device"]) {
		problems = errors.Join(problems, fmt.Errorf("%s, among the %s devices, is not on the list", offer.name, strings.ToLower(offer.kind)))
	}
	return "no network, display, sound or USB device except those of the list", problems
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
func (x *run) checkFolder(printed string) (saw string, err error) {
	want := x.t.Path(x.folder())
	ours, err := os.Stat(want)
	for _, folder := range strings.Fields(printed) {
		if found, foundErr := os.Stat(folder); err == nil && foundErr == nil && os.SameFile(found, ours) {
			return x.folder() + ", from where the program is", nil
		}
	}
	return "", fmt.Errorf("it looks in %s: want %s, next to the program", strings.Join(strings.Fields(printed), ", "), want)
}
