package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/emulator"
)

// Emulation says how an emulator is tried.
type Emulation struct {
	// Accelerator is "kvm" or "qtest"; "" tries KVM, and takes qtest, with which
	// machines are made and never run, where that does not work.
	Accelerator string
	// Timeout is how long one run of the emulator may take.
	Timeout time.Duration
	// Note gets a line about what takes time.
	Note func(string)
}

// check runs the emulator that was unpacked below dir. Where this machine cannot,
// everything that needs it is skipped.
func (e Emulation) check(ctx context.Context, report *Report, q QEMU, dir string) error {
	program := filepath.Join(dir, q.program())
	version, err := e.print(ctx, program, "--version")
	if errors.Is(err, syscall.ENOEXEC) {
		for _, name := range []string{"version", "devices", "unasked devices", "firmware folder", "machines"} {
			report.Skip(name, "this machine does not run programs for %s", q.Arch)
		}
		return nil
	}
	if e.told(ctx, report, "version", err) {
		return context.Cause(ctx)
	}
	q.checkVersion(report, version)
	for _, check := range []func(context.Context, *Report, QEMU, string, string) error{e.checkNames, e.checkFolder, e.checkMachines} {
		if err := check(ctx, report, q, dir, program); err != nil {
			return err
		}
	}
	return nil
}

// told reports an error of a run under a name; the end of ctx is none to report.
func (e Emulation) told(ctx context.Context, report *Report, name string, err error) bool {
	if err != nil && ctx.Err() == nil {
		report.Fail(name, "%v", err)
	}
	return err != nil
}

// print returns what the emulator prints.
func (e Emulation) print(ctx context.Context, program string, args ...string) (string, error) {
	// A child with a death signal gets it when the thread that made it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	timed, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(timed, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %s %s: %w%s", filepath.Base(program), strings.Join(args, " "), err, indented(stderr.String()))
	}
	return stdout.String(), nil
}

// indented is what a program said, on lines of its own, or nothing.
func indented(text string) string {
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	return "\n" + text
}

var versionLine = regexp.MustCompile(`^QEMU emulator version (\S+) \((.*)\)`)

// checkVersion holds what the emulator says of itself against the pin and against
// what Kata calls its builds.
func (q QEMU) checkVersion(report *Report, text string) {
	line, _, _ := strings.Cut(text, "\n")
	m := versionLine.FindStringSubmatch(line)
	if m == nil {
		report.Fail("version", "it says %q: want QEMU emulator version NUMBER (PACKAGE)", line)
		return
	}
	problems := unequal("the package version", m[2], "kata-static"+q.suffix())
	if pin, is := strings.CutPrefix(q.Version, "v"); is && pin != "" && pin[0] >= '0' && pin[0] <= '9' {
		problems = append(problems, unequal("the version", m[1], pin)...)
	}
	report.Judge("version", problems, "%s", line)
}

// checkNames holds what the emulator has against its list.
func (e Emulation) checkNames(ctx context.Context, report *Report, q QEMU, _, program string) error {
	help := map[string]string{}
	for _, option := range []string{"-device", "-object", "-machine", "-accel"} {
		text, err := e.print(ctx, program, option, "help")
		if e.told(ctx, report, "devices", err) {
			return context.Cause(ctx)
		}
		help[option] = text
	}
	offers := emulator.ParseDeviceHelp(help["-device"])
	var devices []string
	for _, offer := range offers {
		devices = append(devices, offer.Name)
	}
	accelerators := emulator.ParseHelp(help["-accel"])
	problems := missing("-device", q.Devices.Devices, devices)
	objects := emulator.ParseHelp(help["-object"])
	hidden, err := hiddenObjects(q, program)
	if err != nil {
		return err
	}
	problems = append(problems, missing("-object", q.Devices.Objects, append(objects, hidden...))...)
	problems = append(problems, missing("-machine", q.Devices.Machines, emulator.ParseHelp(help["-machine"]))...)
	problems = append(problems, missing("-accel", []string{"kvm"}, accelerators)...)
	if slices.Contains(accelerators, "tcg") && q.Arch != "aarch64" {
		problems = append(problems, "-accel tcg: nothing but KVM may run guests")
	}
	report.Judge("devices", problems, "%d devices, %d objects and %s of the list among %d devices; accelerators %s",
		len(q.Devices.Devices), len(q.Devices.Objects), strings.Join(q.Devices.Machines, ", "), len(devices), strings.Join(accelerators, ", "))
	problems = nil
	for _, offer := range emulator.Unasked(offers, q.Devices.Devices) {
		problems = append(problems, fmt.Sprintf("%s, among the %s devices, is not on the list", offer.Name, strings.ToLower(offer.Kind)))
	}
	report.Judge("unasked devices", problems, "no network, display, sound or USB device beside those of the list")
	return nil
}

// hiddenObjects returns the objects of the list that the program would not name on
// this machine, and has.
func hiddenObjects(q QEMU, program string) ([]string, error) {
	var names []string
	for _, trial := range emulator.Trials(q.Devices) {
		if !trial.Hidden || lacking(trial) == "" {
			continue
		}
		data, err := os.ReadFile(program)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(data, []byte("\x00"+trial.Name+"\x00")) {
			names = append(names, trial.Name)
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

// checkFolder sees that firmware is looked for beside the program, wherever that
// was unpacked.
func (e Emulation) checkFolder(ctx context.Context, report *Report, q QEMU, dir, program string) error {
	const name = "firmware folder"
	text, err := e.print(ctx, program, "-L", "help")
	if e.told(ctx, report, name, err) {
		return context.Cause(ctx)
	}
	folders := strings.Fields(text)
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	want := filepath.Join(real, q.folder())
	if !slices.ContainsFunc(folders, func(folder string) bool { return sameFolder(folder, want) }) {
		report.Fail(name, "it looks in %s: want %s, beside the program", strings.Join(folders, ", "), want)
		return nil
	}
	report.Pass(name, "%s, from where the program is", strings.TrimPrefix(want, real+"/"))
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
