//go:build linux

// Command guestinit is /init of the guest that a kernel is verified in. It
// mounts what a Kata guest mounts, looks at the devices, moves a little data
// through each of them, and reports what it saw over the serial line, a line at a
// time (see package serial). The host decides whether the kernel works. At the end
// the init turns the machine off.
package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// steps are in the order of their needs. The result of each goes out before the next
// one starts, so that the last one shows where a guest hangs.
var steps = []struct {
	name string
	look func(*serial.Observation)
}{
	{serial.Begin, quiet},
	{serial.Mount + "proc", mountAt("proc", "/proc")},
	{serial.Mount + "sysfs", mountAt("sysfs", "/sys")},
	{serial.Mount + "devtmpfs", mountAt("devtmpfs", "/dev")},
	{serial.Kernel, uname},
	{serial.Config, config},
	{serial.BTF, sum("/sys/kernel/btf/vmlinux")},
	{serial.Notes, notes},
	{serial.Drivers, drivers},
	{serial.Devices, devices},
	{serial.Disk, disk},
	{serial.Network, network},
	{serial.Entropy, entropy},
	{serial.Port, port},
	{serial.Vsock, vsock},
	{serial.Mount + "tmpfs", mountTmpfs},
	{serial.Mount + "overlay", mountOverlay},
	{serial.Mount + "ext4", mountExt4},
	{serial.Mount + "9p", mount9p},
	{serial.Mount + "virtiofs", mountVirtioFS},
	{serial.Submounts, submounts},
	{serial.DAX, mountDAX},
	{serial.Mount + "debugfs", mountAt("debugfs", "/sys/kernel/debug")},
	{serial.Mount + "tracefs", mountAt("tracefs", "/sys/kernel/tracing")},
	{serial.Controllers, controllers},
	// The library that loads programs reads the list of mounts only once.
	{serial.DeviceRules, deviceRules},
	{serial.Event, bpfEvent},
	{serial.Taint, taint},
}

// brief are the steps of a guest without most devices. The others do not mount virtiofs.
var brief = []string{
	serial.Begin, serial.Mount + "proc", serial.Mount + "sysfs", serial.Mount + "devtmpfs", serial.Kernel,
	serial.Mount + "virtiofs", serial.Submounts, serial.Taint,
}

func main() {
	runtime.LockOSThread()
	// Linux makes parameters that it does not know variables of the init.
	mode := "KATA_VERIFY=" + os.Getenv("KATA_VERIFY")
	isBrief := mode == serial.Brief || mode == serial.BriefRestart
	for _, s := range steps {
		shared := s.name == serial.Mount+"virtiofs" || s.name == serial.Submounts
		if isBrief && !slices.Contains(brief, s.name) || !isBrief && shared {
			continue
		}
		o := serial.Observation{Name: s.name}
		attempt(s.look, &o)
		say(o)
	}
	say(serial.Observation{Name: serial.End})
	unix.Sync()
	end := unix.LINUX_REBOOT_CMD_POWER_OFF
	if mode == serial.BriefRestart {
		end = unix.LINUX_REBOOT_CMD_RESTART
	}
	fmt.Println("init: ending:", unix.Reboot(end))
	// The kernel panics if its init ends, so wait for the host to end the machine.
	select {}
}

// attempt runs a step. A step is a line of actions that each need the one before, so the
// first that fails ends it, with the error of the observation. A panic is a bug of this
// init, and ends it: the console shows where.
func attempt(look func(*serial.Observation), o *serial.Observation) {
	_, err := report.Steps(func() string { look(o); return "" })
	if err != nil {
		o.Error = err.Error()
	}
}

func doing(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// say writes a line in one piece, on a line of its own.
func say(o serial.Observation) {
	line, err := serial.Encode(o)
	if err != nil {
		line = "init: " + err.Error()
	}
	fmt.Print("\n" + line + "\n")
}

// quiet makes the console show only errors of the kernel: otherwise the messages of
// every mount would come between the lines.
func quiet(*serial.Observation) {
	// This action of syslog(2) takes the level as the length of a buffer.
	const setConsoleLevel, errorsOnly = 8, 4
	_, err := unix.Klogctl(setConsoleLevel, make([]byte, errorsOnly))
	report.Must(doing("quieting the console", err))
}

// uname gives release and machine, the version, and the number of processors.
func uname(o *serial.Observation) {
	var name unix.Utsname
	report.Must(unix.Uname(&name))
	o.Value = unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:])
	o.Items = []string{unix.ByteSliceToString(name.Version[:])}
	o.Size = int64(runtime.NumCPU())
}
