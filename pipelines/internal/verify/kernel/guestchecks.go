package kernel

import (
	"cmp"
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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// sameFile is the problem of a file in the guest that is not the wanted one.
func sameFile(o serial.Observation, want, what string) []string {
	if o.SHA256 == want {
		return nil
	}
	return []string{fmt.Sprintf("%d bytes that are not %s", o.Size, what)}
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// devices are the virtio devices of the guest: the driver that must bind each, and
// what the init reports of it.
var devices = []struct{ name, driver, observation string }{
	{"virtio-blk", "virtio_blk", serial.Disk},
	{"virtio-net", "virtio_net", serial.Network},
	{"virtio-rng", "virtio_rng", serial.Entropy},
	{"virtio-console", "virtio_console", serial.Port},
	{"virtio-9p", "9pnet_virtio", serial.Mount + "9p"},
	{"virtio-vsock", "vmw_vsock_virtio_transport", serial.Vsock},
}

// device judges the data that went through a device.
func (g *guest) device(o serial.Observation) (problems []string, saw string) {
	switch o.Name {
	case serial.Disk:
		return sameFile(o, g.diskSum, "what is on the disk"), fmt.Sprintf("%s, read to its end, %d bytes", o.Value, o.Size)
	case serial.Network:
		return nil, fmt.Sprintf("%s, the gateway %s answered", o.Value, strings.Join(o.Items, " "))
	case serial.Entropy:
		if !strings.HasPrefix(o.Value, "virtio_rng") {
			problems = []string{fmt.Sprintf("/dev/hwrng is %q: want virtio_rng", o.Value)}
		}
		return problems, fmt.Sprintf("%s, %d bytes read", o.Value, o.Size)
	case serial.Port:
		return contains(g.port, "what came out of the port", serial.PortName+"\n"), o.Value + ", written to and read outside"
	case serial.Vsock:
		return report.Unequal("the address", o.Value, strconv.FormatUint(uint64(g.cid), 10)), "address " + o.Value
	}
	problems = append(report.Unequal("the file of the host", o.Value, g.nonce), contains(filepath.Join(g.share, serial.FromGuest), "the file of the guest", g.nonce)...)
	return problems, "a folder of the host mounted, read and written"
}

// contains is the problem of a file outside of the guest that has other content.
func contains(path, what, want string) []string {
	got, err := os.ReadFile(path)
	if err != nil {
		return []string{err.Error()}
	}
	return report.Unequal(what, string(got), want)
}

// checkDevices checks that each device has its driver, and that data went through.
func (g *guest) checkDevices() {
	bound := g.saw[serial.Devices]
	for _, d := range devices {
		o, there := g.saw[d.observation]
		has := slices.ContainsFunc(bound.Items, func(item string) bool { return strings.HasPrefix(item, d.driver+":") })
		switch {
		case d.observation == serial.Vsock && g.cid == 0:
			g.r.Skip(d.name, "no device: this machine has no %s (modprobe vhost_vsock)", host.VhostVsock)
		case there && !has:
			g.r.Fail(d.name, "no device has the driver %s (%s)", d.driver, cmp.Or(bound.Error, strings.Join(bound.Items, "; "), "none"))
		default:
			var problems []string
			saw := ""
			if there && o.Error == "" {
				problems, saw = g.device(o)
			}
			g.judge(d.name, d.observation, problems, "%s", saw)
		}
	}
	g.checkDrivers()
	g.judge("vsock sockets", serial.Vsock, nil, "a socket, and /dev/vsock")
}

// drivers are those of devices that the guest does not have here, with the option
// that builds them in.
var drivers = []struct{ option, driver string }{
	{"CONFIG_VIRTIO_BALLOON", "virtio_balloon"},
	{"CONFIG_VIRTIO_FS", "virtiofs"},
	{"CONFIG_VIRTIO_MEM", "virtio_mem"},
	{"CONFIG_VIRTIO_PMEM", "virtio_pmem"},
	{"CONFIG_SCSI_VIRTIO", "virtio_scsi"},
	{"CONFIG_VIRTIO_VSOCKETS", "vmw_vsock_virtio_transport"},
}

// checkDrivers looks for the drivers of devices that the guest does not have.
func (g *guest) checkDrivers() {
	o := g.saw[serial.Drivers]
	var problems, seen []string
	for _, d := range drivers {
		switch {
		case g.options[d.option] != "y":
		case slices.Contains(o.Items, d.driver):
			seen = append(seen, d.driver)
		default:
			problems = append(problems, fmt.Sprintf("no driver %s, despite %s", d.driver, d.option))
		}
	}
	g.judge("virtio drivers", serial.Drivers, problems, "%s", strings.Join(seen, ", "))
}

// checkMounts checks file systems and cgroups.
func (g *guest) checkMounts() {
	g.judge("mount tmpfs", serial.Mount+"tmpfs", nil, "written and read")
	g.judge("mount overlay", serial.Mount+"overlay", nil, "read through, written above, removed")
	if g.noDisk != "" {
		g.r.Skip("mount ext4", "%s", g.noDisk)
	} else {
		o := g.saw[serial.Mount+"ext4"]
		g.judge("mount ext4", serial.Mount+"ext4", report.Unequal("the file of the host", o.Value, g.nonce), "on the virtio disk: read, written, and read after another mount")
	}
	for _, m := range []struct{ kind, option string }{{"debugfs", "CONFIG_DEBUG_FS"}, {"tracefs", "CONFIG_FTRACE"}} {
		if g.options[m.option] == "y" {
			g.judge("mount "+m.kind, serial.Mount+m.kind, nil, "mounted")
		}
	}
	g.checkControllers()
}

// controllers are those of cgroup v2 that Kata's agent sets limits with, and the
// option that each depends on, "" for one that must always be there.
var controllers = []struct{ name, option string }{
	{"cpu", ""}, {"cpuset", ""}, {"io", ""}, {"memory", ""}, {"pids", ""},
	{"hugetlb", "CONFIG_CGROUP_HUGETLB"}, {"rdma", "CONFIG_CGROUP_RDMA"}, {"misc", "CONFIG_CGROUP_MISC"},
}

func (g *guest) checkControllers() {
	o := g.saw[serial.Controllers]
	var problems []string
	if mount := g.saw[serial.Mount+"cgroup2"]; mount.Error != "" {
		problems = append(problems, mount.Error)
	}
	for _, c := range controllers {
		if (c.option == "" || g.options[c.option] == "y") && !slices.Contains(o.Items, c.name) {
			problems = append(problems, "no controller "+c.name)
		}
	}
	g.judge("cgroup v2", serial.Controllers, problems, "%s", strings.Join(o.Items, " "))
}

// checkBPF checks programs that the guest's kernel ran.
func (g *guest) checkBPF() {
	if g.options["CONFIG_CGROUP_BPF"] == "y" {
		g.judge("device rules", serial.DeviceRules, nil, "a BPF program on a cgroup: %s", g.saw[serial.DeviceRules].Value)
	}
	if g.options["CONFIG_DEBUG_INFO_BTF"] == "y" && g.options["CONFIG_KPROBES"] == "y" {
		g.judge("BPF event", serial.Event, nil, "a program with offsets from BTF, %s; none after it was detached", g.saw[serial.Event].Value)
	}
}
