package qemu

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// family is the folder of the emulators.
const family = "../../../../assets/qemu"

// listOf is a tree with one list, "x.list".
func listOf(text string) fs.FS { return fstest.MapFS{"x.list": {Data: []byte(text)}} }

func TestParseDevices(t *testing.T) {
	const text = `# A comment.
Q35        machine:q35
VIRTIO_BLK virtio-blk-pci # and another

VIRTIO_PCI
SEV        object:sev-guest object:sev-snp-guest
-          object:iothread pc-dimm
`
	got, err := parseDevices(listOf(text), "x.list")
	want := list{
		"-device":  {"virtio-blk-pci", "pc-dimm"},
		"-object":  {"sev-guest", "sev-snp-guest", "iothread"},
		"-machine": {"q35"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestParseDevicesErrors(t *testing.T) {
	for title, test := range map[string]struct{ list, want string }{
		"kind":    {"Q35 machine:q35\nX devcie:x", `x.list:2: "devcie:x": want a device, object:NAME or machine:NAME`},
		"twice":   {"Q35 machine:q35\nX a\nY b a", `x.list:3: "a" has no name, or is a duplicate`},
		"no name": {"Q35 machine:", `x.list:1: "machine:" has no name`},
		"machine": {"X a", "x.list: no machine:NAME"},
		"empty":   {"", "x.list: no machine:NAME"},
	} {
		t.Run(title, func(t *testing.T) {
			if _, err := parseDevices(listOf(test.list), "x.list"); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestParseFirmware(t *testing.T) {
	got, err := parseFirmware(listOf("# BIOS\nbios.bin /usr/share/bios.bin\npvh.bin source:pc-bios/optionrom\n"), "x.list")
	want := []string{"bios.bin", "pvh.bin"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, list := range []string{"bios.bin", "a b c", "../x /x", "a /x\na /y"} {
		if got, err := parseFirmware(listOf(list), "x.list"); err == nil {
			t.Errorf("%q: got %v", list, got)
		}
	}
}

// The lists of the tree parse, and require what every emulator of Kata has.
func TestLists(t *testing.T) {
	for _, arch := range []string{"x86_64", "aarch64", "s390x", "ppc64le"} {
		devices, err := parseDevices(os.DirFS(family), "devices/"+arch+".list")
		if err != nil {
			t.Error(err)
		}
		bus := "pci"
		if arch == "s390x" {
			bus = "ccw"
		}
		for _, name := range []string{"virtio-blk", "virtio-scsi", "virtio-net", "virtio-serial", "virtio-rng", "virtio-balloon", "virtio-9p", "vhost-user-fs", "vhost-vsock"} {
			if !slices.Contains(devices["-device"], name+"-"+bus) {
				t.Errorf("%s: no %s-%s", arch, name, bus)
			}
		}
		if _, err := parseFirmware(os.DirFS(family), "firmware/"+arch+".list"); err != nil {
			t.Error(err)
		}
	}
}

func TestParseHelp(t *testing.T) {
	got := parseHelp("List of user creatable objects:\n  iothread\n  sev-guest\n\n")
	if diff := cmp.Diff([]string{"iothread", "sev-guest"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnasked(t *testing.T) {
	const help = `Controller/Bridge/Hub devices:
name "pci-bridge", bus PCI, desc "Standard PCI Bridge"

Network devices:
name "e1000", bus PCI, alias "e1000-82540em"
name "virtio-net-device", bus virtio-bus
name "virtio-net-pci", bus PCI, alias "virtio-net"
name "virtio-net-pci-non-transitional", bus PCI

Display devices:
name "ramfb", bus System

Quantum devices:
name "qubit"
`
	offers := parseDeviceHelp(help)
	if len(offers) != 7 {
		t.Errorf("%d devices: %v", len(offers), offers)
	}
	got := unasked(offers, []string{"pci-bridge", "virtio-net-pci"})
	want := []offer{{name: "e1000", kind: "Network"}, {name: "ramfb", kind: "Display"}, {name: "qubit", kind: "Quantum"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(offer{})); diff != "" {
		t.Error(diff)
	}
}

// Each machine of a list is made, the last with the devices of virtio-mmio, and a device
// that excludes others has a machine of its own.
func TestMachines(t *testing.T) {
	e := Emulator{required: list{
		"-machine": {"q35", "microvm"}, "-object": {"iothread"},
		"-device": {"virtio-blk-pci", "virtio-blk-device", "amd-iommu", "vfio-pci"},
	}}
	machines, without := e.machines()
	var got []string
	for _, m := range machines {
		names := []string{m.title() + ":"}
		for _, t := range append(m.objects, m.devices...) {
			names = append(names, t.name)
		}
		got = append(got, strings.Join(names, " "))
	}
	want := []string{
		"machine q35: iothread virtio-blk-pci",
		"machine microvm: iothread virtio-blk-device",
		"machine q35 with amd-iommu: iothread amd-iommu",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(without) != 1 || !strings.HasPrefix(without[0], "vfio-pci: ") {
		t.Errorf("without %v", without)
	}
}

func TestArgs(t *testing.T) {
	m := machine{
		name:    "s390-ccw-virtio",
		objects: trialsOf([]string{"iothread"}, true),
		devices: trialsOf([]string{"new-thing", "xio3130-downstream", "scsi-hd", "virtio-scsi-ccw", "pxb-pcie", "vfio-ccw"}, false),
	}
	var names []string
	for _, trial := range m.devices {
		names = append(names, trial.name)
	}
	want := []string{"xio3130-downstream", "virtio-scsi-ccw", "scsi-hd", "vfio-ccw", "new-thing", "pxb-pcie"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if m.devices[3].lacking() == "" {
		t.Error("vfio-ccw takes nothing of the host")
	}
	s := setting{accelerator: "qtest", dir: "/a,b"}
	got := strings.Join(s.arguments(m), " ")
	for _, part := range []string{
		"-accel qtest ", "-machine s390-ccw-virtio,memory-backend=ram ", "-object iothread,id=iothread ",
		"-device virtio-scsi-ccw,id=virtio-scsi-ccw,iothread=/objects/iothread ",
		"-device scsi-hd,id=scsi-hd,drive=hd,bus=virtio-scsi-ccw.0 ",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in %s", part, got)
		}
	}
	nvdimm := machine{name: "q35", devices: trialsOf([]string{"nvdimm"}, false)}
	s.accelerator = "kvm"
	got = strings.Join(s.arguments(nvdimm), " ")
	for _, part := range []string{"mem-path=/a,,b/image", "-machine q35,memory-backend=ram,nvdimm=on", "-accel kvm,kernel-irqchip=split"} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in %s", part, got)
		}
	}
}
