//go:build linux

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// fake is a manager with a nested module of one file and with the programs
// that belong to it, and what it reports.
func fake(t *testing.T) (m *Manager, bin string, notes *noted) {
	t.Helper()
	notes = &noted{}
	report := progress.New(notes, progress.Plain, nil)
	t.Cleanup(report.Close)
	m = &Manager{CacheDir: t.TempDir(), ModuleDir: t.TempDir(), Report: report}
	put(t, filepath.Join(m.ModuleDir, "go.mod"), "module x")
	hash, err := m.buildHash()
	require.NoError(t, err)
	bin = filepath.Join(m.dir(), "bin-"+hash)
	for _, program := range programs {
		put(t, filepath.Join(bin, program.name), "program")
	}
	return m, bin, notes
}

// noted holds what is reported. It calls tell, if that is set, for each note.
type noted struct {
	strings.Builder
	tell func()
}

func (n *noted) Write(p []byte) (int, error) {
	if n.tell != nil {
		n.tell()
	}
	return n.Builder.Write(p)
}

func put(t *testing.T, path, content string) {
	t.Helper()
	require.WriteFile(t, path, content)
}

// runs writes the state of an engine of a build, with this process as the engine.
func runs(t *testing.T, m *Manager, build string) {
	t.Helper()
	self, err := identify(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, (state{Supervisor: self, Build: build}).write(m.statePath()))
}

func TestBuildHashCoversSourcesAlone(t *testing.T) {
	m, _, _ := fake(t)
	hash := func() string {
		hash, err := m.buildHash()
		require.NoError(t, err)
		return hash
	}
	before := hash()
	put(t, filepath.Join(m.ModuleDir, "README.md"), "text")
	put(t, filepath.Join(m.ModuleDir, "x.go~"), "backup")
	if hash() != before {
		t.Error("a file that is not compiled changes the hash")
	}
	for _, name := range []string{"go.sum", "x/x.go", "x/go.mod"} {
		put(t, filepath.Join(m.ModuleDir, name), "changed")
		if after := hash(); after == before {
			t.Errorf("%s does not change the hash", name)
		} else {
			before = after
		}
	}
}

func TestIncompleteProgramsAreRemoved(t *testing.T) {
	m, bin, _ := fake(t)
	if found, err := m.build(t.Context()); err != nil || found != bin {
		t.Errorf("build = %q, %v, want %q", found, err, bin)
	}
	put(t, filepath.Join(bin, "dnsname"), "")
	if complete(bin) {
		t.Error("an empty program counts as one")
	}
	put(t, filepath.Join(m.dir(), building+"1", "dagger"), "half")
	// The module does not exist, so the missing program cannot be compiled.
	if _, err := m.build(t.Context()); err == nil {
		t.Error("incomplete programs were used")
	}
	if left, _ := filepath.Glob(filepath.Join(m.dir(), "*-*")); left != nil {
		t.Errorf("left: %q", left)
	}
}

func TestEngineInUse(t *testing.T) {
	m, bin, notes := fake(t)
	runs(t, m, "/another/build")
	lease, err := m.lease(t.Context(), bin)
	require.NoError(t, err)
	if err := m.Stop(t.Context(), false); !errors.Is(err, ErrInUse) {
		t.Errorf("Stop = %v, want ErrInUse", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	notes.tell = cancel
	if _, err := m.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Start = %v, want context.Canceled", err)
	}
	if got := notes.String(); !strings.Contains(got, "waiting for builds") || strings.Contains(got, "replacing") {
		t.Errorf("noted %q", got)
	}
	if _, err := files.TryLock(m.usePath()); !errors.Is(err, files.ErrLocked) {
		t.Errorf("while it is used: %v", err)
	}
	lease.Release()
	lease.Release()
	unlock, err := files.TryLock(m.usePath())
	if err != nil {
		t.Fatalf("after it was released: %v", err)
	}
	unlock()
}

// With --engine, no other process removes the CLI of a build.
func TestLeaseOfTheCLI(t *testing.T) {
	m, bin, _ := fake(t)
	lease, err := m.CLI(t.Context())
	if err != nil || lease.CLI != filepath.Join(bin, "dagger") {
		t.Fatalf("CLI = %+v, %v", lease, err)
	}
	if _, err := files.TryLock(m.usePath()); !errors.Is(err, files.ErrLocked) {
		t.Errorf("while the CLI is used: %v", err)
	}
	lease.Release()
}

func TestWaitingForALockIsNoted(t *testing.T) {
	m, _, notes := fake(t)
	unlock, err := m.lock(t.Context())
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	notes.tell = cancel
	if err := m.Stop(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if got := notes.String(); got != "engine  "+waitingForStart+"\n" {
		t.Errorf("noted %q", got)
	}
}

func TestLogIsKeptAndExplains(t *testing.T) {
	m, bin, _ := fake(t)
	put(t, m.logPath(), "panic: out of memory\n")
	runs(t, m, bin) // it does not answer
	if got := m.Explain(); !strings.Contains(got, "panic: out of memory") || !strings.Contains(got, m.logPath()) {
		t.Errorf("explained with %q", got)
	}
	log, err := m.newLog()
	require.NoError(t, err)
	defer log.Close()
	if old, err := os.ReadFile(m.logPath() + ".1"); err != nil || string(old) != "panic: out of memory\n" {
		t.Errorf("the previous log is %q, %v", old, err)
	}
}

// The lock of flock(1), which runs a command with its descriptor open, must not outlive
// the command.
func TestInheritedDescriptorsAreClosed(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	require.NoError(t, err)
	defer file.Close()
	inherited, err := unix.Dup(int(file.Fd())) // without FD_CLOEXEC
	require.NoError(t, err)
	closeInherited()
	if _, err := unix.FcntlInt(uintptr(inherited), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("the inherited descriptor is still open: %v", err)
	}
	if _, err := file.Stat(); err != nil {
		t.Errorf("the program's own descriptor: %v", err)
	}
}

func TestSuperviseHonoursAnEarlyEnd(t *testing.T) {
	m := Manager{CacheDir: t.TempDir()}
	data, err := json.Marshal(config{Manager: m})
	require.NoError(t, err)
	t.Setenv(configVariable, string(data))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Supervise(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := os.Stat(m.statePath()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a state was written: %v", err)
	}
}
