// Package cri knows the container runtimes: which one a node has, where its configuration
// is, and what tells it about the handlers of an installation.
//
// What differs between distributions is a table. What the runtime gets is a drop-in, made
// in one piece from values; the only file of others that changes is the one whose imports
// must name the drop-in.
package cri

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ConfigDir is where the folder of containerd's configuration is mounted, which the chart
// chooses by distribution.
const ConfigDir = "/etc/containerd"

// Crio is the name of the runtime that is not containerd.
const Crio = "crio"

// Runtime is the container runtime of a node, as a distribution ships it.
type Runtime struct {
	// Name is that of Kata's installer.
	Name string
	// Probe is a unit that is active on nodes of this kind only, "" for none.
	Probe string
	// Service is the unit to restart for a new configuration, "" if the distribution
	// follows changes by itself. Wants is the unit that services of the node start with.
	Service, Wants string
	// Main is the file of ConfigDir with the version of the configuration.
	Main string
	// DropIns maps a version to the folder, in ConfigDir, of drop-ins. Without one the
	// drop-in is in the folder of the installation, and Main imports it.
	DropIns map[int]string
	// Templates maps a version to the file that a person edits in place of Main, which the
	// distribution overwrites. Only with it must Main import the folder of drop-ins.
	Templates map[int]string
	// KubeletRoot is the kubelet's folder, "" for the usual one.
	KubeletRoot string
}

const (
	main     = "config.toml"
	kubeletK = "/var/lib/k0s/kubelet"
)

var (
	rancherDropIns   = map[int]string{2: "config.toml.d", 3: "config-v3.toml.d"}
	rancherTemplates = map[int]string{2: "config.toml.tmpl", 3: "config-v3.toml.tmpl"}
	k0sDropIns       = map[int]string{2: "containerd.d", 3: "containerd.d"}
)

// Those with a probe are tried in this order.
var runtimes = []Runtime{
	{Name: "rke2-agent", Probe: "rke2-agent", Service: "rke2-agent", Main: main, DropIns: rancherDropIns, Templates: rancherTemplates},
	{Name: "rke2-server", Probe: "rke2-server", Service: "rke2-server", Main: main, DropIns: rancherDropIns, Templates: rancherTemplates},
	{Name: "k3s-agent", Probe: "k3s-agent", Service: "k3s-agent", Main: main, DropIns: rancherDropIns, Templates: rancherTemplates},
	{Name: "k3s", Probe: "k3s", Service: "k3s", Main: main, DropIns: rancherDropIns, Templates: rancherTemplates},
	{Name: "k0s-controller", Probe: "k0scontroller", Wants: "k0scontroller", Main: "containerd.toml", DropIns: k0sDropIns, KubeletRoot: kubeletK},
	{Name: "k0s-worker", Probe: "k0sworker", Wants: "k0sworker", Main: "containerd.toml", DropIns: k0sDropIns, KubeletRoot: kubeletK},
	{Name: microk8s, Service: "snap.microk8s.daemon-containerd.service", Main: "containerd-template.toml"},
	{Name: Crio, Service: "crio"},
	{Name: "containerd", Service: "containerd", Main: main},
}

// microk8s is recognized by a label of the node.
const (
	microk8s      = "microk8s"
	microk8sLabel = "microk8s.io/cluster"
)

// Probes returns the units that Find asks for, each of which may be active.
func Probes() []string {
	var units []string
	for _, r := range runtimes {
		if r.Probe != "" {
			units = append(units, r.Probe)
		}
	}
	return units
}

// Find returns the runtime of a node by what the node reports, "containerd://2.2.2", by
// its labels, and by the units that are active.
func Find(reported string, labels map[string]string, active []string) (Runtime, error) {
	kind, _, _ := strings.Cut(reported, "://")
	want := kind
	switch {
	case labels[microk8sLabel] == "true":
		want = microk8s
	case kind == "cri-o" || kind == Crio:
		want = Crio
	case kind == "containerd":
		for _, r := range runtimes {
			if r.Probe != "" && slices.Contains(active, r.Probe) {
				want = r.Name
				break
			}
		}
	}
	for _, r := range runtimes {
		if r.Name == want {
			r.Wants = cmp.Or(r.Wants, r.Service)
			return r, nil
		}
	}
	return Runtime{}, fmt.Errorf("the node reports the container runtime %q: kata-deploy sets up containerd and CRI-O", reported)
}

// MainPath returns the path of Main.
func (r Runtime) MainPath() string { return path.Join(ConfigDir, r.Main) }

// Version is the version of a runtime.
type Version struct{ Major, Minor, Patch int }

var versionNumbers = regexp.MustCompile(`://v?(\d+)\.(\d+)(?:\.(\d+))?`)

// ParseVersion returns the version in what a node reports: "containerd://2.1.5-k3s1".
func ParseVersion(reported string) (Version, error) {
	found := versionNumbers.FindStringSubmatch(reported)
	if found == nil {
		return Version{}, fmt.Errorf("the node reports the container runtime %q, which has no version", reported)
	}
	var v Version
	for i, number := range []*int{&v.Major, &v.Minor, &v.Patch} {
		*number, _ = strconv.Atoi(found[i+1])
	}
	return v, nil
}

// Before reports whether a version is older than another.
func (v Version) Before(other Version) bool {
	return cmp.Or(cmp.Compare(v.Major, other.Major), cmp.Compare(v.Minor, other.Minor), cmp.Compare(v.Patch, other.Patch)) < 0
}

// String returns "2.2.2".
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// The oldest versions of containerd.
var (
	oldest        = Version{1, 7, 0}
	oldestSuffix  = Version{2, 0, 0} // Older ones do not merge the plugins of files.
	oldestErofs   = Version{2, 2, 0}
	oldestSeveral = Version{2, 2, 2}
)

// CheckVersion refuses a containerd that is too old for what is asked of it; suffix
// distinguishes several installations. Handlers may use any snapshotters that the node has:
// only those that are set up here are counted.
func (o Options) CheckVersion(v Version, suffix string) error {
	setUp := o.setUp()
	switch {
	case v.Before(oldest):
		return fmt.Errorf("containerd %s is too old: kata-deploy needs %s or newer", v, oldest)
	case suffix != "" && v.Before(oldestSuffix):
		return fmt.Errorf("containerd %s serves one installation only: MULTI_INSTALL_SUFFIX needs %s or newer", v, oldestSuffix)
	case slices.Contains(setUp, "erofs") && v.Before(oldestErofs):
		return fmt.Errorf("containerd %s is too old for the snapshotter erofs: it needs %s or newer", v, oldestErofs)
	case len(setUp) > 1 && v.Before(oldestSeveral):
		return fmt.Errorf("containerd %s is too old for several snapshotters (%s): it needs %s or newer, or only one of them in EXPERIMENTAL_SETUP_SNAPSHOTTER", v, strings.Join(setUp, ", "), oldestSeveral)
	}
	return nil
}
