package qemu

import (
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// trial says how a device or an object is tried.
type trial struct {
	// name is that of the device, which is also its id, or of the object.
	name   string
	object bool
	// args come before it on the command line: what it is connected to.
	args []string
	// properties are its own.
	properties string
	// needs is a device file of the host that it needs, or hardware that no test has.
	needs string
	// hidden says that QEMU lists it only on a host that has what it needs.
	hidden bool
	// last puts it after everything else, and rank is its place in the order.
	last bool
	rank int
	// alone puts it into a machine of its own, because it excludes another device.
	alone bool
}

// trials are in the order of the command line. Names are without bus. In arguments
// DIR is a folder of the trial's own, SOCKET that of a vhost-user process, and BUS
// pci or ccw.
var trials = []trial{
	{name: "memory-backend-memfd", object: true, properties: "size=16M"},
	{name: "memory-backend-ram", object: true, properties: "size=16M"},
	{name: "memory-backend-file", object: true, properties: "size=16M,mem-path=DIR/memory"},
	{name: "memory-backend-epc", object: true, properties: "size=16M,prealloc=on", needs: "/dev/sgx_vepc", hidden: true},
	{name: "iothread", object: true},
	{name: "rng-random", object: true, properties: "filename=/dev/urandom"},
	{name: "iommufd", object: true, needs: "/dev/iommu"},
	{name: "sev-guest", object: true, properties: "cbitpos=51,reduced-phys-bits=1"},
	{name: "sev-snp-guest", object: true, properties: "cbitpos=51,reduced-phys-bits=1"},

	{name: "intel-iommu"},
	{name: "amd-iommu", alone: true},
	{name: "arm-smmuv3", properties: "primary-bus=pcie.0"},

	{name: "pcie-root-port", properties: "chassis=1,slot=1"},
	{name: "x3130-upstream", properties: "bus=pcie-root-port"},
	{name: "xio3130-downstream", properties: "bus=x3130-upstream,chassis=2,slot=1"},
	{name: "pcie-pci-bridge"},
	{name: "pci-bridge", properties: "chassis_nr=3,shpc=off"},

	{name: "virtio-blk", args: []string{"-blockdev", "null-co,node-name=blk,read-zeroes=on"}, properties: "drive=blk,iothread=/objects/iothread"},
	{name: "virtio-scsi", properties: "iothread=/objects/iothread"},
	{name: "scsi-hd", args: []string{"-blockdev", "null-co,node-name=hd,read-zeroes=on"}, properties: "drive=hd,bus=virtio-scsi-BUS.0"},
	{name: "virtio-net"},
	{name: "virtio-serial"},
	{name: "virtconsole", args: []string{"-chardev", "null,id=console"}, properties: "chardev=console"},
	{name: "virtserialport", args: []string{"-chardev", "null,id=port"}, properties: "chardev=port"},
	{name: "virtio-rng", properties: "rng=/objects/rng-random"},
	{name: "virtio-mem", args: []string{"-object", "memory-backend-ram,id=added,size=1G"}, properties: "memdev=added"},
	{name: "pc-dimm", args: []string{"-object", "memory-backend-ram,id=dimm,size=1G"}, properties: "memdev=dimm"},
	{
		name: "nvdimm", args: []string{"-object", "memory-backend-file,id=image,size=1G,mem-path=DIR/image,share=on"},
		// pseries needs the label and the UUID.
		properties: "memdev=image,label-size=128k,uuid=8b1b2f0e-6d5c-4c38-9f6d-2f0a8d4f9a11",
	},
	{name: "virtio-9p", args: []string{"-fsdev", "local,id=folder,security_model=none,path=DIR"}, properties: "fsdev=folder,mount_tag=folder"},

	{name: "vhost-user-blk", args: []string{"-chardev", "socket,id=user-blk,path=SOCKET"}, properties: "chardev=user-blk"},
	{name: "vhost-user-scsi", args: []string{"-chardev", "socket,id=user-scsi,path=SOCKET"}, properties: "chardev=user-scsi"},
	{name: "vhost-user-fs", args: []string{"-chardev", "socket,id=user-fs,path=SOCKET"}, properties: "chardev=user-fs,tag=user"},
	{name: "vhost-vsock", properties: "guest-cid=1048577", needs: "/dev/vhost-vsock"},
	// QEMU puts a device that names no bus on an expander that comes before it.
	{name: "pxb-pcie", properties: "bus_nr=128", last: true},

	{name: "vfio-pci", needs: "a PCI device that is bound to vfio-pci"},
	{name: "vfio-ccw", needs: "a subchannel that is bound to vfio_ccw"},
	{name: "vfio-ap", needs: "queues of crypto adapters that are bound to vfio_ap"},
	{name: "s390-pv-guest", object: true, needs: "a machine with protected virtualization"},
	{name: "pef-guest", object: true, needs: "a machine with an ultravisor"},
}

// trialsOf returns the trials of devices or objects, in the order of the command
// line. A name without a trial is tried without arguments, after the others.
func trialsOf(names []string, object bool) (all []trial) {
	for _, name := range names {
		rank := slices.IndexFunc(trials, func(t trial) bool {
			return t.object == object && (t.name == name || t.name == stem(name))
		})
		t := trial{object: object, rank: len(trials)}
		if rank >= 0 {
			t = trials[rank]
			t.rank = rank
		}
		if t.last {
			t.rank = len(trials) + 1
		}
		t.name = name
		all = append(all, t)
	}
	slices.SortStableFunc(all, func(a, b trial) int { return a.rank - b.rank })
	return all
}

// lacking says what this host lacks for a trial.
func (t trial) lacking() string {
	switch {
	case t.needs == "":
		return ""
	case !strings.HasPrefix(t.needs, "/"):
		return "it needs " + t.needs
	}
	if err := host.Usable(t.needs); err != nil {
		return err.Error()
	}
	return ""
}

// setting is the machine that trials are part of.
type setting struct {
	// accelerator is that of -accel.
	accelerator string
	// dir is a folder of the trial's own, socket that of a vhost-user process.
	dir, socket string
	// kernel is what the guest would start, "" for nothing.
	kernel string
}

// arguments returns QEMU's arguments for a machine that waits, confined like Kata's,
// with QMP on its standard input and output.
func (s setting) arguments(m machine) []string {
	machine := m.name + ",memory-backend=ram"
	if m.name == "q35" || m.name == "virt" {
		machine += ",nvdimm=on"
	}
	accelerator := s.accelerator
	if m.name == "q35" && accelerator == "kvm" {
		// Kata sets this; an IOMMU needs it.
		accelerator += ",kernel-irqchip=split"
	}
	args := []string{
		"-no-user-config", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio",
		"-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny",
		"-accel", accelerator, "-m", "256M,slots=4,maxmem=8G",
		"-object", "memory-backend-memfd,id=ram,size=256M,share=on", "-machine", machine,
	}
	if s.kernel != "" {
		args = append(args, "-kernel", s.kernel)
	}
	bus := "pci"
	if m.name == "s390-ccw-virtio" {
		bus = "ccw"
	}
	values := strings.NewReplacer("DIR", host.Comma(s.dir), "SOCKET", host.Comma(s.socket), "BUS", bus)
	for _, t := range slices.Concat(m.objects, m.devices) {
		for _, arg := range t.args {
			args = append(args, values.Replace(arg))
		}
		option, value := "-device", t.name+",id="+t.name
		if t.object {
			option = "-object"
		}
		if t.properties != "" {
			value += "," + values.Replace(t.properties)
		}
		args = append(args, option, value)
	}
	return args
}
