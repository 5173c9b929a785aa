// Package node runs a machine of its own next to this one: namespaces with the programs of
// this machine, read-only, and with /etc, /var, /opt and a systemd of their own. What runs
// there as root, and restarts services, changes nothing here. It is the kernel of this
// machine and no virtual machine, so it starts in a second and needs no image; only the
// time, the kernel's modules and its settings are shared.
package node

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

//go:embed node.sh
var script string

// Spec says what a node has at its start.
type Spec struct {
	// Root is an empty folder, which becomes the node's root.
	Root string
	// Binds are files and folders of this machine that the node sees, read-only, by their
	// paths there.
	Binds map[string]string
	// Files are contents by path.
	Files map[string]string
	// Units start with the node.
	Units []string
	// Ready is how long the node may take to start.
	Ready time.Duration
}

// Node is a node that runs.
type Node struct {
	root, cgroup string
	cmd          *exec.Cmd
	ended        chan error
}

// target is the unit that starts the others.
const target = "node.target"

// base are the files of every node. The users are those of D-Bus, which systemd's clients
// use, and of the journal.
var base = map[string]string{
	"/etc/hostname":      "node\n",
	"/etc/hosts":         "127.0.0.1 localhost node\n",
	"/etc/machine-id":    strings.Repeat("6", 32) + "\n",
	"/etc/fstab":         "",
	"/etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:101:101::/:/usr/sbin/nologin\n",
	"/etc/group":         "root:x:0:\nmessagebus:x:101:\nsystemd-journal:x:102:\n",
	"/etc/resolv.conf":   "",
	"/etc/nsswitch.conf": "hosts: files\n",
}

// Start starts a node. A machine that cannot run one is a report.Missing.
func Start(ctx context.Context, h host.Host, spec Spec) (*Node, error) {
	if err := usable(h); err != nil {
		return nil, err
	}
	if err := spec.write(); err != nil {
		return nil, fmt.Errorf("writing the node's files: %w", err)
	}
	cgroup, err := makeCgroup()
	if err != nil {
		return nil, refused("making the node's cgroup", err)
	}
	defer cgroup.Close()
	args := []string{"--cgroup", "sh", "-c", script, "node", spec.Root, target}
	for target, path := range spec.Binds {
		args = append(args, target+"="+path)
	}
	n := &Node{root: spec.Root, cgroup: cgroup.Name(), cmd: command.New(ctx, "unshare", args...), ended: make(chan error, 1)}
	n.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=kata-node"}
	n.cmd.SysProcAttr = isolated(cgroup)
	log, err := os.Create(spec.Root + ".log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	n.cmd.Stdout, n.cmd.Stderr = log, log
	wait, err := host.Start(n.cmd)
	if err != nil {
		return nil, errors.Join(refused("starting the node", err), n.removeCgroup())
	}
	go func() { n.ended <- wait() }()
	if err := n.ready(ctx, spec.Ready); err != nil {
		printed, _ := os.ReadFile(log.Name()) // Without a log there is nothing to add.
		return nil, errors.Join(fmt.Errorf("starting the node: %w%s", err, host.Indented(string(printed))), n.Close())
	}
	return n, nil
}

// refused is the error of what only some machines allow: a container without privileges has
// no cgroups and no namespaces to give away.
func refused(doing string, err error) error {
	for _, why := range []error{syscall.EPERM, syscall.EACCES, syscall.EROFS, errNoCgroups} {
		if errors.Is(err, why) {
			return report.Missing(fmt.Sprintf("%s: %v: this machine gives root no namespaces or cgroups of its own", doing, err))
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// errNoCgroups says that the machine has none that can be divided.
var errNoCgroups = errors.New("no cgroup2 file system is mounted below /sys/fs/cgroup")

// usable returns a report.Missing that says why this machine cannot run a node.
func usable(h host.Host) error {
	if h.Skip != "" {
		return report.Missing(h.Skip)
	}
	if os.Geteuid() != 0 {
		return report.Missing("a node needs root: run verify as root")
	}
	if link, err := os.Readlink("/lib"); err != nil || !strings.HasSuffix(link, "usr/lib") {
		return report.Missing("/lib is not a link to /usr/lib, so /usr has not all programs")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		return report.Missing("no systemd on this machine: apt-get install systemd")
	}
	for _, tool := range []string{"unshare", "nsenter", "mount", "pivot_root"} {
		if _, err := h.Find(tool, "util-linux mount"); err != nil {
			return err
		}
	}
	return nil
}

// write makes the files of the node's root.
func (s Spec) write() error {
	for _, dir := range []string{
		"usr", "local/bin", "etc/systemd/system", "var/log", "var/lib", "var/tmp", "opt", "run", "tmp", "proc", "sys", "dev", "root", "old",
	} {
		if err := os.MkdirAll(filepath.Join(s.Root, dir), 0o755); err != nil {
			return err
		}
	}
	cache, err := os.ReadFile("/etc/ld.so.cache")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	contents := map[string]string{
		"/etc/ld.so.cache": string(cache),
		"/etc/systemd/system/" + target: "[Unit]\nDescription=The node under test\nAllowIsolate=yes\nWants=dbus.socket systemd-journald.service " +
			strings.Join(s.Units, " ") + "\n",
	}
	for _, all := range []map[string]string{base, contents, s.Files} {
		for path, content := range all {
			path = filepath.Join(s.Root, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
				return err
			}
		}
	}
	return os.Symlink("/run", filepath.Join(s.Root, "var/run"))
}

// ready waits until systemd answers. Units may still be starting then.
func (n *Node) ready(ctx context.Context, limit time.Duration) error {
	const pause = 50 * time.Millisecond
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		state, err := n.Run(timed, "systemctl", "is-system-running")
		if err == nil || strings.Contains(state, "degraded") {
			return nil
		}
		select {
		case ended := <-n.ended:
			n.ended <- ended
			return fmt.Errorf("systemd ended: %w", ended)
		case <-timed.Done():
			return errors.Join(context.Cause(timed), err)
		case <-time.After(pause):
		}
	}
}

// Command is a program that runs on the node.
func (n *Node) Command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(n.cmd.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"}
	cmd := command.New(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	return cmd
}

// Run runs a program on the node and returns what it prints.
func (n *Node) Run(ctx context.Context, args ...string) (string, error) {
	printed, err := n.Command(ctx, args...).CombinedOutput()
	text := strings.TrimSpace(string(printed))
	if err != nil {
		return text, fmt.Errorf("running %s on the node: %w%s", strings.Join(args, " "), err, host.Indented(text))
	}
	return text, nil
}

// Path returns the path on this machine of a file of the node. Links with absolute targets
// lead out of the node.
func (n *Node) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(n.cmd.Process.Pid), "root", path)
}

// Close ends the node with everything on it.
func (n *Node) Close() error {
	err := n.cmd.Process.Signal(syscall.SIGKILL)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-n.ended
	return errors.Join(err, n.removeCgroup())
}
