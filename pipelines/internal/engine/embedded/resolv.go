//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// resolvFiles name a host's name servers; the second has the real ones behind
// the local stub of systemd-resolved.
var resolvFiles = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// hostResolvers returns the lines of the first resolv.conf whose name servers
// can be reached from another network namespace.
func hostResolvers() ([]string, error) {
	for _, path := range resolvFiles {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the host's name servers: %w", err)
		}
		if lines := reachable(string(data)); lines != nil {
			return lines, nil
		}
	}
	return nil, fmt.Errorf("the host's name servers are all on its loopback interface, which containers do not reach: name another one in %s", resolvFiles[0])
}

// reachable returns the lines of a resolv.conf without comments and loopback
// name servers, nil where no name server is left.
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
