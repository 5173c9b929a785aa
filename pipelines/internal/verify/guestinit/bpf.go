package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/serial"
)

// probed is the function of the kernel that the program is attached to: nothing
// but this init calls it here.
const probed = "sys_getpgid"

// eventSize is that of the event the program sends: pid and tgid out of
// task_struct, then what the helper of the kernel says they are.
const eventSize = 16

// bpfEvent loads a CO-RE program against the types of the running kernel,
// attaches it to a kprobe, calls the function, sees the event, detaches the
// program, and sees no event any more.
func bpfEvent(o *serial.Observation) error {
	events, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	if err != nil {
		return fmt.Errorf("making the ring buffer: %w", err)
	}
	defer events.Close()
	fields, err := taskFields("pid", "tgid")
	if err != nil {
		return fmt.Errorf("making the relocations: %w", err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "verify", Type: ebpf.Kprobe, License: "GPL", Instructions: instructions(events.FD(), fields),
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
	if err := see(o, reader); err != nil {
		return errors.Join(err, probe.Close())
	}
	if err := probe.Close(); err != nil {
		return fmt.Errorf("detaching the kprobe: %w", err)
	}
	_, _, err = call(reader, 200*time.Millisecond)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err == nil:
		return errors.New("an event came after the program was detached")
	}
	return fmt.Errorf("after the program was detached: %w", err)
}

// see calls the function and holds the event against what is known.
func see(o *serial.Observation, reader *ringbuf.Reader) error {
	event, thread, err := call(reader, 10*time.Second)
	if err != nil {
		return fmt.Errorf("no event of %s: %w", probed, err)
	}
	if len(event) < eventSize {
		return fmt.Errorf("an event of %d bytes: want %d", len(event), eventSize)
	}
	order := binary.NativeEndian
	pid, tgid, helper := order.Uint32(event), order.Uint32(event[4:]), order.Uint64(event[8:])
	o.Value = fmt.Sprintf("kprobe on %s: task_struct has pid %d and tgid %d", probed, pid, tgid)
	if int(pid) != thread || int(tgid) != os.Getpid() || helper != uint64(tgid)<<32|uint64(pid) {
		return fmt.Errorf("want pid %d and tgid %d; the helper of the kernel says %d and %d",
			thread, os.Getpid(), uint32(helper), helper>>32)
	}
	return nil
}

// call enters the probed function and waits for an event. The thread is not the
// first one, which main holds, so that its pid is not its tgid.
func call(reader *ringbuf.Reader, wait time.Duration) (event []byte, thread int, err error) {
	called := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread = unix.Gettid()
		_, err := unix.Getpgid(0)
		called <- err
	}()
	if err := <-called; err != nil {
		return nil, 0, err
	}
	reader.SetDeadline(time.Now().Add(wait))
	record, err := reader.Read()
	return record.RawSample, thread, err
}

// instructions reads the two fields of the current task where the relocations
// say they are, and sends them.
func instructions(events int, fields []*btf.CORERelocation) asm.Instructions {
	pid, tgid, helper := int16(-eventSize), int16(-eventSize+4), int16(-eventSize+8)
	program := asm.Instructions{
		asm.FnGetCurrentTask.Call(),
		asm.Mov.Reg(asm.R6, asm.R0),
	}
	for i, slot := range []int16{pid, tgid} {
		program = append(program,
			asm.Mov.Reg(asm.R3, asm.R6),
			// The offset in the local type, until the relocation replaces it.
			btf.WithCORERelocationMetadata(asm.Add.Imm(asm.R3, int32(4*i)), fields[i]),
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
