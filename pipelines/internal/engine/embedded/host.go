//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

const (
	forwardingPath = "/proc/sys/net/ipv4/ip_forward"
	// cniState is where the CNI plugins record the addresses in use; each engine
	// mounts its own over it.
	cniState = "/var/lib/cni"
	// marks holds a file for each of the two settings above that an engine has changed.
	// All engines share them: the first makes the changes, the last restores the host.
	// A reboot removes the marks.
	marks          = "/run/kata-pipelines"
	forwardingMark = marks + "/forwarding"
	cniMark        = marks + "/cni-folder"
)

// prepareHost turns on packet forwarding and makes the folder of the CNI plugins
// if need be. It writes the mark of a change before it makes the change.
func prepareHost() error {
	if err := os.MkdirAll(marks, 0o755); err != nil {
		return err
	}
	forwarding, err := os.ReadFile(forwardingPath)
	if err != nil {
		return fmt.Errorf("reading whether the host forwards packets: %w", err)
	}
	if strings.TrimSpace(string(forwarding)) == "0" {
		if err := os.WriteFile(forwardingMark, nil, 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(forwardingPath, []byte("1"), 0o644); err != nil {
			return fmt.Errorf("turning on packet forwarding: %w", err)
		}
	}
	if files.Exists(cniState) {
		return nil
	}
	if err := os.WriteFile(cniMark, nil, 0o644); err != nil {
		return err
	}
	if err := os.Mkdir(cniState, 0o755); err != nil {
		return fmt.Errorf("making the folder of the CNI plugins: %w", err)
	}
	return nil
}

// restoreHost undoes the marked changes once no engine is connected.
func restoreHost() error {
	links, err := filepath.Glob("/sys/class/net/" + linkPrefix + "*")
	if err != nil || len(links) > 0 {
		return err
	}
	if files.Exists(forwardingMark) {
		if err := os.WriteFile(forwardingPath, []byte("0"), 0o644); err != nil {
			return fmt.Errorf("turning off packet forwarding: %w", err)
		}
	}
	var paths []string
	if files.Exists(cniMark) {
		paths = append(paths, cniState)
	}
	for _, path := range append(paths, forwardingMark, cniMark, marks) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restoring the host: %w", err)
		}
	}
	return nil
}

// removeCgroups removes the empty cgroups that an engine leaves, in the hierarchy of
// cgroup v2 or in each of v1's, deepest first. It removes only the folders: their
// files go with them. A busy cgroup belongs to an engine of another cache directory.
func removeCgroups() error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/buildkit")
	if err != nil {
		return err
	}
	var dirs []string
	for _, root := range append(roots, "/sys/fs/cgroup/buildkit") {
		// A cgroup that does not exist, or goes away during the walk, is not an error.
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		err := os.Remove(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("removing a cgroup: %w", err)
		}
	}
	return nil
}

// hostResolvers returns the lines of the first resolv.conf whose name servers
// can be reached from another network namespace: that of systemd-resolved lists the
// servers behind its local stub.
func hostResolvers() ([]string, error) {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		data, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the host's name servers: %w", err)
		}
		if lines := reachable(string(data)); lines != nil {
			return lines, nil
		}
	}
	return nil, errors.New("the host's name servers are all on its loopback interface, which containers cannot reach: add another one to /etc/resolv.conf")
}

// reachable returns the lines of a resolv.conf without comments and loopback
// name servers, nil if no name server is left.
func reachable(resolv string) []string {
	var lines []string
	servers := 0
	for line := range strings.Lines(resolv) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";") {
			continue
		}
		if fields[0] == "nameserver" {
			addr, err := netip.ParseAddr(fields[1])
			if err != nil || addr.IsLoopback() {
				continue
			}
			servers++
		}
		lines = append(lines, strings.Join(fields, " "))
	}
	if servers == 0 {
		return nil
	}
	return lines
}
