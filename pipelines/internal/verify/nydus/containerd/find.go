// Package containerd runs a real containerd in folders of its own, and drives it
// through ctr, the client that comes with it.
package containerd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// oldest is the first containerd that runs several snapshotters reliably, and module
// the folder, below the root of the repository, that builds one.
const (
	oldest = "2.2.2"
	module = "pipelines/internal/verify/nydus/containerd/module"
)

// ConfigVersion is the newest version of configuration files that it reads.
const ConfigVersion = 3

// Installed is a containerd on this machine.
type Installed struct {
	// Daemon and Client are the paths of containerd and ctr.
	Daemon, Client string
	// Version is what it says: "2.2.2", "1.7.24~ds1".
	Version string
	// From says why it was taken.
	From string
}

// Finder looks for a containerd on a machine, and builds from its Go module what
// the machine lacks.
type Finder struct{ host.Host }

// Find returns the machine's containerd if it is new enough, or one that is built
// from its Go module.
func (f Finder) Find(ctx context.Context) (Installed, error) {
	daemon, err := f.LookPath("containerd")
	if err == nil {
		found, err := inspect(ctx, daemon, filepath.Join(filepath.Dir(daemon), "ctr"), "of this machine")
		if err == nil && !older(found.Version, oldest) {
			return found, nil
		}
	}
	return f.build(ctx)
}

// build compiles containerd and ctr, unless the cache has them.
func (f Finder) build(ctx context.Context) (Installed, error) {
	const source = "github.com/containerd/containerd/v2/"
	dir, err := f.compiled(ctx, "containerd", source+"cmd/containerd", source+"cmd/ctr")
	if err != nil {
		return Installed{}, fmt.Errorf("building containerd: %w", err)
	}
	return inspect(ctx, filepath.Join(dir, "containerd"), filepath.Join(dir, "ctr"), "built from its Go module")
}

// Puller returns the path of a client that pulls images through the CRI: of three
// arguments, the socket, the name of a runtime, and the image.
func (f Finder) Puller(ctx context.Context) (string, error) {
	dir, err := f.compiled(ctx, "pull", "./pull")
	if err != nil {
		return "", fmt.Errorf("building the client of the CRI: %w", err)
	}
	return filepath.Join(dir, "pull"), nil
}

// compiled returns the folder of the cache with programs of the module, which it
// compiles if they are not there. The folder appears once they are all built.
func (f Finder) compiled(ctx context.Context, name string, packages ...string) (dir string, err error) {
	hash := sha256.New()
	for _, file := range []string{"go.mod", "go.sum", "pull/main.go"} {
		data, err := os.ReadFile(filepath.Join(f.Root, module, file))
		if err != nil {
			return "", err
		}
		hash.Write(data)
	}
	dir = filepath.Join(f.Cache, fmt.Sprintf("%s-%x", name, hash.Sum(nil)[:6]))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	f.Note("compiling " + name + " from the Go module of containerd")
	if err := os.MkdirAll(f.Cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(f.Cache, "compiling-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	// The go command makes the folder, for all users to read.
	programs := filepath.Join(work, "programs") + "/"
	args := append([]string{"-ldflags", "-s -w", "-o", programs}, packages...)
	if err := f.GoBuild(ctx, filepath.Join(f.Root, module), []string{"GOWORK=off", "GOFLAGS=-mod=readonly"}, args...); err != nil {
		return "", err
	}
	// Another process may have built the same programs in the meantime.
	if err := os.Rename(programs, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, nil
}

// inspect reads the version of a containerd, whose client must be next to it.
func inspect(ctx context.Context, daemon, client, from string) (Installed, error) {
	output, err := command.New(ctx, daemon, "--version").Output()
	if err != nil {
		return Installed{}, fmt.Errorf("reading the version of %s: %w", daemon, err)
	}
	if _, err := os.Stat(client); err != nil {
		return Installed{}, fmt.Errorf("looking for the client of %s: %w", daemon, err)
	}
	const versionField = 2 // containerd MODULE VERSION COMMIT
	fields := strings.Fields(string(output))
	if len(fields) <= versionField {
		return Installed{}, fmt.Errorf("%s --version says %q: want containerd MODULE VERSION", daemon, bytes.TrimSpace(output))
	}
	return Installed{Daemon: daemon, Client: client, Version: strings.TrimPrefix(fields[versionField], "v"), From: from}, nil
}

// older compares the numbers of two versions, and ignores what follows them.
func older(a, b string) bool { return slices.Compare(numbers(a), numbers(b)) < 0 }

func numbers(version string) []int {
	var parts [3]int
	// Fewer than three numbers leave zeros.
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &parts[0], &parts[1], &parts[2])
	return parts[:]
}
