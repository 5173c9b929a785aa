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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// probed is the kernel function that the program is attached to: only this init
// calls it here.
const probed = "sys_getpgid"

// event is what the program sends: pid and tgid from task_struct, then both as the
// helper of the kernel returns them.
type event struct {
	PID, TGID uint32
	Helper    uint64
}

const eventSize = 16

// bpfEvent loads a program that reads task_struct where the types of the running
// kernel say its fields are, attaches it to a kprobe, calls the function, sees the
// event, detaches the program, and sees no further event.
func bpfEvent(o *serial.Observation) {
	events, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	report.Must(doing("making the ring buffer", err))
	defer events.Close()
	types, err := btf.LoadKernelSpec()
	report.Must(doing("reading the types of the kernel", err))
	offsets := report.Try(taskOffsets(types, "pid", "tgid"))
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "verify", Type: ebpf.Kprobe, License: "GPL", Instructions: instructions(events.FD(), offsets),
	})
	report.Must(doing("loading the program", err))
	defer program.Close()
	reader, err := ringbuf.NewReader(events)
	report.Must(doing("reading the ring buffer", err))
	defer reader.Close()
	probe, err := link.Kprobe(probed, program, nil)
	report.Must(doing("attaching a kprobe to "+probed, err))
	saw, thread, err := call(reader, 10*time.Second)
	report.Must(errors.Join(doing("no event of "+probed, err), doing("detaching the kprobe", probe.Close())))
	o.Value = fmt.Sprintf("kprobe on %s: task_struct has pid %d and tgid %d", probed, saw.PID, saw.TGID)
	report.Want(int(saw.PID) == thread && int(saw.TGID) == os.Getpid() && saw.Helper == uint64(saw.TGID)<<32|uint64(saw.PID),
		"want pid %d and tgid %d; the helper of the kernel says %d and %d", thread, os.Getpid(), uint32(saw.Helper), saw.Helper>>32)
	_, _, err = call(reader, 200*time.Millisecond)
	report.Want(err != nil, "an event came after the program was detached")
	report.Want(errors.Is(err, os.ErrDeadlineExceeded), "after the program was detached: %w", err)
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
func taskOffsets(types *btf.Spec, names ...string) ([]int16, error) {
	var task *btf.Struct
	if err := types.TypeByName("task_struct", &task); err != nil {
		return nil, fmt.Errorf("looking for task_struct: %w", err)
	}
	offsets := make([]int16, len(names))
	for i, name := range names {
		at := slices.IndexFunc(task.Members, func(m btf.Member) bool { return m.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("task_struct has no field %s", name)
		}
		offsets[i] = int16(task.Members[at].Offset.Bytes())
	}
	return offsets, nil
}

// instructions returns a program that sends two fields of the current task, which the
// kernel lets it read only at the offsets in its types, and the answer of the helper.
func instructions(events int, offsets []int16) asm.Instructions {
	const pid, tgid, helper = -eventSize, -eventSize + 4, -eventSize + 8
	return asm.Instructions{
		asm.FnGetCurrentTaskBtf.Call(),
		asm.LoadMem(asm.R1, asm.R0, offsets[0], asm.Word),
		asm.StoreMem(asm.RFP, pid, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R0, offsets[1], asm.Word),
		asm.StoreMem(asm.RFP, tgid, asm.R1, asm.Word),
		asm.FnGetCurrentPidTgid.Call(),
		asm.StoreMem(asm.RFP, helper, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, events),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, pid),
		asm.Mov.Imm(asm.R3, eventSize),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
}

const (
	cgroups = "/sys/fs/cgroup"
	guest   = cgroups + "/guest"
)

// controllers mounts cgroup v2, lists its controllers, and enables all of them for a
// group of containers.
func controllers(o *serial.Observation) {
	report.Must(mount("cgroup2", "cgroup2", cgroups, ""))
	o.Items = strings.Fields(read(cgroups + "/cgroup.controllers"))
	for _, controller := range o.Items {
		write(cgroups+"/cgroup.subtree_control", "+"+controller)
	}
	report.Must(os.Mkdir(guest, 0o755))
}

// deviceRules attaches a BPF program that forbids all devices to a group of processes,
// as the agent forbids those that a container may not use.
func deviceRules(o *serial.Observation) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupDevice, License: "Apache-2.0",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	report.Must(doing("loading the program", err))
	defer program.Close()
	enter(guest)
	defer enter(cgroups)
	_, err = os.ReadFile(os.DevNull)
	report.Must(doing("before any rule", err))
	rules, err := link.AttachCgroup(link.CgroupOptions{Path: guest, Attach: ebpf.AttachCGroupDevice, Program: program})
	report.Must(doing("attaching the program", err))
	_, forbidden := os.ReadFile(os.DevNull)
	report.Must(doing("detaching the program", rules.Close()))
	if !errors.Is(forbidden, unix.EPERM) {
		report.Must(errors.Join(errors.New("opening a forbidden device: want EPERM"), forbidden))
	}
	_, err = os.ReadFile(os.DevNull)
	report.Must(doing("after the rules were removed", err))
	o.Value = "forbidden, and allowed again"
}

func enter(group string) { write(group+"/cgroup.procs", strconv.Itoa(os.Getpid())) }
