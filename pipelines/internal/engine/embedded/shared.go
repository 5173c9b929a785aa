//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

const (
	forwardingPath = "/proc/sys/net/ipv4/ip_forward"
	// cniState is where the CNI plugins keep the addresses they gave out; each
	// engine mounts its own over it.
	cniState = "/var/lib/cni"
	// marks holds a file for each of the two things above that engines have
	// changed on the host. All engines share them: the first changes them if
	// need be, the last restores them. A reboot removes both.
	marks          = "/run/kata-pipelines"
	forwardingMark = marks + "/forwarding"
	cniMark        = marks + "/cni-folder"
)

// prepareHost turns on packet forwarding and makes the folder of the CNI
// plugins where needed, and marks each before.
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

// restoreHost undoes what is marked once no engine is connected any more.
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
