package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/emulator"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/qmp"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/vhostuser"
)

// checkMachines makes machines with every device of the list that this machine
// has what it takes for, each device once.
func (e Emulation) checkMachines(ctx context.Context, report *Report, q QEMU, dir, program string) error {
	setting := emulator.Setting{Machine: q.Devices.Machines[0], Dir: dir}
	if q.Arch == "x86_64" {
		// With a kernel the ROM that starts it is looked for.
		setting.Kernel = filepath.Join(dir, "kernel")
		if err := os.WriteFile(setting.Kernel, emulator.BzImage(), 0o644); err != nil {
			return err
		}
	}
	var note string
	var err error
	if setting.Accelerator, note, err = e.accelerator(ctx, program, setting); err != nil {
		return err
	}
	rounds, without := rounds(q)
	for i, round := range rounds {
		name := "machine " + setting.Machine
		if i > 0 {
			name += " with " + round[len(round)-1].Name
		}
		e.Note("making a " + name + " with " + setting.Accelerator)
		made, err := e.try(ctx, program, setting, round)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			report.Fail(name, "%v", err)
			continue
		}
		problems := slices.Concat(made.problems, q.unloaded(made.roms))
		report.Judge(name, problems, "%s, realized: %s%s", setting.Accelerator, strings.Join(made.realized, " "), note)
	}
	if len(without) > 0 {
		report.Skip("devices of the host", "%s", strings.Join(without, "\n"))
	}
	return nil
}

// rounds returns what is tried in each machine, objects in all of them, and what
// is in none for lack of something on this machine.
func rounds(q QEMU) (rounds [][]emulator.Trial, without []string) {
	var objects []emulator.Trial
	for _, trial := range emulator.Trials(q.Devices) {
		why := lacking(trial)
		switch {
		case why != "":
			without = append(without, trial.Name+": "+why)
			continue
		case trial.Object:
			objects = append(objects, trial)
		}
		for len(rounds) <= trial.Round {
			rounds = append(rounds, nil)
		}
		rounds[trial.Round] = append(rounds[trial.Round], trial)
	}
	for i := 1; i < len(rounds); i++ {
		rounds[i] = slices.Concat(objects, rounds[i])
	}
	return rounds, without
}

// lacking says what of this machine a trial takes and does not have.
func lacking(trial emulator.Trial) string {
	switch {
	case trial.Hardware != "":
		return "it takes " + trial.Hardware
	case trial.Needs != "":
		file, err := os.OpenFile(trial.Needs, os.O_RDWR, 0)
		if err != nil {
			return err.Error()
		}
		if err := file.Close(); err != nil {
			return err.Error()
		}
	}
	return ""
}

// accelerator is the one to make machines with, and where KVM is not it, why.
func (e Emulation) accelerator(ctx context.Context, program string, setting emulator.Setting) (name, note string, err error) {
	const without = "qtest"
	if e.Accelerator != "" {
		return e.Accelerator, "", nil
	}
	setting.Accelerator = "kvm"
	_, err = e.try(ctx, program, setting, nil)
	if ctx.Err() != nil {
		return "", "", context.Cause(ctx)
	}
	if err != nil {
		return without, fmt.Sprintf("\nnot with kvm: %v", err), nil
	}
	return "kvm", "", nil
}

// made is what came of a machine.
type made struct {
	// realized are names of devices and objects, problems those that are not.
	realized, problems []string
	// roms is what the monitor says is in the machine's memory.
	roms string
}

// try makes a machine, looks at it and ends it. The error is QEMU's where it
// refuses.
func (e Emulation) try(ctx context.Context, program string, setting emulator.Setting, round []emulator.Trial) (found made, err error) {
	timed, cancel := context.WithTimeoutCause(ctx, e.Timeout, fmt.Errorf("QEMU took longer than %s", e.Timeout))
	defer cancel()
	scratch, err := os.MkdirTemp(setting.Dir, "try-")
	if err != nil {
		return found, err
	}
	setting.Dir, setting.Socket = scratch, filepath.Join(scratch, "user")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: setting.Socket, Net: "unix"})
	if err != nil {
		return found, fmt.Errorf("making a socket for vhost-user devices: %w", err)
	}
	serving, stop := context.WithCancel(timed)
	served := make(chan error, 1)
	go func() { served <- vhostuser.Serve(serving, listener) }()
	err = e.start(timed, program, setting.Args(round), func(client *qmp.Client) error {
		found, err = look(client, round)
		return err
	})
	stop()
	return found, errors.Join(err, <-served)
}

// start runs QEMU, has look ask it, and ends it. No QEMU is left behind.
func (e Emulation) start(ctx context.Context, program string, args []string, look func(*qmp.Client) error) error {
	// A child with a death signal gets it when the thread that made it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting QEMU: %w", err)
	}
	asked := ask(in, out, look)
	waited := cmd.Wait()
	switch {
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	case waited != nil:
		// What it was asked last failed because it ended.
		return fmt.Errorf("QEMU: %w%s", waited, indented(stderr.String()))
	}
	return asked
}

// ask connects to QEMU, looks at it and tells it to end.
func ask(in io.WriteCloser, out io.Reader, look func(*qmp.Client) error) error {
	// Without a reader it would end as well, where it does not listen any more.
	defer in.Close()
	client, err := qmp.Connect(in, out)
	if err != nil {
		return err
	}
	return errors.Join(look(client), client.Do("quit", nil, nil))
}

// look sees which devices and objects are there.
func look(client *qmp.Client, round []emulator.Trial) (found made, err error) {
	for _, trial := range round {
		realized := true
		if !trial.Object {
			realized, err = client.Realized(trial.Name)
		}
		var refused *qmp.Error
		switch {
		case errors.As(err, &refused):
			found.problems = append(found.problems, fmt.Sprintf("%s: %v", trial.Name, refused))
		case err != nil:
			return found, err
		case !realized:
			found.problems = append(found.problems, trial.Name+" is there, and not realized")
		default:
			found.realized = append(found.realized, trial.Name)
		}
	}
	found.roms, err = client.Monitor("info roms")
	return found, err
}

// unloaded says which firmware of those that a machine always loads is not in the
// memory of this one.
func (q QEMU) unloaded(roms string) []string {
	var problems []string
	for _, firmware := range q.Firmware {
		if firmware.Loaded() && !strings.Contains(roms, `"`+firmware.Name+`"`) {
			problems = append(problems, fmt.Sprintf("%s is not in the memory of the machine, which has\n%s", firmware.Name, strings.TrimSpace(roms)))
		}
	}
	return problems
}
