package embedded

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Version is that of the Dagger modules which the nested module requires; the
// SDK is pinned to the same.
const Version = "v0.19.10"

// programs are what is compiled, by the names they are installed under.
var programs = []struct{ name, pkg string }{
	{"dagger-engine", "github.com/dagger/dagger/cmd/engine"},
	{"dagger", "github.com/dagger/dagger/cmd/dagger"},
	{"dagger-init", "github.com/dagger/dagger/cmd/init"},
	{"dnsname", "github.com/dagger/dagger/cmd/dnsname"},
}

// Build compiles the engine and its helpers where they are not there yet, and
// returns the folder they are in. It takes minutes with an empty Go cache.
func (m *Manager) Build(ctx context.Context) (bin string, err error) {
	hash, err := m.buildHash()
	if err != nil {
		return "", err
	}
	final := filepath.Join(m.dir(), "bin-"+hash)
	if complete(final) {
		return final, nil
	}
	unlock, err := m.lock(ctx, "build.lock", "waiting for another process that compiles the engine")
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete(final) {
		return final, nil
	}
	if err := m.removeBroken(final); err != nil {
		return "", err
	}
	temporary, err := os.MkdirTemp(m.dir(), building)
	if err != nil {
		return "", fmt.Errorf("making a folder to build the engine in: %w", err)
	}
	defer os.RemoveAll(temporary)
	for _, program := range programs {
		m.note("compiling " + program.name + " from its Go module")
		if err := m.compile(ctx, program.pkg, filepath.Join(temporary, program.name)); err != nil {
			return "", fmt.Errorf("compiling %s: %w", program.name, err)
		}
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, final); err != nil {
		return "", fmt.Errorf("installing the engine: %w", err)
	}
	return final, nil
}

// complete says whether a folder has every program.
func complete(bin string) bool {
	for _, program := range programs {
		info, err := os.Stat(filepath.Join(bin, program.name))
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return false
		}
	}
	return true
}

func (m *Manager) compile(ctx context.Context, pkg, out string) error {
	version := "github.com/dagger/dagger/engine."
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-mod=readonly",
		"-ldflags=-s -w -X "+version+"Version="+Version+" -X "+version+"Tag="+Version, "-o", out, pkg)
	cmd.Dir = m.ModuleDir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if m.Log != nil {
		cmd.Stderr = io.MultiWriter(&stderr, m.Log)
	}
	// An interrupted compiler leaves nothing behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
