package testtools

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// Crate is a program of a crate, which is compiled with the dependencies of its Cargo.lock.
type Crate struct{ Name, Version string }

// VhostDeviceVsock gives guests a vsock device on machines without vhost-vsock.
var VhostDeviceVsock = Crate{"vhost-device-vsock", "0.3.0"}

// Build returns the path of the program in the cache, and compiles it first if it is not
// there. That takes minutes. Without cargo the error is a report.Missing.
func (c Crate) Build(ctx context.Context, h host.Host) (string, error) {
	dir := filepath.Join(h.Cache, c.Name+"-"+c.Version)
	program := filepath.Join(dir, "bin", c.Name)
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		files.Touch(program)
		return program, err
	}
	cargo, err := h.Find("cargo", "cargo (cargo-web in Debian 12)")
	if err != nil {
		return "", err
	}
	h.Note("compiling " + c.Name + " from its crate")
	if err := os.MkdirAll(h.Cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(h.Cache, "compiling-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	root := filepath.Join(work, "root")
	cmd := command.New(ctx, cargo, "install", "--quiet", "--locked", "--version", c.Version, "--root", root, "--target-dir", filepath.Join(work, "target"), c.Name)
	cmd.Env = command.Environ("CARGO_HOME", "CARGO_HTTP_CAINFO", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s %s: %w%s", c.Name, c.Version, err, host.Indented(string(output)))
	}
	if err := os.Rename(root, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("building %s: %w", c.Name, err)
	}
	return program, nil
}
