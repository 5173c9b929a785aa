// Package host lists the programs of the distribution that the embedded engine
// and the bases of its builders need, and installs them with apt.
package host

import (
	"fmt"
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
	// Present tells whether the machine has it.
	Present bool `json:"present"`
}

// Requirements returns what the embedded engine needs in addition to Go.
func Requirements() []Requirement {
	return examine([]Requirement{
		{Name: "runc", Why: "runs the containers", Package: "runc"},
		{Name: "/usr/lib/cni/bridge", Why: "connects the containers (CNI plugins)", Package: "containernetworking-plugins"},
		{Name: "dnsmasq", Why: "resolves names for the containers", Package: "dnsmasq-base"},
		{Name: "iptables", Why: "writes the rules of the CNI plugins", Package: "iptables"},
		{Name: "nft", Why: "connects the engine to the network", Package: "nftables"},
		{Name: "ip", Why: "connects the engine to the network", Package: "iproute2"},
		{Name: "mmdebstrap", Why: "makes the base of a builder where no registry answers", Package: "mmdebstrap"},
		{Name: "/usr/share/keyrings/debian-archive-keyring.gpg", Why: "verifies Debian's packages and sources", Package: "debian-archive-keyring"},
	})
}

// examine looks which requirements are met.
func examine(requirements []Requirement) []Requirement {
	for i, r := range requirements {
		var err error
		if filepath.IsAbs(r.Name) {
			_, err = os.Stat(r.Name)
		} else {
			_, err = command.LookPath(r.Name)
		}
		requirements[i].Present = err == nil
	}
	return requirements
}

// missing returns the requirements that are not met now.
func missing(requirements []Requirement) []Requirement {
	return slices.DeleteFunc(examine(slices.Clone(requirements)), func(r Requirement) bool { return r.Present })
}

// Check fails where requirements are not met; the error has the command that
// installs them.
func Check() error {
	var names []string
	absent := missing(Requirements())
	for _, r := range absent {
		names = append(names, r.Name)
	}
	if names == nil {
		return nil
	}
	return fmt.Errorf("the embedded engine needs %s: run `%s`", strings.Join(names, ", "), InstallCommand(absent))
}

// InstallCommand is what a person would type to install those of the requirements
// that are not met; "" for none.
func InstallCommand(requirements []Requirement) string {
	if names := packages(requirements); names != nil {
		return "apt-get update && apt-get install --yes --no-install-recommends " + strings.Join(names, " ")
	}
	return ""
}

func packages(requirements []Requirement) (names []string) {
	for _, r := range requirements {
		if !r.Present {
			names = append(names, r.Package)
		}
	}
	return names
}
