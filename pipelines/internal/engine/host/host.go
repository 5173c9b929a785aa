// Package host knows which programs of the distribution the embedded engine
// and its builder bases need, and installs them with apt.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Requirement is one thing that must be on the machine.
type Requirement struct {
	// Name is a program, or the path of a file or folder.
	Name string `json:"name"`
	// Why says what it is for.
	Why string `json:"why"`
	// Package is the package of Debian and Ubuntu that has it.
	Package string `json:"package"`
}

// requirements are all that the embedded engine needs beside Go.
var requirements = []Requirement{
	{"runc", "runs the containers", "runc"},
	{"/usr/lib/cni/bridge", "connects the containers (CNI plugins)", "containernetworking-plugins"},
	{"dnsmasq", "resolves names for the containers", "dnsmasq-base"},
	{"iptables", "is what the CNI plugins write their rules with", "iptables"},
	{"nft", "gives the engine its way out", "nftables"},
	{"ip", "gives the engine its way out", "iproute2"},
	{"mmdebstrap", "makes the base of builders where no registry answers", "mmdebstrap"},
	{"/usr/share/keyrings/debian-archive-keyring.gpg", "verifies Debian's packages and sources", "debian-archive-keyring"},
}

// Requirements returns what the embedded engine needs beside Go.
func Requirements() []Requirement { return slices.Clone(requirements) }

// Present says whether the requirement is met. The folders of system programs
// are searched even where PATH leaves them out.
func (r Requirement) Present() bool {
	if filepath.IsAbs(r.Name) {
		_, err := os.Stat(r.Name)
		return err == nil
	}
	if _, err := exec.LookPath(r.Name); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if info, err := os.Stat(filepath.Join(dir, r.Name)); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// Missing returns the requirements that are not met.
func Missing() []Requirement {
	return slices.DeleteFunc(Requirements(), Requirement.Present)
}

// InstallCommand is what a person would type to install the requirements.
func InstallCommand(missing []Requirement) string {
	return "apt-get update && " + strings.Join(installArgs(missing), " ")
}

func installArgs(missing []Requirement) []string {
	args := []string{"apt-get", "install", "--yes", "--no-install-recommends"}
	for _, requirement := range missing {
		args = append(args, requirement.Package)
	}
	return args
}

// ErrNoApt is returned where there is no apt-get to install with.
var ErrNoApt = errors.New("this machine has no apt-get")

// Install installs what is missing, as root with apt; log gets what apt prints.
func Install(ctx context.Context, missing []Requirement, log io.Writer) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return ErrNoApt
	}
	for _, args := range [][]string{{"apt-get", "update"}, installArgs(missing)} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("running %s: %w", strings.Join(args, " "), err)
		}
	}
	for _, requirement := range missing {
		if !requirement.Present() {
			return fmt.Errorf("package %s is installed, but %s is still missing", requirement.Package, requirement.Name)
		}
	}
	return nil
}
