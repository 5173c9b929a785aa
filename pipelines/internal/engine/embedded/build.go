//go:build linux

package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// programs are the programs to compile, by their installed names.
var programs = []struct{ name, pkg string }{
	{"dagger-engine", "github.com/dagger/dagger/cmd/engine"},
	{"dagger", "github.com/dagger/dagger/cmd/dagger"},
	{"dagger-init", "github.com/dagger/dagger/cmd/init"},
	{"dnsname", "github.com/dagger/dagger/cmd/dnsname"},
}

// building is the prefix of the temporary build folders, which a killed process leaves.
const building = "building-"

// CLI returns a lease of the dagger program, compiled from its module if need be.
func (m *Manager) CLI(ctx context.Context) (*Lease, error) {
	unlock, err := m.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	bin, err := m.build(ctx)
	if err != nil {
		return nil, err
	}
	return m.lease(ctx, bin)
}

// build compiles the engine and its helpers unless they exist, and returns their
// folder. It takes minutes with an empty Go cache. The caller has the lock.
func (m *Manager) build(ctx context.Context) (bin string, err error) {
	hash, err := m.buildHash()
	if err != nil {
		return "", err
	}
	bin = filepath.Join(m.dir(), "bin-"+hash)
	if complete(bin) {
		return bin, nil
	}
	for _, leftover := range []string{filepath.Base(bin), building + "*"} {
		if err := m.removePrograms(leftover, ""); err != nil {
			return "", err
		}
	}
	temporary, err := os.MkdirTemp(m.dir(), building)
	if err != nil {
		return "", fmt.Errorf("making a folder to build the engine in: %w", err)
	}
	defer os.RemoveAll(temporary)
	for _, program := range programs {
		if err := m.compile(ctx, program.pkg, filepath.Join(temporary, program.name)); err != nil {
			return "", fmt.Errorf("compiling %s: %w", program.name, err)
		}
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, bin); err != nil {
		return "", fmt.Errorf("installing the engine: %w", err)
	}
	return bin, nil
}

// complete reports whether a folder has every program.
func complete(bin string) bool {
	for _, program := range programs {
		info, err := os.Stat(filepath.Join(bin, program.name))
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return false
		}
	}
	return true
}

func (m *Manager) compile(ctx context.Context, pkg, out string) (err error) {
	m.note("compiling " + filepath.Base(out) + " from its Go module")
	stage := m.Report.Stage("engine", "compile")
	defer func() { stage.End(err, filepath.Base(out)) }()
	version := "github.com/dagger/dagger/engine."
	cmd := command.New(ctx, "go", "build", "-trimpath", "-mod=readonly",
		"-ldflags=-s -w -X "+version+"Version="+Version+" -X "+version+"Tag="+Version, "-o", out, pkg)
	cmd.Dir = m.ModuleDir
	cmd.Env = append(command.GoEnviron(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
	var stderr bytes.Buffer
	cmd.Stderr = io.MultiWriter(&stderr, stage)
	// An interrupted compiler leaves nothing behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// buildHash hashes the sources of the programs. It leaves out the other files of the
// nested module, because a new hash replaces the running engine.
func (m *Manager) buildHash() (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH, Version)
	err := filepath.WalkDir(m.ModuleDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !isSource(entry.Name()) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(m.ModuleDir, path)
		fmt.Fprintf(sum, "%s %x\n", filepath.ToSlash(relative), sha256.Sum256(data))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the engine's module: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

func isSource(name string) bool {
	return name == "go.mod" || name == "go.sum" || filepath.Ext(name) == ".go"
}

// removePrograms removes the folders whose names match a pattern, except one.
func (m *Manager) removePrograms(pattern, keep string) error {
	found, err := filepath.Glob(filepath.Join(m.dir(), pattern))
	if err != nil {
		return err
	}
	for _, bin := range found {
		if bin == keep {
			continue
		}
		if err := os.RemoveAll(bin); err != nil {
			return fmt.Errorf("removing old programs of the engine: %w", err)
		}
	}
	return nil
}
