//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

// probed is the kernel function that the program is attached to: only this init
// calls it here.
const probed = "sys_getpgid"

// event is what the program sends: pid and tgid out of task_struct, then what the
// helper of the kernel says they are.
type event struct {
	PID, TGID uint32
	Helper    uint64
}

const eventSize = 16

func (e event) check(thread int) error {
	if int(e.PID) != thread || int(e.TGID) != os.Getpid() || e.Helper != uint64(e.TGID)<<32|uint64(e.PID) {
		return fmt.Errorf("want pid %d and tgid %d; the helper of the kernel says %d and %d",
			thread, os.Getpid(), uint32(e.Helper), e.Helper>>32)
	}
	return nil
}

// bpfEvent loads a program that reads task_struct where the types of the running
// kernel say its fields are, attaches it to a kprobe, calls the function, sees the
// event, detaches the program, and sees no event any more.
func bpfEvent(o *serial.Observation) error {
	events, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	if err != nil {
		return fmt.Errorf("making the ring buffer: %w", err)
	}
	defer events.Close()
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("reading the types of the kernel: %w", err)
	}
	offsets, err := taskOffsets(types, "pid", "tgid")
	if err != nil {
		return err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "verify", Type: ebpf.Kprobe, License: "GPL", Instructions: instructions(events.FD(), offsets),
	})
	if err != nil {
		return fmt.Errorf("loading the program: %w", err)
	}
	defer program.Close()
	reader, err := ringbuf.NewReader(events)
	if err != nil {
		return fmt.Errorf("reading the ring buffer: %w", err)
	}
	defer reader.Close()
	probe, err := link.Kprobe(probed, program, nil)
	if err != nil {
		return fmt.Errorf("attaching a kprobe to %s: %w", probed, err)
	}
	saw, thread, err := call(reader, 10*time.Second)
	if err := errors.Join(err, probe.Close()); err != nil {
		return fmt.Errorf("waiting for the event of %s, and detaching the kprobe: %w", probed, err)
	}
	o.Value = fmt.Sprintf("kprobe on %s: task_struct has pid %d and tgid %d", probed, saw.PID, saw.TGID)
	if err := saw.check(thread); err != nil {
		return err
	}
	_, _, err = call(reader, 200*time.Millisecond)
	switch {
	case err == nil:
		return errors.New("an event came after the program was detached")
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("after the program was detached: %w", err)
	}
	return nil
}

// call enters the probed function and waits for an event. The thread is not the
// first one, which main holds, so that its pid is not its tgid.
func call(reader *ringbuf.Reader, wait time.Duration) (saw event, thread int, err error) {
	called := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread = unix.Gettid()
		_, err := unix.Getpgid(0)
		called <- err
	}()
	if err := <-called; err != nil {
		return saw, 0, err
	}
	reader.SetDeadline(time.Now().Add(wait))
	record, err := reader.Read()
	if err == nil {
		_, err = binary.Decode(record.RawSample, binary.NativeEndian, &saw)
	}
	return saw, thread, err
}

// taskOffsets returns where fields of 32 bits are in task_struct, in bytes.
func taskOffsets(types *btf.Spec, names ...string) ([]int32, error) {
	var task *btf.Struct
	if err := types.TypeByName("task_struct", &task); err != nil {
		return nil, fmt.Errorf("looking for task_struct: %w", err)
	}
	offsets := make([]int32, len(names))
	for i, name := range names {
		at := slices.IndexFunc(task.Members, func(m btf.Member) bool { return m.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("task_struct has no field %s", name)
		}
		offsets[i] = int32(task.Members[at].Offset.Bytes())
	}
	return offsets, nil
}

// instructions reads the two fields of the current task at their offsets, and sends
// them.
func instructions(events int, offsets []int32) asm.Instructions {
	pid, tgid, helper := int16(-eventSize), int16(-eventSize+4), int16(-eventSize+8)
	program := asm.Instructions{
		asm.FnGetCurrentTask.Call(),
		asm.Mov.Reg(asm.R6, asm.R0),
	}
	for i, slot := range []int16{pid, tgid} {
		program = append(program,
			asm.Mov.Reg(asm.R3, asm.R6),
			asm.Add.Imm(asm.R3, offsets[i]),
			asm.Mov.Reg(asm.R1, asm.RFP),
			asm.Add.Imm(asm.R1, int32(slot)),
			asm.Mov.Imm(asm.R2, 4),
			asm.FnProbeReadKernel.Call(),
		)
	}
	return append(program,
		asm.FnGetCurrentPidTgid.Call(),
		asm.StoreMem(asm.RFP, helper, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, events),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, int32(pid)),
		asm.Mov.Imm(asm.R3, eventSize),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	)
}

const (
	cgroups = "/sys/fs/cgroup"
	guest   = cgroups + "/guest"
)

// controllers mounts cgroup v2, lists its controllers, and hands all of them to a
// group of containers.
func controllers(o *serial.Observation) error {
	if err := mount("cgroup2", "cgroup2", cgroups, ""); err != nil {
		return err
	}
	text, err := read(cgroups + "/cgroup.controllers")
	if err != nil {
		return err
	}
	o.Items = strings.Fields(text)
	for _, controller := range o.Items {
		if err := os.WriteFile(cgroups+"/cgroup.subtree_control", []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("enabling %s: %w", controller, err)
		}
	}
	return os.Mkdir(guest, 0o755)
}

// deviceRules has a program of BPF forbid all devices to a group of processes,
// as the agent does with the devices that a container may not have.
func deviceRules(o *serial.Observation) (err error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupDevice, License: "Apache-2.0",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("loading the program: %w", err)
	}
	defer program.Close()
	if err := enter(guest); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, enter(cgroups)) }()
	if _, err := os.ReadFile(os.DevNull); err != nil {
		return fmt.Errorf("before any rule: %w", err)
	}
	rules, err := link.AttachCgroup(link.CgroupOptions{Path: guest, Attach: ebpf.AttachCGroupDevice, Program: program})
	if err != nil {
		return fmt.Errorf("attaching the program: %w", err)
	}
	_, forbidden := os.ReadFile(os.DevNull)
	if err := rules.Close(); err != nil {
		return fmt.Errorf("detaching the program: %w", err)
	}
	if !errors.Is(forbidden, unix.EPERM) {
		return errors.Join(errors.New("opening a forbidden device: want EPERM"), forbidden)
	}
	if _, err := os.ReadFile(os.DevNull); err != nil {
		return fmt.Errorf("after the rules were removed: %w", err)
	}
	o.Value = "forbidden, and allowed again"
	return nil
}

// enter moves the init into a group.
func enter(group string) error {
	return os.WriteFile(group+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0)
}
