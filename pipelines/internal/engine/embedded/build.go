package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
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
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	unlock, err := m.lock(ctx, "build.lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	temporary, err := os.MkdirTemp(m.dir(), "building-")
	if err != nil {
		return "", fmt.Errorf("making a folder to build the engine in: %w", err)
	}
	defer os.RemoveAll(temporary)
	for _, program := range programs {
		fmt.Fprintf(m.Log, "compiling %s from its Go module\n", program.name)
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

func (m *Manager) compile(ctx context.Context, pkg, out string) error {
	version := "github.com/dagger/dagger/engine."
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-mod=readonly",
		"-ldflags=-s -w -X "+version+"Version="+Version+" -X "+version+"Tag="+Version, "-o", out, pkg)
	cmd.Dir = m.ModuleDir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// buildHash covers the nested module, its only input beside the Go toolchain.
func (m *Manager) buildHash() (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH, Version)
	err := filepath.WalkDir(m.ModuleDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		relative, _ := filepath.Rel(m.ModuleDir, path)
		fmt.Fprintf(sum, "%s %x\n", filepath.ToSlash(relative), sha256.Sum256(data))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the engine's module: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// removeOthers drops the programs of former versions; none of them runs.
func (m *Manager) removeOthers(keep string) {
	others, _ := filepath.Glob(filepath.Join(m.dir(), "bin-*"))
	for _, other := range others {
		if other != keep {
			os.RemoveAll(other)
		}
	}
}
