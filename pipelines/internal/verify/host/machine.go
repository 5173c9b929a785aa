package host

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// Machine says how to start QEMU for guests of one architecture.
type Machine struct {
	// Program is the QEMU to run, and Package the Debian and Ubuntu package that has it.
	Program, Package string
	// Model are the arguments for machine and processor.
	Model []string
	// Console is the kernel's name for the serial line, and ConsoleOption the
	// kernel option that it needs.
	Console, ConsoleOption string
	// Bus ends the names of virtio devices: pci, or ccw.
	Bus string
	// Pmem says that QEMU has virtio-pmem for the machine; for arm64 Debian 12 has not.
	Pmem bool
	// Emulated are parameters of the kernel for a guest without KVM.
	Emulated string
	// NVDIMM are the arguments for a machine that has them and names them to a kernel which
	// it starts without firmware; nil for others.
	NVDIMM []string
}

// machines are the plainest ones that boot Kata's kernels, by architecture as
// `uname -m` prints it.
var machines = map[string]Machine{
	"x86_64": {
		Program: "qemu-system-x86_64", Package: "qemu-system-x86",
		Model:   []string{"-machine", "q35", "-cpu", "max"},
		Console: "ttyS0", ConsoleOption: "CONFIG_SERIAL_8250_CONSOLE", Bus: "pci", Pmem: true,
		// On a busy machine the timer's interrupts come too late for the kernel, which
		// panics then.
		Emulated: " no_timer_check",
		NVDIMM:   []string{"-machine", "nvdimm=on"},
	},
	"aarch64": {
		Program: "qemu-system-aarch64", Package: "qemu-system-arm",
		// Under TCG the architected pointer authentication algorithm takes most of
		// the time of a boot.
		Model:   []string{"-machine", "virt", "-cpu", "max,pauth-impdef=on"},
		Console: "ttyAMA0", ConsoleOption: "CONFIG_SERIAL_AMBA_PL011_CONSOLE", Bus: "pci",
	},
	"s390x": {
		Program: "qemu-system-s390x", Package: "qemu-system-s390x (qemu-system-misc before Debian 13)",
		Model:   []string{"-machine", "s390-ccw-virtio", "-cpu", "max"},
		Console: "ttysclp0", ConsoleOption: "CONFIG_SCLP_VT220_CONSOLE", Bus: "ccw",
	},
	"ppc64le": {
		Program: "qemu-system-ppc64", Package: "qemu-system-ppc",
		// The mitigations that the machine offers need hardware.
		Model:   []string{"-machine", "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off", "-cpu", "power9"},
		Console: "hvc0", ConsoleOption: "CONFIG_HVC_CONSOLE", Bus: "pci",
	},
}

// ForArch returns the machine for an architecture, if there is one.
func ForArch(arch string) (m Machine, ok bool) {
	m, ok = machines[arch]
	return m, ok
}

// The number of processors and the memory, in MiB, of a guest.
const (
	Processors = 2
	memory     = 1024
)

// DiskSize is the size of the images Disk and Pmem.
const DiskSize = 32 << 20

// Guest describes one boot; Kernel, Initrd, Disk, Pmem, NVDIMM, Share and Port are paths.
type Guest struct {
	Kernel, Initrd string
	// Accelerator is "tcg" or "kvm".
	Accelerator string
	// Disk is a raw image, behind virtio-blk. Extension is a second one, "" for none, and
	// Serial the serial number of its disk.
	Disk              string
	Extension, Serial string
	// Pmem is a raw image behind virtio-pmem, "" for none.
	Pmem string
	// NVDIMM is a raw image in an NVDIMM, "" for none.
	NVDIMM string
	// Share is a folder, over virtio-9p under the tag ShareTag.
	Share, ShareTag string
	// Port is the file that gets what the guest writes to the virtio serial
	// port PortName.
	Port, PortName string
	// Vsock is the guest's address where it gets a vsock device of the host, 0 where it gets
	// none. VsockSocket is the unix socket of a process that serves one instead.
	Vsock       uint32
	VsockSocket string
}

// Plain returns QEMU's arguments for a machine without devices, with its serial
// line on stdin and stdout.
func (m Machine) Plain(accelerator string) []string {
	return append(slices.Clone(m.Model), "-accel", accelerator, "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio")
}

// Args returns QEMU's arguments for a guest.
func (m Machine) Args(g Guest) []string {
	network := ",netdev=net"
	if m.Bus == "pci" {
		// Its firmware for booting from the network is in another package.
		network += ",romfile="
	}
	args := append(m.start(g),
		"-device", "virtio-rng-"+m.Bus,
		"-netdev", "user,id=net,restrict=on", "-device", "virtio-net-"+m.Bus+network,
		"-drive", "if=none,id=disk,format=raw,file="+Comma(g.Disk), "-device", "virtio-blk-"+m.Bus+",drive=disk",
		"-fsdev", "local,id=share,security_model=none,path="+Comma(g.Share),
		"-device", "virtio-9p-"+m.Bus+",fsdev=share,mount_tag="+g.ShareTag,
		"-chardev", "file,id=port,path="+Comma(g.Port), "-device", "virtio-serial-"+m.Bus,
		"-device", "virtserialport,chardev=port,name="+g.PortName)
	if g.Pmem != "" {
		// The device is in an address range of its own, next to the memory.
		args = append(args, "-m", "slots=1,maxmem=4G",
			"-object", fmt.Sprintf("memory-backend-file,id=pmem,share=on,size=%d,mem-path=%s", DiskSize, Comma(g.Pmem)),
			"-device", "virtio-pmem-pci,memdev=pmem")
	}
	return append(args, m.vsock(g)...)
}

// Brief returns QEMU's arguments for a guest with no device except, on a unix socket, the
// folder that a process of this machine shares. The parameters are further ones of the
// kernel.
func (m Machine) Brief(g Guest, socket, parameters string) []string {
	args := m.start(g)
	// After an oops it would hang until its time is over.
	args[len(args)-1] += " oops=panic " + parameters
	if socket == "" {
		return args
	}
	return slices.Concat(args, shared(), []string{"-chardev", "socket,id=share,path=" + Comma(socket),
		"-device", "vhost-user-fs-" + m.Bus + ",chardev=share,tag=" + g.ShareTag})
}

// shared makes the memory of a guest one that other processes read and write.
func shared() []string {
	return []string{"-object", fmt.Sprintf("memory-backend-memfd,id=memory,share=on,size=%dM", memory), "-machine", "memory-backend=memory"}
}

// vsock gives a guest its vsock device.
func (m Machine) vsock(g Guest) []string {
	switch {
	case g.VsockSocket != "":
		return append(shared(), "-chardev", "socket,id=vsock,path="+Comma(g.VsockSocket), "-device", "vhost-user-vsock-"+m.Bus+",chardev=vsock")
	case g.Vsock != 0:
		return []string{"-device", fmt.Sprintf("vhost-vsock-%s,guest-cid=%d", m.Bus, g.Vsock)}
	}
	return nil
}

// Rooted returns QEMU's arguments for a guest that runs the root filesystem which it gets as
// Initrd, Disk or NVDIMM, with further parameters of the kernel. It cannot change the images.
func (m Machine) Rooted(g Guest, parameters string) []string {
	args := m.start(g)
	args[len(args)-1] += " " + parameters
	args = append(args, m.vsock(g)...)
	if g.Disk != "" {
		args = append(args, "-drive", "if=none,id=disk,format=raw,readonly=on,file="+Comma(g.Disk), "-device", "virtio-blk-"+m.Bus+",drive=disk")
	}
	if g.Extension != "" {
		args = append(args, "-drive", "if=none,id=extension,format=raw,readonly=on,file="+Comma(g.Extension),
			"-device", "virtio-blk-"+m.Bus+",drive=extension,serial="+Comma(g.Serial))
	}
	if g.NVDIMM == "" {
		return args
	}
	size := int64(0)
	if info, err := os.Stat(g.NVDIMM); err == nil { // QEMU reports a file that it cannot open.
		size = info.Size()
	}
	return slices.Concat(args, m.NVDIMM, []string{
		"-m", "slots=1,maxmem=16G",
		"-object", fmt.Sprintf("memory-backend-file,id=nvdimm,share=on,readonly=on,size=%d,mem-path=%s", size, Comma(g.NVDIMM)),
		"-device", "nvdimm,memdev=nvdimm,unarmed=on",
	})
}

// start returns QEMU's arguments for a machine that starts a kernel. The last one has the
// parameters of the kernel.
func (m Machine) start(g Guest) []string {
	args := append(m.Plain(g.Accelerator), "-smp", strconv.Itoa(Processors), "-kernel", g.Kernel)
	if g.Initrd != "" {
		args = append(args, "-initrd", g.Initrd)
	}
	// A panic restarts the machine, which -no-reboot turns into its end.
	parameters := "console=" + m.Console + " panic=-1"
	if g.Accelerator == "tcg" {
		parameters += m.Emulated
	}
	return append(args, "-append", parameters)
}

// Comma doubles the commas of a value: QEMU takes a single one for the start
// of the next property.
func Comma(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// MachineFor returns the machine for an architecture and the path of its QEMU. The
// error is a report.Missing, also where checks start no guest.
func (h Host) MachineFor(arch string) (Machine, string, error) {
	m, known := ForArch(arch)
	if h.Skip != "" {
		return m, "", report.Missing(h.Skip)
	}
	if !known {
		return m, "", report.Missing("no QEMU machine is known for " + arch)
	}
	program, err := h.Find(m.Program, m.Package)
	return m, program, err
}
