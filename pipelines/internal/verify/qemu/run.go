package qemu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// failed reports an error of a run under a name, unless it is the end of ctx.
func (x *run) failed(ctx context.Context, name string, err error) bool {
	if err != nil && ctx.Err() == nil {
		x.r.Fail(name, "%v", err)
	}
	return err != nil
}

// print returns what the emulator prints.
func (x *run) print(ctx context.Context, args ...string) (string, error) {
	timed, cancel := context.WithTimeout(ctx, x.h.Timeout)
	defer cancel()
	return host.Output(command.New(timed, x.t.Path(x.program()), args...))
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
func (x *run) checkNames(ctx context.Context) error {
	help := map[string]string{}
	for _, option := range []string{"-device", "-object", "-machine", "-accel"} {
		text, err := x.print(ctx, option, "help")
		if x.failed(ctx, "devices", err) {
			return context.Cause(ctx)
		}
		help[option] = text
	}
	offers := parseDeviceHelp(help["-device"])
	var devices []string
	for _, offer := range offers {
		devices = append(devices, offer.name)
	}
	accelerators := parseHelp(help["-accel"])
	problems := missing("-device", x.devices.devices, devices)
	objects := parseHelp(help["-object"])
	hidden, err := x.hiddenObjects()
	if err != nil {
		return err
	}
	problems = append(problems, missing("-object", x.devices.objects, append(objects, hidden...))...)
	problems = append(problems, missing("-machine", x.devices.machines, parseHelp(help["-machine"]))...)
	problems = append(problems, missing("-accel", []string{"kvm"}, accelerators)...)
	if slices.Contains(accelerators, "tcg") && x.arch != "aarch64" {
		problems = append(problems, "-accel tcg: only KVM may run guests")
	}
	x.r.Judge("devices", problems, "%d devices, %d objects and %s of the list among %d devices; accelerators %s",
		len(x.devices.devices), len(x.devices.objects), strings.Join(x.devices.machines, ", "), len(devices), strings.Join(accelerators, ", "))
	problems = nil
	for _, offer := range unasked(offers, x.devices.devices) {
		problems = append(problems, fmt.Sprintf("%s, among the %s devices, is not on the list", offer.name, strings.ToLower(offer.kind)))
	}
	x.r.Judge("unasked devices", problems, "no network, display, sound or USB device but those of the list")
	return nil
}

// hiddenObjects returns the objects of the list that the program has, but does not
// name on this machine.
func (x *run) hiddenObjects() ([]string, error) {
	var names []string
	for _, trial := range trialsOf(x.devices) {
		if !trial.hidden || lacking(trial) == "" {
			continue
		}
		data, err := os.ReadFile(x.t.Path(x.program()))
		if err != nil {
			return nil, err
		}
		if bytes.Contains(data, []byte("\x00"+trial.name+"\x00")) {
			names = append(names, trial.name)
		}
	}
	return names, nil
}

// missing says which of the wanted names an option lacks.
func missing(option string, wanted, found []string) []string {
	var problems []string
	for _, name := range wanted {
		if !slices.Contains(found, name) {
			problems = append(problems, fmt.Sprintf("%s %s is missing", option, name))
		}
	}
	return problems
}

// checkFolder checks that the program looks for firmware relative to itself,
// wherever it was unpacked.
func (x *run) checkFolder(ctx context.Context) error {
	const name = "firmware folder"
	text, err := x.print(ctx, "-L", "help")
	if x.failed(ctx, name, err) {
		return context.Cause(ctx)
	}
	folders := strings.Fields(text)
	real, err := filepath.EvalSymlinks(x.t.Dir)
	if err != nil {
		return err
	}
	want := filepath.Join(real, x.folder())
	if !slices.ContainsFunc(folders, func(folder string) bool { return sameFolder(folder, want) }) {
		x.r.Fail(name, "it looks in %s: want %s, next to the program", strings.Join(folders, ", "), want)
		return nil
	}
	x.r.Pass(name, "%s, from where the program is", strings.TrimPrefix(want, real+"/"))
	return nil
}

func sameFolder(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}
