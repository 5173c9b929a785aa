// Package config turns the environment of kata-deploy into one validated value. The names
// and meanings of the variables are those of Kata's installer, so that its users and its
// chart need to learn nothing.
//
// Everything that can be wrong is found here, before anything is written: [Parse] reports
// all problems at once, each with the name of its variable.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// DefaultDir is where Kata is installed without a prefix and a suffix.
const DefaultDir = "/opt/kata"

// Names of snapshotters in the variables, and on the host.
const (
	Nydus          = "nydus"
	NydusHostShare = "nydus-host-share"
	Erofs          = "erofs"
	nydusName      = "nydus-for-kata-tee"
)

// Mariner is the value of HOST_OS that changes anything.
const Mariner = "cbl-mariner"

// Target says which installation on which node is meant: all that its removal needs.
type Target struct {
	// Node is the name of the node.
	Node string
	// DaemonSet and Namespace identify the DaemonSet that runs this installation.
	DaemonSet, Namespace string
	// Dir is the folder of the installation on the node: "/opt/kata-blue".
	Dir string
	// Suffix distinguishes the installations of a node, "" for the only one.
	Suffix string
	// RuntimeClasses asks for a RuntimeClass for each handler, DefaultClass for "kata".
	RuntimeClasses, DefaultClass bool
}

// Config is what the environment asks for.
type Config struct {
	Target
	// Arch is the architecture, as `uname -m` prints it.
	Arch  string
	Debug bool
	// Runtimes are the handlers to set up: those of shims, then custom ones.
	Runtimes []Runtime
	// DefaultShim is the shim of the runtime class "kata", "" for none.
	DefaultShim string
	// Snapshotters are those to set up: Nydus, NydusHostShare, Erofs.
	Snapshotters []string
	// HostOS is Mariner or "".
	HostOS string
}

// Runtime is a handler of the container runtime.
type Runtime struct {
	// Handler is its name: "kata-qemu".
	Handler string
	// Shim is the name of the configuration that it starts from: "qemu".
	Shim string
	// Custom is true for a runtime of the user's, which has a folder of its own, and
	// Overrides is its own drop-in, nil for none.
	Custom    bool
	Overrides []byte
	Settings
}

// Settings are what variables say about a shim.
type Settings struct {
	// Annotations are those of the hypervisor that pods may have.
	Annotations []string
	// Snapshotter is the name on the host of the handler's snapshotter, "" for
	// containerd's default.
	Snapshotter string
	// HTTPSProxy and NoProxy are for the agent.
	HTTPSProxy, NoProxy string
	// GuestPull has CRI-O leave the pull to the guest, ForceGuestPull the shim.
	GuestPull, ForceGuestPull bool
}

// Input is what a Config is made of.
type Input struct {
	// Env are the variables. Arch is the architecture, as `uname -m` prints it.
	Env  map[string]string
	Arch string
	// Shims are those that the payload has for the architecture.
	Shims []string
	// Custom is the folder with the custom runtimes.
	Custom fs.FS
}

var (
	validSuffix = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	validPath   = regexp.MustCompile(`^(/[A-Za-z0-9._+-]+)+$`)
)

// ParseTarget validates only what a removal needs. The error lists all problems.
func ParseTarget(env map[string]string) (Target, error) {
	p := parser{Input: Input{Env: env}}
	return p.target(), errors.Join(p.problems...)
}

// Parse validates the environment. The error lists all problems.
func Parse(in Input) (Config, error) {
	p := parser{Input: in}
	c := Config{Target: p.target(), Arch: in.Arch, Debug: p.flag("DEBUG"), HostOS: in.Env["HOST_OS"]}
	p.require(c.HostOS == "" || c.HostOS == Mariner, "HOST_OS", "is %q: want %s or nothing", c.HostOS, Mariner)
	p.snapshotters(&c)
	p.runtimes(&c)
	if c.DefaultShim = p.env("DEFAULT_SHIM"); c.DefaultShim != "" {
		p.shim("DEFAULT_SHIM", c.DefaultShim)
	} else if slices.Contains(p.enabled, "qemu") {
		c.DefaultShim = "qemu"
	}
	return c, errors.Join(p.problems...)
}

func (p *parser) target() Target {
	t := Target{
		Node: strings.TrimSpace(p.Env["NODE_NAME"]), DaemonSet: p.orElse("DAEMONSET_NAME", "kata-deploy"),
		Namespace: p.orElse("DAEMONSET_NAMESPACE", "kube-system"), Suffix: strings.TrimSpace(p.Env["MULTI_INSTALL_SUFFIX"]),
		RuntimeClasses: p.flag("CREATE_RUNTIMECLASSES"), DefaultClass: p.flag("CREATE_DEFAULT_RUNTIMECLASS"),
	}
	p.require(t.Node != "", "NODE_NAME", "is empty: set it to the name of the node, by a fieldRef to spec.nodeName")
	p.require(t.Suffix == "" || validSuffix.MatchString(t.Suffix), "MULTI_INSTALL_SUFFIX",
		"is %q: want at most 32 lower-case letters, digits and dashes", t.Suffix)
	t.Dir = p.dir(t.Suffix)
	return t
}

// Instance is the name of the installation in labels.
func (t Target) Instance() string {
	if t.Suffix == "" {
		return "default"
	}
	return t.Suffix
}

// Owner is the DaemonSet of the installation, NAMESPACE/NAME.
func (t Target) Owner() string { return t.Namespace + "/" + t.DaemonSet }

// Shims returns the names of the shims that the runtimes start from, each once.
func (c Config) Shims() []string {
	var names []string
	for _, r := range c.Runtimes {
		if !slices.Contains(names, r.Shim) {
			names = append(names, r.Shim)
		}
	}
	return names
}

// HostName returns the name that the host knows a snapshotter by.
func (c Config) HostName(snapshotter string) string {
	name := snapshotter
	switch snapshotter {
	case Nydus:
		name = nydusName
	case NydusHostShare:
		name = nydusName + "-host-share"
	default:
		return name
	}
	return withSuffix(name, c.Suffix)
}

func withSuffix(name, suffix string) string {
	if suffix == "" {
		return name
	}
	return name + "-" + suffix
}

// parser collects the problems of an environment.
type parser struct {
	Input
	// enabled are the shims that are set up.
	enabled  []string
	problems []error
}

func (p *parser) require(ok bool, variable, format string, args ...any) {
	if !ok {
		p.problems = append(p.problems, fmt.Errorf("%s %s", variable, fmt.Sprintf(format, args...)))
	}
}

// env returns a variable that each architecture has its own of.
func (p *parser) env(name string) string {
	return strings.TrimSpace(p.Env[p.variable(name)])
}

// variable returns the name of a variable for the architecture.
func (p *parser) variable(name string) string { return name + "_" + strings.ToUpper(p.Arch) }

func (p *parser) orElse(name, otherwise string) string {
	if value := strings.TrimSpace(p.Env[name]); value != "" {
		return value
	}
	return otherwise
}

func (p *parser) flag(name string) bool {
	switch value := strings.ToLower(strings.TrimSpace(p.Env[name])); value {
	case "true", "1":
		return true
	case "false", "0", "":
	default:
		p.require(false, name, "is %q: want true or false", value)
	}
	return false
}

// dir returns the folder of the installation.
func (p *parser) dir(suffix string) string {
	prefix := p.Env["INSTALLATION_PREFIX"]
	if prefix == "" {
		return withSuffix(DefaultDir, suffix)
	}
	prefix = strings.TrimRight(prefix, "/")
	p.require(prefix == "" || validPath.MatchString(prefix) && path.Clean(prefix) == prefix, "INSTALLATION_PREFIX",
		"is %q: want a path that begins with /, of letters, digits, dots, dashes and underscores", p.Env["INSTALLATION_PREFIX"])
	return withSuffix(prefix+DefaultDir, suffix)
}

func (p *parser) snapshotters(c *Config) {
	const variable = "EXPERIMENTAL_SETUP_SNAPSHOTTER"
	for _, name := range list(p.Env[variable], ",") {
		switch name {
		case Nydus, NydusHostShare, Erofs:
			if !slices.Contains(c.Snapshotters, name) {
				c.Snapshotters = append(c.Snapshotters, name)
			}
		default:
			p.require(false, variable, "names the snapshotter %q: kata-deploy sets up %s, %s and %s", name, Nydus, NydusHostShare, Erofs)
		}
	}
}

// list splits a value and leaves out empty parts.
func list(value, separator string) []string {
	var parts []string
	for part := range strings.SplitSeq(value, separator) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
