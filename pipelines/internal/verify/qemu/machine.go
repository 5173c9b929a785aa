package qemu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// checkMachines makes machines with every device of the list that this machine can
// make, each device once.
func (x *run) checkMachines(ctx context.Context) error {
	s := setting{dir: x.t.Dir}
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
	machines, without := x.machines()
	for _, m := range machines {
		x.h.Note("making a " + m.title() + " with " + s.accelerator)
		answers, err := x.try(ctx, s, m)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var realized string
		if err == nil {
			realized, err = m.judge(answers[1:])
			err = errors.Join(err, x.checkLoaded(m, answers[0]))
		}
		x.r.Result(m.title(), s.accelerator+", realized:"+realized+note, err)
	}
	if len(without) > 0 {
		x.r.Result("devices of the host", "", report.Missing(strings.Join(without, "\n")))
	}
	return nil
}

type machine struct {
	// name is that of -machine; with is a device that only this machine has, or "".
	name, with       string
	objects, devices []trial
}

// title names the check of the machine.
func (m machine) title() string {
	if m.with != "" {
		return "machine " + m.name + " with " + m.with
	}
	return "machine " + m.name
}

// machines returns the machines that together have everything on the list, and what
// none of them has because the host lacks something. The first machine has the devices,
// and the last those of virtio-mmio, whose names end in -device.
func (e Emulator) machines() (all []machine, without []string) {
	usable := func(trials []trial) []trial {
		return slices.DeleteFunc(trials, func(t trial) bool {
			why := t.lacking()
			if why != "" {
				without = append(without, t.name+": "+why)
			}
			return why != ""
		})
	}
	objects := usable(trialsOf(e.required["-object"], true))
	for _, name := range e.required["-machine"] {
		all = append(all, machine{name: name, objects: objects})
	}
	first, last := &all[0], &all[len(all)-1]
	var others []machine
	for _, t := range usable(trialsOf(e.required["-device"], false)) {
		switch {
		case t.alone:
			others = append(others, machine{first.name, t.name, objects, []trial{t}})
		case strings.HasSuffix(t.name, "-device"):
			last.devices = append(last.devices, t)
		default:
			first.devices = append(first.devices, t)
		}
	}
	return append(all, others...), without
}

// bzImage returns the smallest file that QEMU accepts as an x86 kernel: a boot sector
// and a sector of setup, empty except for the fields of the protocol
// (Documentation/arch/x86/boot.rst in Linux), and no code.
func bzImage() []byte {
	image := make([]byte, 8*512)
	image[0x1f1] = 1 // Sectors of setup.
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x206:], 0x020c) // Version of the protocol.
	image[0x211] = 1                                     // Loaded high.
	return image
}

// accelerate chooses KVM if it works here, and otherwise qtest, under which machines
// are made but never run; the note says why.
func (x *run) accelerate(ctx context.Context, s *setting) (note string, err error) {
	s.accelerator = "kvm"
	if x.h.Accelerator == "kvm" {
		return "", nil
	}
	_, err = x.try(ctx, *s, machine{name: x.required["-machine"][0]})
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		s.accelerator, note = "qtest", fmt.Sprintf("\nnot with kvm: %v", err)
	}
	return note, nil
}

// try makes a machine, and returns what QEMU says is in its memory, and whether each
// device is realized. If QEMU refuses the machine, the error has its message.
func (x *run) try(ctx context.Context, s setting, m machine) (answers []message, err error) {
	timed, cancel := context.WithTimeoutCause(ctx, x.h.Timeout, fmt.Errorf("QEMU took longer than %s", x.h.Timeout))
	defer cancel()
	if s.dir, err = os.MkdirTemp(s.dir, "try-"); err != nil {
		return nil, err
	}
	s.socket = filepath.Join(s.dir, "user")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("making a socket for vhost-user devices: %w", err)
	}
	serving, stop := context.WithCancel(timed)
	served := make(chan error, 1)
	go func() { served <- serveVhostUser(serving, listener) }()
	queries := []query{{"human-monitor-command", map[string]string{"command-line": "info roms"}}}
	for _, t := range m.devices {
		queries = append(queries, query{"qom-get", map[string]string{"path": "/machine/peripheral/" + t.name, "property": "realized"}})
	}
	answers, err = exchange(timed, command.New(timed, x.t.Path(x.program()), s.arguments(m)...), queries)
	stop()
	return answers, errors.Join(err, <-served)
}

// judge returns the names of objects and devices that are realized, and what is wrong
// with the other devices. QEMU itself ends if it cannot make an object.
func (m machine) judge(answers []message) (realized string, problems error) {
	for _, t := range m.objects {
		realized += " " + t.name
	}
	for i, t := range m.devices {
		is := false
		if err := answers[i].into(&is); err != nil {
			problems = errors.Join(problems, fmt.Errorf("%s: %w", t.name, err))
		} else if !is {
			problems = errors.Join(problems, fmt.Errorf("%s exists, but is not realized", t.name))
		}
		realized += " " + t.name
	}
	return realized, problems
}

// loaded are the files that each machine has in its memory from the start if it has a
// kernel. Others are for other guests, or for one device.
var loaded = map[string][]string{
	"q35":             {"bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin"},
	"microvm":         {"bios-microvm.bin", "linuxboot_dma.bin"},
	"s390-ccw-virtio": {"s390-ccw.img"},
	"pseries":         {"slof.bin"},
}

// checkLoaded checks that the memory of a machine has the loaded files that are on the
// list of firmware.
func (e Emulator) checkLoaded(m machine, answer message) (problems error) {
	roms := ""
	if err := answer.into(&roms); err != nil {
		return fmt.Errorf("listing the memory of the machine: %w", err)
	}
	for _, name := range loaded[m.name] {
		if slices.Contains(e.firmware, name) && !strings.Contains(roms, `"`+name+`"`) {
			problems = errors.Join(problems, fmt.Errorf("%s is not in the memory of the machine, which has\n%s", name, strings.TrimSpace(roms)))
		}
	}
	return problems
}
