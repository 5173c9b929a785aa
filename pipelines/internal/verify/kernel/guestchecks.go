package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

// unequal is the problem of a value that is not what it must be.
func unequal(what, got, want string) []string {
	if got == want {
		return nil
	}
	return []string{fmt.Sprintf("%s is %q: want %q", what, got, want)}
}

// sameFile is the problem of a file in the guest that is not what it must be.
func sameFile(o serial.Observation, want, what string) []string {
	if o.Error != "" {
		return []string{o.Error}
	}
	if o.SHA256 != want {
		return []string{fmt.Sprintf("%d bytes that are not %s", o.Size, what)}
	}
	return nil
}

// problem is that of an observation that is an error.
func problem(o serial.Observation) []string {
	if o.Error == "" {
		return nil
	}
	return []string{o.Error}
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// device is a virtio device that the guest gets: the driver that must take it,
// and what the init did with it.
type device struct {
	name, driver, observation string
	// judge returns what is wrong with an observation without an error, and
	// what is told of a good one.
	judge func(*guest, serial.Observation) (problems []string, saw string)
}

var devices = []device{
	{"virtio-blk", "virtio_blk", serial.Disk, func(g *guest, o serial.Observation) ([]string, string) {
		return sameFile(o, g.diskSum, "what is on the disk"), fmt.Sprintf("%s, read to its end, %d bytes", o.Value, o.Size)
	}},
	{"virtio-net", "virtio_net", serial.Network, func(_ *guest, o serial.Observation) ([]string, string) {
		return nil, fmt.Sprintf("%s, the gateway %s answered", o.Value, strings.Join(o.Items, " "))
	}},
	{"virtio-rng", "virtio_rng", serial.Entropy, func(_ *guest, o serial.Observation) ([]string, string) {
		if !strings.HasPrefix(o.Value, "virtio_rng") {
			return []string{fmt.Sprintf("/dev/hwrng is %q: want virtio_rng", o.Value)}, ""
		}
		return nil, fmt.Sprintf("%s, %d bytes read", o.Value, o.Size)
	}},
	{"virtio-console", "virtio_console", serial.Port, func(g *guest, o serial.Observation) ([]string, string) {
		got, err := os.ReadFile(g.port)
		if err != nil {
			return []string{err.Error()}, ""
		}
		return unequal("what came out of the port", string(got), serial.PortName+"\n"), o.Value + ", written to and read outside"
	}},
	{"virtio-9p", "9pnet_virtio", serial.Mount + "9p", func(g *guest, o serial.Observation) ([]string, string) {
		got, err := os.ReadFile(filepath.Join(g.share, serial.FromGuest))
		if err != nil {
			return []string{err.Error()}, ""
		}
		problems := append(unequal("the file of the host", o.Value, g.nonce), unequal("the file of the guest", string(got), g.nonce)...)
		return problems, "a folder of the host mounted, read and written"
	}},
	{"virtio-vsock", "vmw_vsock_virtio_transport", serial.Vsock, func(g *guest, o serial.Observation) ([]string, string) {
		return unequal("the address", o.Value, strconv.FormatUint(uint64(g.cid), 10)), "address " + o.Value
	}},
}

// checkDevices looks for each device by its driver, and at what came through.
func (g *guest) checkDevices() {
	bound := g.saw[serial.Devices]
	for _, d := range devices {
		if d.driver == "vmw_vsock_virtio_transport" && g.cid == 0 {
			g.r.Skip(d.name, "no device: this machine has no %s (modprobe vhost_vsock)", host.VhostVsock)
			continue
		}
		o, ok := g.observed(d.name, d.observation)
		if !ok {
			continue
		}
		if !slices.ContainsFunc(bound.Items, func(item string) bool { return strings.HasPrefix(item, d.driver+":") }) {
			g.r.Fail(d.name, "no device has the driver %s (%s)", d.driver, listed(bound))
			continue
		}
		if o.Error != "" {
			g.r.Fail(d.name, "%s", o.Error)
			continue
		}
		problems, saw := d.judge(g, o)
		g.r.Judge(d.name, problems, "%s", saw)
	}
	g.checkDrivers()
	if o, ok := g.observed("vsock sockets", serial.Vsock); ok {
		g.r.Judge("vsock sockets", problem(o), "a socket, and /dev/vsock")
	}
}

// listed shows the items of an observation.
func listed(o serial.Observation) string {
	if o.Error != "" {
		return o.Error
	}
	if len(o.Items) == 0 {
		return "none"
	}
	return strings.Join(o.Items, "; ")
}

// drivers are those for devices that the guest does not get here, by the option
// that builds them in.
var drivers = []struct{ option, driver string }{
	{"CONFIG_VIRTIO_BALLOON", "virtio_balloon"},
	{"CONFIG_VIRTIO_FS", "virtiofs"},
	{"CONFIG_VIRTIO_MEM", "virtio_mem"},
	{"CONFIG_VIRTIO_PMEM", "virtio_pmem"},
	{"CONFIG_SCSI_VIRTIO", "virtio_scsi"},
	{"CONFIG_VIRTIO_VSOCKETS", "vmw_vsock_virtio_transport"},
}

// checkDrivers looks for the drivers of devices that QEMU has not given to the
// guest.
func (g *guest) checkDrivers() {
	const name = "virtio drivers"
	o, ok := g.observed(name, serial.Drivers)
	if !ok {
		return
	}
	problems := problem(o)
	var seen []string
	for _, d := range drivers {
		switch {
		case g.options[d.option] != "y":
		case slices.Contains(o.Items, d.driver):
			seen = append(seen, d.driver)
		default:
			problems = append(problems, fmt.Sprintf("no driver %s, in spite of %s", d.driver, d.option))
		}
	}
	g.r.Judge(name, problems, "%s", strings.Join(seen, ", "))
}

// checkMounts is about file systems and cgroups.
func (g *guest) checkMounts() {
	g.mounted("tmpfs", "written and read")
	g.mounted("overlay", "read through, written above, removed")
	if g.noDisk != "" {
		g.r.Skip("mount ext4", "%s", g.noDisk)
	} else if o, ok := g.observed("mount ext4", serial.Mount+"ext4"); ok {
		problems := problem(o)
		if problems == nil {
			problems = unequal("the file of the host", o.Value, g.nonce)
		}
		g.r.Judge("mount ext4", problems, "on the virtio disk: read, written, and read after another mount")
	}
	if g.options["CONFIG_DEBUG_FS"] == "y" {
		g.mounted("debugfs", "mounted")
	}
	if g.options["CONFIG_FTRACE"] == "y" {
		g.mounted("tracefs", "mounted")
	}
	g.checkControllers()
}

func (g *guest) mounted(kind, saw string) {
	if o, ok := g.observed("mount "+kind, serial.Mount+kind); ok {
		g.r.Judge("mount "+kind, problem(o), "%s", saw)
	}
}

// controllers are those of cgroup v2 that Kata's agent sets limits with, "" for
// the option where they must always be there, and more by the option.
var controllers = []struct{ name, option string }{
	{"cpu", ""}, {"cpuset", ""}, {"io", ""}, {"memory", ""}, {"pids", ""},
	{"hugetlb", "CONFIG_CGROUP_HUGETLB"}, {"rdma", "CONFIG_CGROUP_RDMA"}, {"misc", "CONFIG_CGROUP_MISC"},
}

func (g *guest) checkControllers() {
	const name = "cgroup v2"
	o, ok := g.observed(name, serial.Controllers)
	if !ok {
		return
	}
	problems := append(problem(g.saw[serial.Mount+"cgroup2"]), problem(o)...)
	for _, c := range controllers {
		if (c.option == "" || g.options[c.option] == "y") && !slices.Contains(o.Items, c.name) {
			problems = append(problems, "no controller "+c.name)
		}
	}
	g.r.Judge(name, problems, "%s", strings.Join(o.Items, " "))
}

// checkBPF is about programs that the guest's kernel runs.
func (g *guest) checkBPF() {
	if g.options["CONFIG_CGROUP_BPF"] == "y" {
		if o, ok := g.observed("device rules", serial.DeviceRules); ok {
			g.r.Judge("device rules", problem(o), "a BPF program on a cgroup: %s", o.Value)
		}
	}
	if g.options["CONFIG_DEBUG_INFO_BTF"] == "y" && g.options["CONFIG_KPROBES"] == "y" {
		if o, ok := g.observed("BPF event", serial.Event); ok {
			g.r.Judge("BPF event", problem(o), "a program with offsets from BTF, %s; none after it was detached", o.Value)
		}
	}
}
