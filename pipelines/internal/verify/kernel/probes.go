package kernel

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// probes are the checks of a running kernel, with what the init reports for each.
var probes = []struct {
	check, observation string
	// options are the kernel options that the check needs, off is one that must be off.
	options []string
	off     string
	// driver is the one that must bind a device.
	driver string
	// saw is what the check saw where nothing is compared.
	saw string
}{
	{check: "running release", observation: serial.Kernel},
	{check: "running machine", observation: serial.Kernel},
	{check: "/proc/config.gz", observation: serial.Config, options: []string{"CONFIG_IKCONFIG_PROC"}},
	{check: "/sys/kernel/btf", observation: serial.BTF, options: []string{"CONFIG_DEBUG_INFO_BTF"}},
	{check: "same build", observation: serial.Notes},
	{check: "taint", observation: serial.Taint},
	{check: "virtio-blk", observation: serial.Disk, driver: "virtio_blk"},
	{check: "virtio-net", observation: serial.Network, driver: "virtio_net"},
	{check: "virtio-rng", observation: serial.Entropy, options: []string{"CONFIG_HW_RANDOM_VIRTIO"}, driver: "virtio_rng"},
	{check: "no virtio-rng", observation: serial.Devices, off: "CONFIG_HW_RANDOM_VIRTIO"},
	{check: "virtio-console", observation: serial.Port, driver: "virtio_console"},
	{check: "virtio-9p", observation: serial.Mount + "9p", driver: "9pnet_virtio"},
	{check: "virtio-vsock", observation: serial.Vsock, driver: "vmw_vsock_virtio_transport"},
	{check: "virtio drivers", observation: serial.Drivers},
	{check: "vsock sockets", observation: serial.Vsock, saw: "a socket, and /dev/vsock"},
	{check: "mount tmpfs", observation: serial.Mount + "tmpfs", saw: "written and read"},
	{check: "mount overlay", observation: serial.Mount + "overlay", saw: "read through, written above, removed"},
	{check: "mount ext4", observation: serial.Mount + "ext4"},
	{check: "mount DAX", observation: serial.DAX, options: []string{"CONFIG_VIRTIO_PMEM", "CONFIG_FS_DAX"}, driver: "virtio_pmem"},
	{check: "mount debugfs", observation: serial.Mount + "debugfs", options: []string{"CONFIG_DEBUG_FS"}, saw: "mounted"},
	{check: "mount tracefs", observation: serial.Mount + "tracefs", options: []string{"CONFIG_FTRACE"}, saw: "mounted"},
	{check: "cgroup v2", observation: serial.Controllers},
	{check: "device rules", observation: serial.DeviceRules, options: []string{"CONFIG_CGROUP_BPF"}},
	{check: "BPF event", observation: serial.Event, options: []string{"CONFIG_DEBUG_INFO_BTF", "CONFIG_KPROBES"}},
}

// check runs the checks of a boot on the observations. An error of the guest comes
// before other problems. Checks of observations that the guest did not reach are
// skipped.
func (g *session) check() {
	g.r.Add(g.booted())
	if _, began := g.Saw[serial.Begin]; !began {
		return
	}
	devices := cmp.Or(g.Saw[serial.Devices].Error, strings.Join(g.Saw[serial.Devices].Items, "; "), "none")
	for _, p := range probes {
		if slices.ContainsFunc(p.options, func(option string) bool { return g.options[option] != "y" }) || g.options[p.off] == "y" {
			continue
		}
		o, there := g.Saw[p.observation]
		saw, err := p.saw, error(nil)
		switch {
		case p.check == "virtio-vsock" && g.spec.Vsock == 0:
			err = report.Missing("no device: this machine has no " + host.VhostVsock + " (modprobe vhost_vsock)")
		case p.check == "mount DAX" && !g.machine.Pmem:
			err = report.Missing("QEMU's machine for " + g.Arch + " has no virtio-pmem")
		case (p.check == "mount ext4" || p.check == "mount DAX") && g.noDisk != "":
			err = g.noDisk
		case !there:
			err = report.Missing("the guest did not get that far")
		case p.driver != "" && !strings.Contains("; "+devices, "; "+p.driver+":"):
			err = fmt.Errorf("no device has the driver %s (%s)", p.driver, devices)
		case o.Error != "":
			err = errors.New(o.Error)
		case saw == "":
			saw, err = g.judge(p.check, o)
		}
		g.r.Result(p.check, saw, err)
	}
}

// judge compares an observation with what it must be.
func (g *session) judge(check string, o serial.Observation) (saw string, err error) {
	switch check {
	case "running release":
		release, _, _ := strings.Cut(o.Value, " ")
		return release + ", " + strings.Join(o.Items, " "), equal("the release", release, g.release())
	case "running machine":
		_, machine, _ := strings.Cut(o.Value, " ")
		err := equal("the machine", machine, g.Arch)
		if g.options["CONFIG_SMP"] == "y" && o.Size != host.Processors {
			err = errors.Join(err, fmt.Errorf("%d processors: want %d", o.Size, host.Processors))
		}
		return fmt.Sprintf("%s, %d processors", machine, o.Size), err
	case "/proc/config.gz":
		want := fmt.Sprintf("%x", sha256.Sum256(g.config))
		return fmt.Sprintf("%d bytes unpacked, equals the config file", o.Size), same(o, want, "the config file")
	case "/sys/kernel/btf":
		return g.sameTypes(o)
	case "same build":
		return g.sameBuild(o)
	case "taint":
		if len(o.Items) > 0 {
			return "", errors.New(strings.Join(o.Items, "\n"))
		}
		return o.Value + ": no warning, no oops", nil
	case "cgroup v2":
		_, err := g.has("controller", o.Items, controllers)
		return strings.Join(o.Items, " "), err
	case "device rules":
		return "a BPF program on a cgroup: " + o.Value, nil
	case "BPF event":
		return "a program with offsets from BTF, " + o.Value + "; none after it was detached", nil
	}
	return g.judgeDevice(check, o)
}

// judgeDevice judges the data that went through a device.
func (g *session) judgeDevice(check string, o serial.Observation) (saw string, err error) {
	switch check {
	case "virtio-blk":
		return fmt.Sprintf("%s, read to its end, %d bytes", o.Value, o.Size), same(o, g.diskSum, "what is on the disk")
	case "virtio-net":
		return fmt.Sprintf("%s, the gateway %s answered", o.Value, strings.Join(o.Items, " ")), nil
	case "virtio-rng":
		if !strings.HasPrefix(o.Value, "virtio_rng") {
			return "", fmt.Errorf("/dev/hwrng is %q: want virtio_rng", o.Value)
		}
		return fmt.Sprintf("%s, %d bytes read", o.Value, o.Size), nil
	case "no virtio-rng":
		const unused = "no driver: "
		rng := slices.IndexFunc(o.Items, func(item string) bool { return strings.HasSuffix(item, ", type 0x0004") })
		if rng < 0 || !strings.HasPrefix(o.Items[rng], unused) {
			return "", fmt.Errorf("want virtio-rng without a driver among the devices: %s", strings.Join(o.Items, "; "))
		}
		return "the host offers random numbers, and no driver takes them", nil
	case "virtio-console":
		err := contains(g.spec.Port, "what came out of the port", serial.PortName+"\n")
		return o.Value + ", written to and read outside", err
	case "virtio-9p":
		return "a folder of the host mounted, read and written", errors.Join(
			equal("the file of the host", o.Value, g.nonce),
			contains(filepath.Join(g.spec.Share, serial.FromGuest), "the file of the guest", g.nonce))
	case "virtio-vsock":
		return "address " + o.Value, equal("the address", o.Value, strconv.FormatUint(uint64(g.spec.Vsock), 10))
	case "mount DAX":
		return "files on virtio-pmem mapped without copies: read, a hole filled", equal("the file of the host", o.Value, g.nonce)
	case "virtio drivers":
		return g.has("driver", o.Items, drivers)
	}
	return "on the virtio disk: read, written, and read after another mount", equal("the file of the host", o.Value, g.nonce)
}

// sameTypes compares the types that the kernel shows with those of the file.
func (g *session) sameTypes(o serial.Observation) (saw string, err error) {
	if g.full == nil {
		return "", report.Missing("no vmlinux to compare it with")
	}
	raw, err := g.full.BTF()
	if err != nil {
		return "", err
	}
	want := fmt.Sprintf("%x", sha256.Sum256(raw))
	return fmt.Sprintf("vmlinux, %d bytes, equals .BTF of the file", o.Size), same(o, want, ".BTF of vmlinux")
}

// sameBuild checks that vmlinuz, which runs, and vmlinux are the same kernel.
func (g *session) sameBuild(o serial.Observation) (saw string, err error) {
	switch {
	case g.vmlinux == nil:
		return "", report.Missing("no vmlinux to compare it with")
	case len(g.vmlinux.Sections) == 0:
		return "", report.Missing("vmlinux is compressed: its notes cannot be read")
	case g.vmlinux.Release == "" && len(g.vmlinuz.Sections) > 0:
		if !g.vmlinuz.Packs(*g.vmlinux) {
			return "", errors.New("vmlinux unpacks another kernel than vmlinuz")
		}
		return "vmlinux and vmlinuz are the same decompressor with the same kernel", nil
	}
	notes, err := hex.DecodeString(o.Value)
	if err != nil {
		return "", fmt.Errorf("the notes of the kernel: %w", err)
	}
	id := kimage.BuildID(notes)
	switch {
	case id == "":
		return "", errors.New("the running kernel has no build ID among its notes")
	case !g.vmlinux.Contains(notes):
		return "", fmt.Errorf("vmlinuz is a kernel with the build ID %s, and vmlinux another", id)
	}
	return "vmlinuz is the kernel of vmlinux, build ID " + id, nil
}

// feature is a driver or a controller, with the option that enables it, "" for one that
// must always be there.
type feature struct{ name, option string }

var (
	// drivers are those of devices that this guest does not have.
	drivers = []feature{
		{"virtio_balloon", "CONFIG_VIRTIO_BALLOON"}, {"virtiofs", "CONFIG_VIRTIO_FS"}, {"virtio_mem", "CONFIG_VIRTIO_MEM"},
		{"virtio_pmem", "CONFIG_VIRTIO_PMEM"}, {"virtio_scsi", "CONFIG_SCSI_VIRTIO"},
		{"vmw_vsock_virtio_transport", "CONFIG_VIRTIO_VSOCKETS"},
	}
	// controllers are those of cgroup v2 that Kata's agent sets limits with.
	controllers = []feature{
		{"cpu", ""}, {"cpuset", ""}, {"io", ""}, {"memory", ""}, {"pids", ""},
		{"hugetlb", "CONFIG_CGROUP_HUGETLB"}, {"rdma", "CONFIG_CGROUP_RDMA"}, {"misc", "CONFIG_CGROUP_MISC"},
	}
)

// has checks for the features that the options of the kernel enable.
func (g *session) has(kind string, items []string, features []feature) (saw string, err error) {
	var seen []string
	for _, f := range features {
		switch {
		case f.option != "" && g.options[f.option] != "y":
		case slices.Contains(items, f.name):
			seen = append(seen, f.name)
		case f.option == "":
			err = errors.Join(err, fmt.Errorf("no %s %s", kind, f.name))
		default:
			err = errors.Join(err, fmt.Errorf("no %s %s, despite %s", kind, f.name, f.option))
		}
	}
	return strings.Join(seen, ", "), err
}

// equal returns an error for a value that is not the wanted one.
func equal(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s is %q: want %q", what, got, want)
	}
	return nil
}

// contains returns an error for a file of the host that has other content.
func contains(path, what, want string) error {
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return equal(what, string(got), want)
}

// same returns an error for a file in the guest that is not the wanted one.
func same(o serial.Observation, want, what string) error {
	if o.SHA256 != want {
		return fmt.Errorf("%d bytes that are not %s", o.Size, what)
	}
	return nil
}
