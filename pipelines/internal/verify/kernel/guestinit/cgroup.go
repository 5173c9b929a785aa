package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

const (
	cgroups = "/sys/fs/cgroup"
	guest   = cgroups + "/guest"
)

// controllers lists the controllers of cgroup v2, and hands all of them to a
// group of containers.
func controllers(o *serial.Observation) error {
	text, err := read(filepath.Join(cgroups, "cgroup.controllers"))
	if err != nil {
		return err
	}
	o.Items = strings.Fields(text)
	for _, controller := range o.Items {
		if err := os.WriteFile(filepath.Join(cgroups, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
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
	if err := open(os.DevNull); err != nil {
		return fmt.Errorf("before any rule: %w", err)
	}
	rules, err := link.AttachCgroup(link.CgroupOptions{Path: guest, Attach: ebpf.AttachCGroupDevice, Program: program})
	if err != nil {
		return fmt.Errorf("attaching the program: %w", err)
	}
	forbidden := open(os.DevNull)
	if err := rules.Close(); err != nil {
		return fmt.Errorf("detaching the program: %w", err)
	}
	if !errors.Is(forbidden, unix.EPERM) {
		return errors.Join(errors.New("opening a forbidden device: want EPERM"), forbidden)
	}
	if err := open(os.DevNull); err != nil {
		return fmt.Errorf("after the rules were removed: %w", err)
	}
	o.Value = "forbidden, and allowed again"
	return nil
}

// enter moves the init into a group.
func enter(group string) error {
	return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
}

func open(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return file.Close()
}
