package emulator

import (
	"slices"
	"strings"
)

// Trial is how a device or an object is tried.
type Trial struct {
	// Name is that of the device, which is also its id, or of the object.
	Name string
	// Object says that it is one.
	Object bool
	// Args stand before it: what it is connected to.
	Args []string
	// Properties are its own.
	Properties string
	// Needs is the file of the host without which it cannot be made; Hardware,
	// where it is not "", is what of the host it takes and no test has.
	Needs, Hardware string
	// Hidden says that QEMU names it only where Needs is there.
	Hidden bool
	// Last says that it comes after everything else.
	Last bool
	// Round is the machine it is tried in, counted from 0: some exclude others.
	Round int
}

// trials are in the order of the command line. Names have no bus, and in arguments
// DIR stands for a folder of the trial's own, SOCKET for that of a vhost-user
// process, and BUS for pci or ccw.
var trials = []Trial{
	{Name: "memory-backend-memfd", Object: true, Properties: "size=16M"},
	{Name: "memory-backend-ram", Object: true, Properties: "size=16M"},
	{Name: "memory-backend-file", Object: true, Properties: "size=16M,mem-path=DIR/memory"},
	{Name: "memory-backend-epc", Object: true, Properties: "size=16M,prealloc=on", Needs: "/dev/sgx_vepc", Hidden: true},
	{Name: "iothread", Object: true},
	{Name: "rng-random", Object: true, Properties: "filename=/dev/urandom"},
	{Name: "iommufd", Object: true, Needs: "/dev/iommu"},
	{Name: "sev-guest", Object: true, Properties: "cbitpos=51,reduced-phys-bits=1"},
	{Name: "sev-snp-guest", Object: true, Properties: "cbitpos=51,reduced-phys-bits=1"},

	{Name: "intel-iommu"},
	{Name: "amd-iommu", Round: 1},
	{Name: "arm-smmuv3", Properties: "primary-bus=pcie.0"},

	{Name: "pcie-root-port", Properties: "chassis=1,slot=1"},
	{Name: "x3130-upstream", Properties: "bus=pcie-root-port"},
	{Name: "xio3130-downstream", Properties: "bus=x3130-upstream,chassis=2,slot=1"},
	{Name: "pcie-pci-bridge"},
	{Name: "pci-bridge", Properties: "chassis_nr=3,shpc=off"},

	{Name: "virtio-blk", Args: []string{"-blockdev", "null-co,node-name=blk,read-zeroes=on"}, Properties: "drive=blk,iothread=/objects/iothread"},
	{Name: "virtio-scsi", Properties: "iothread=/objects/iothread"},
	{Name: "scsi-hd", Args: []string{"-blockdev", "null-co,node-name=hd,read-zeroes=on"}, Properties: "drive=hd,bus=virtio-scsi-BUS.0"},
	{Name: "virtio-net"},
	{Name: "virtio-serial"},
	{Name: "virtconsole", Args: []string{"-chardev", "null,id=console"}, Properties: "chardev=console"},
	{Name: "virtserialport", Args: []string{"-chardev", "null,id=port"}, Properties: "chardev=port"},
	{Name: "virtio-rng", Properties: "rng=/objects/rng-random"},
	{Name: "virtio-mem", Args: []string{"-object", "memory-backend-ram,id=added,size=1G"}, Properties: "memdev=added"},
	{Name: "pc-dimm", Args: []string{"-object", "memory-backend-ram,id=dimm,size=1G"}, Properties: "memdev=dimm"},
	{
		Name: "nvdimm", Args: []string{"-object", "memory-backend-file,id=image,size=1G,mem-path=DIR/image,share=on"},
		// The label and the name are what pseries asks for.
		Properties: "memdev=image,label-size=128k,uuid=8b1b2f0e-6d5c-4c38-9f6d-2f0a8d4f9a11",
	},
	{Name: "virtio-9p", Args: []string{"-fsdev", "local,id=folder,security_model=none,path=DIR"}, Properties: "fsdev=folder,mount_tag=folder"},

	{Name: "vhost-user-blk", Args: []string{"-chardev", "socket,id=user-blk,path=SOCKET"}, Properties: "chardev=user-blk"},
	{Name: "vhost-user-scsi", Args: []string{"-chardev", "socket,id=user-scsi,path=SOCKET"}, Properties: "chardev=user-scsi"},
	{Name: "vhost-user-fs", Args: []string{"-chardev", "socket,id=user-fs,path=SOCKET"}, Properties: "chardev=user-fs,tag=user"},
	{Name: "vhost-vsock", Properties: "guest-cid=1048577", Needs: "/dev/vhost-vsock"},
	// Devices that come after an expander, and name no bus, would be put on it.
	{Name: "pxb-pcie", Properties: "bus_nr=128", Last: true},

	{Name: "vfio-pci", Hardware: "a PCI device that is bound to vfio-pci"},
	{Name: "vfio-ccw", Hardware: "a subchannel that is bound to vfio_ccw"},
	{Name: "vfio-ap", Hardware: "queues of crypto adapters that are bound to vfio_ap"},
	{Name: "s390-pv-guest", Object: true, Hardware: "a machine with protected virtualization"},
	{Name: "pef-guest", Object: true, Hardware: "a machine with an ultravisor"},
}

// Trials returns how everything that a list requires is tried, in the order of
// the command line. What nobody has said anything about is tried as it is.
func Trials(required Devices) []Trial {
	var all []Trial
	for _, object := range required.Objects {
		all = append(all, find(object, true))
	}
	for _, device := range required.Devices {
		all = append(all, find(device, false))
	}
	slices.SortStableFunc(all, func(a, b Trial) int { return position(a) - position(b) })
	return all
}

func find(name string, object bool) Trial {
	i := index(name, object)
	if i == len(trials) {
		return Trial{Name: name, Object: object}
	}
	found := trials[i]
	found.Name = name
	return found
}

func position(t Trial) int {
	if t.Last {
		return len(trials) + 1
	}
	return index(t.Name, t.Object)
}

// index returns where a device or object stands among the trials; what is not
// there comes last.
func index(name string, object bool) int {
	i := slices.IndexFunc(trials, func(t Trial) bool {
		return t.Object == object && (t.Name == name || t.Name == stem(name))
	})
	if i < 0 {
		return len(trials)
	}
	return i
}

// Setting is where trials are made.
type Setting struct {
	// Machine is that of -machine, Accelerator that of -accel.
	Machine, Accelerator string
	// Dir is a folder of the trial's own, Socket that of a vhost-user process.
	Dir, Socket string
	// Kernel is what the guest would start, "" for nothing.
	Kernel string
}

// Args returns QEMU's arguments for a machine with these devices and objects. It
// waits, confined as Kata does it, with QMP on its standard input and output.
func (s Setting) Args(all []Trial) []string {
	machine := s.Machine + ",memory-backend=ram"
	if s.Machine == "q35" || s.Machine == "virt" {
		machine += ",nvdimm=on"
	}
	accelerator := s.Accelerator
	if s.Machine == "q35" && accelerator == "kvm" {
		// What Kata asks for; an IOMMU needs it.
		accelerator += ",kernel-irqchip=split"
	}
	args := []string{
		"-no-user-config", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio",
		"-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny",
		"-accel", accelerator, "-m", "256M,slots=4,maxmem=8G",
		"-object", "memory-backend-memfd,id=ram,size=256M,share=on", "-machine", machine,
	}
	if s.Kernel != "" {
		args = append(args, "-kernel", s.Kernel)
	}
	bus := "pci"
	if s.Machine == "s390-ccw-virtio" {
		bus = "ccw"
	}
	values := strings.NewReplacer("DIR", double(s.Dir), "SOCKET", double(s.Socket), "BUS", bus)
	for _, trial := range all {
		for _, arg := range trial.Args {
			args = append(args, values.Replace(arg))
		}
		option, value := "-device", trial.Name+",id="+trial.Name
		if trial.Object {
			option = "-object"
		}
		if trial.Properties != "" {
			value += "," + values.Replace(trial.Properties)
		}
		args = append(args, option, value)
	}
	return args
}

// double doubles the commas of a value: a single one would begin a property.
func double(value string) string { return strings.ReplaceAll(value, ",", ",,") }
