// Package containerd runs a real containerd in folders of its own, and is a client of
// it.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// oldest is the first containerd that runs several snapshotters reliably, and module
// the folder, below the root of the repository, that builds one.
const (
	oldest = "2.2.2"
	module = "pipelines/internal/verify/nydus/containerd/module"
)

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
	daemon, err := build(ctx, h)
	if err != nil {
		return Installed{}, fmt.Errorf("building containerd: %w", err)
	}
	return inspect(ctx, daemon, "built from its Go module")
}

// build returns the path of a containerd in the cache, and compiles it first if it is
// not there.
func build(ctx context.Context, h host.Host) (string, error) {
	dir := filepath.Join(h.Root, module)
	sum, _, err := files.Hash(ctx, filepath.Join(dir, "go.sum"))
	if err != nil {
		return "", err
	}
	program := filepath.Join(h.Cache, fmt.Sprintf("containerd-%.12s", sum))
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		return program, err
	}
	h.Note("compiling containerd from its Go module")
	if err := os.MkdirAll(h.Cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(h.Cache, "compiling-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	compiled := filepath.Join(work, "containerd")
	environ := []string{"GOWORK=off", "GOFLAGS=-mod=readonly"}
	if err := h.GoBuild(ctx, dir, environ, "-ldflags", "-s -w", "-o", compiled, "github.com/containerd/containerd/v2/cmd/containerd"); err != nil {
		return "", err
	}
	return program, os.Rename(compiled, program)
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
