// Package host lists the programs of the distribution that the embedded engine
// and the bases of its builders need, and installs them with apt.
package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// Requirement is a program or file that must be on the machine.
type Requirement struct {
	// Name is a program, or the path of a file or folder.
	Name string `json:"name"`
	// Why says what it is for.
	Why string `json:"why"`
	// Package is the package of Debian and Ubuntu that has it.
	Package string `json:"package"`
}

// requirements are all that the embedded engine needs in addition to Go.
var requirements = []Requirement{
	{"runc", "runs the containers", "runc"},
	{"/usr/lib/cni/bridge", "connects the containers (CNI plugins)", "containernetworking-plugins"},
	{"dnsmasq", "resolves names for the containers", "dnsmasq-base"},
	{"iptables", "writes the rules of the CNI plugins", "iptables"},
	{"nft", "connects the engine to the network", "nftables"},
	{"ip", "connects the engine to the network", "iproute2"},
	{"mmdebstrap", "makes the base of a builder where no registry answers", "mmdebstrap"},
	{"/usr/share/keyrings/debian-archive-keyring.gpg", "verifies Debian's packages and sources", "debian-archive-keyring"},
}

// Requirements returns what the embedded engine needs in addition to Go.
func Requirements() []Requirement { return slices.Clone(requirements) }

// Present reports whether the requirement is met.
func (r Requirement) Present() bool {
	if filepath.IsAbs(r.Name) {
		_, err := os.Stat(r.Name)
		return err == nil
	}
	_, err := command.LookPath(r.Name)
	return err == nil
}

// Missing returns the requirements that are not met.
func Missing() []Requirement {
	return slices.DeleteFunc(Requirements(), Requirement.Present)
}

// InstallCommand is what a person would type to install the requirements.
func InstallCommand(missing []Requirement) string {
	return "apt-get update && apt-get install --yes --no-install-recommends " + strings.Join(packages(missing), " ")
}

func packages(missing []Requirement) []string {
	var names []string
	for _, requirement := range missing {
		names = append(names, requirement.Package)
	}
	return names
}
