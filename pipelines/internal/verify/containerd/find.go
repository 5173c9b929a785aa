// Package containerd runs a real containerd in folders of its own, and is a client of
// it.
package containerd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/testtools"
)

// oldest is the first containerd that runs several snapshotters reliably.
const oldest = "2.2.2"

// Installed is a containerd on this machine.
type Installed struct {
	// Daemon is its path.
	Daemon string
	// Version is what it says: "2.2.2", "1.7.24~ds1".
	Version string
	// From says where it comes from.
	From string
}

// Find returns the machine's containerd if it is new enough, and otherwise builds
// one from its Go module.
func Find(ctx context.Context, h host.Host) (Installed, error) {
	if daemon, err := h.LookPath("containerd"); err == nil {
		found, err := inspect(ctx, daemon, "of this machine")
		if err == nil && slices.Compare(numbers(found.Version), numbers(oldest)) >= 0 {
			return found, nil
		}
	}
	daemon, err := testtools.Containerd.Build(ctx, h)
	if err != nil {
		return Installed{}, err
	}
	return inspect(ctx, daemon, "built from its Go module")
}

// inspect reads the version of a containerd.
func inspect(ctx context.Context, daemon, from string) (Installed, error) {
	output, err := host.Output(command.New(ctx, daemon, "--version"))
	if err != nil {
		return Installed{}, err
	}
	const versionField = 2 // containerd MODULE VERSION COMMIT
	fields := strings.Fields(output)
	if len(fields) <= versionField {
		return Installed{}, fmt.Errorf("%s --version says %q: want containerd MODULE VERSION", daemon, strings.TrimSpace(output))
	}
	return Installed{Daemon: daemon, Version: strings.TrimPrefix(fields[versionField], "v"), From: from}, nil
}

// numbers returns the first three numbers of a version, without any suffix.
func numbers(version string) []int {
	parts := make([]int, 3)
	// Fewer than three numbers leave zeros.
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &parts[0], &parts[1], &parts[2])
	return parts
}
