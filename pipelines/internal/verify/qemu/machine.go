package qemu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// checkMachines makes machines with every device of the list that this machine can
// make, each device once.
func (x *run) checkMachines(ctx context.Context) error {
	s := setting{machine: x.devices.machines[0], dir: x.t.Dir}
	if x.arch == "x86_64" {
		// A machine with a kernel loads the ROM that starts it.
		s.kernel = filepath.Join(x.t.Dir, "kernel")
		if err := os.WriteFile(s.kernel, bzImage(), 0o644); err != nil {
			return err
		}
	}
	note, err := x.accelerate(ctx, &s)
	if err != nil {
		return err
	}
	rounds, without := rounds(x.devices)
	for i, round := range rounds {
		name := x.machineName(rounds, i)
		x.h.Note("making a " + name + " with " + s.accelerator)
		made, err := x.try(ctx, s, round)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			x.r.Fail(name, "%v", err)
			continue
		}
		problems := slices.Concat(made.problems, x.unloaded(made.roms))
		x.r.Judge(name, problems, "%s, realized: %s%s", s.accelerator, strings.Join(made.realized, " "), note)
	}
	if len(without) > 0 {
		x.r.Skip("devices of the host", "%s", strings.Join(without, "\n"))
	}
	return nil
}

// bzImage returns the smallest file that QEMU takes for a kernel of x86: a boot
// sector and a sector of setup that are empty but for the fields of the protocol
// (Documentation/arch/x86/boot.rst in Linux), and nothing to start.
func bzImage() []byte {
	image := make([]byte, 8*512)
	image[0x1f1] = 1 // Sectors of setup.
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x206:], 0x020c) // Version of the protocol.
	image[0x211] = 1                                     // Loaded high.
	return image
}

// rounds returns the trials of each machine, objects in all of them, and what is
// in none because this machine lacks something.
func rounds(required devices) (rounds [][]trial, without []string) {
	var objects []trial
	for _, t := range trialsOf(required) {
		why := lacking(t)
		switch {
		case why != "":
			without = append(without, t.name+": "+why)
			continue
		case t.object:
			objects = append(objects, t)
		}
		for len(rounds) <= t.round {
			rounds = append(rounds, nil)
		}
		rounds[t.round] = append(rounds[t.round], t)
	}
	for i := 1; i < len(rounds); i++ {
		rounds[i] = slices.Concat(objects, rounds[i])
	}
	return rounds, without
}

// machineName names a machine by what the first does not have.
func (e Emulator) machineName(rounds [][]trial, i int) string {
	name := "machine " + e.devices.machines[0]
	if i > 0 {
		name += " with " + rounds[i][len(rounds[i])-1].name
	}
	return name
}

// lacking says what this machine lacks for a trial.
func lacking(t trial) string {
	if t.hardware != "" {
		return "it needs " + t.hardware
	}
	if t.needs == "" {
		return ""
	}
	file, err := os.OpenFile(t.needs, os.O_RDWR, 0)
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// accelerate chooses KVM where it makes machines, and else qtest, with which
// machines are made and never run; the note says why.
func (x *run) accelerate(ctx context.Context, s *setting) (note string, err error) {
	s.accelerator = "kvm"
	if x.h.Accelerator == "kvm" {
		return "", nil
	}
	_, err = x.try(ctx, *s, nil)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		s.accelerator, note = "qtest", fmt.Sprintf("\nnot with kvm: %v", err)
	}
	return note, nil
}

// made is what a machine has.
type made struct {
	// realized are names of devices and objects, problems those that are not.
	realized, problems []string
	// roms is what the monitor says is in the machine's memory.
	roms string
}

// try makes a machine, examines it and ends it. The error is QEMU's where it
// refuses.
func (x *run) try(ctx context.Context, s setting, round []trial) (found made, err error) {
	timed, cancel := context.WithTimeoutCause(ctx, x.h.Timeout, fmt.Errorf("QEMU took longer than %s", x.h.Timeout))
	defer cancel()
	if s.dir, err = os.MkdirTemp(s.dir, "try-"); err != nil {
		return found, err
	}
	s.socket = filepath.Join(s.dir, "user")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket, Net: "unix"})
	if err != nil {
		return found, fmt.Errorf("making a socket for vhost-user devices: %w", err)
	}
	serving, stop := context.WithCancel(timed)
	served := make(chan error, 1)
	go func() { served <- serveVhostUser(serving, listener) }()
	found, err = examine(timed, command.New(timed, x.t.Path(x.program()), s.arguments(round)...), round)
	stop()
	return found, errors.Join(err, <-served)
}

// examine starts a QEMU, lists what it made, and ends it.
func examine(ctx context.Context, cmd *exec.Cmd, round []trial) (found made, err error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return found, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return found, err
	}
	wait, err := host.Start(cmd)
	if err != nil {
		return found, fmt.Errorf("starting QEMU: %w", err)
	}
	qmp, asked := connect(in, out)
	if asked == nil {
		found, asked = ask(qmp, round)
		asked = errors.Join(asked, qmp.do("quit", nil, nil))
	}
	// A QEMU without a monitor would not end by itself.
	asked = errors.Join(asked, in.Close())
	waited := wait()
	switch {
	case ctx.Err() != nil:
		return found, context.Cause(ctx)
	case waited != nil:
		// The last question failed because QEMU ended.
		return found, fmt.Errorf("QEMU: %w%s", waited, host.Indented(stderr.String()))
	}
	return found, asked
}

// ask returns which devices and objects are there.
func ask(qmp *client, round []trial) (found made, err error) {
	for _, t := range round {
		realized := true
		if !t.object {
			realized, err = qmp.realized(t.name)
		}
		var refused *refusal
		switch {
		case errors.As(err, &refused):
			found.problems = append(found.problems, fmt.Sprintf("%s: %v", t.name, refused))
		case err != nil:
			return found, err
		case !realized:
			found.problems = append(found.problems, t.name+" exists, but is not realized")
		default:
			found.realized = append(found.realized, t.name)
		}
	}
	found.roms, err = qmp.monitor("info roms")
	return found, err
}

// unloaded says which firmware that every machine loads is not in the memory of
// this one.
func (e Emulator) unloaded(roms string) (problems []string) {
	for _, f := range e.firmware {
		if f.loaded() && !strings.Contains(roms, `"`+f.name+`"`) {
			problems = append(problems, fmt.Sprintf("%s is not in the memory of the machine, which has\n%s", f.name, strings.TrimSpace(roms)))
		}
	}
	return problems
}
