package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	forwardingPath = "/proc/sys/net/ipv4/ip_forward"
	// cniState is where the CNI plugins keep the addresses they gave out; each
	// engine mounts its own over it.
	cniState = "/var/lib/cni"
	// marks holds a file for each thing below that engines have changed on the
	// host. It ends with a reboot, like what it marks.
	marks = "/run/kata-pipelines"
)

// change is something on the host that all engines share: the first makes it
// if need be, and the last undoes it.
type change struct {
	name   string
	needed func() (bool, error)
	make   func() error
	undo   func() error
}

var changes = []change{
	{
		name: "forwarding",
		needed: func() (bool, error) {
			data, err := os.ReadFile(forwardingPath)
			return strings.TrimSpace(string(data)) == "0", err
		},
		make: func() error { return os.WriteFile(forwardingPath, []byte("1"), 0o644) },
		undo: func() error { return os.WriteFile(forwardingPath, []byte("0"), 0o644) },
	},
	{
		name: "cni-folder",
		needed: func() (bool, error) {
			_, err := os.Stat(cniState)
			return errors.Is(err, fs.ErrNotExist), nil
		},
		make: func() error { return os.Mkdir(cniState, 0o755) },
		undo: func() error { return os.Remove(cniState) },
	},
}

// prepareHost makes the changes that are needed, each marked first.
func prepareHost() error {
	for _, c := range changes {
		needed, err := c.needed()
		if err != nil || !needed {
			if err != nil {
				return fmt.Errorf("looking at the host's %s: %w", c.name, err)
			}
			continue
		}
		if err := os.MkdirAll(marks, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(marks, c.name), nil, 0o644); err != nil {
			return err
		}
		if err := c.make(); err != nil {
			return fmt.Errorf("changing the host's %s: %w", c.name, err)
		}
	}
	return nil
}

// restoreHost undoes the changes once no engine is connected any more.
func restoreHost() error {
	links, err := filepath.Glob("/sys/class/net/" + linkPrefix + "*")
	if err != nil || len(links) > 0 {
		return err
	}
	for _, c := range changes {
		mark := filepath.Join(marks, c.name)
		switch _, err := os.Stat(mark); {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		}
		if err := c.undo(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restoring the host's %s: %w", c.name, err)
		}
		if err := os.Remove(mark); err != nil {
			return err
		}
	}
	if err := os.Remove(marks); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
