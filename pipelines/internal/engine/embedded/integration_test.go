//go:build linux && integration

package embedded

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// TestMain lets the test binary be its own supervisor, as the program is.
func TestMain(m *testing.M) {
	if os.Getenv(configVariable) != "" {
		if err := Supervise(context.Background()); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func manager(t *testing.T) *Manager {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("the embedded engine needs root")
	}
	report := progress.New(t.Output(), progress.Plain, nil)
	t.Cleanup(report.Close)
	require.NoError(t, host.Install(t.Context(), report))
	dir := t.TempDir()
	// The programs are compiled once for all tests of a machine.
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	shared := &Manager{CacheDir: filepath.Join(cache, "kata-pipelines"), ModuleDir: "../../../dagger-engine", Report: report}
	programs, err := shared.CLI(t.Context())
	require.NoError(t, err)
	defer programs.Release()
	bin := filepath.Dir(programs.CLI)
	m := &Manager{CacheDir: dir, ModuleDir: shared.ModuleDir, Report: report}
	require.NoError(t, os.MkdirAll(m.dir(), 0o755))
	require.NoError(t, os.CopyFS(filepath.Join(m.dir(), filepath.Base(bin)), os.DirFS(bin)))
	t.Cleanup(func() {
		if err := m.Stop(context.Background(), true); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(m.logPath())
			t.Logf("engine.log:\n%s", log)
		}
	})
	return m
}

// alone waits until no other test of this machine starts or stops an engine,
// and keeps them waiting until this one has ended.
func alone(t *testing.T) {
	t.Helper()
	lock := flock.New(filepath.Join(os.TempDir(), "kata-pipelines-integration.lock"))
	require.NoError(t, lock.Lock())
	t.Cleanup(func() {
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	})
}

// look returns everything that an engine may leave behind.
func look(t *testing.T) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for name, args := range map[string][]string{
		"links":  {"ip", "-o", "link", "show"},
		"tables": {"nft", "list", "tables"},
		// Clients named dagger and full disks are those of other tests.
		"processes": {"sh", "-c", "ps -e -o comm= | grep -xE 'dagger-engine|dnsmasq|runc' | sort | uniq -c"},
		"cgroups":   {"sh", "-c", "find /sys/fs/cgroup -type d -name '*buildkit*' | sort"},
		"forward":   {"cat", forwardingPath},
		"mounts":    {"grep", "-v", "/TestFaults", "/proc/self/mounts"},
		"resolv":    {"cat", "/etc/resolv.conf"},
		"files":     {"sh", "-c", "ls -d /var/lib/cni /run/kata-pipelines /run/dagger* 2>/dev/null || true"},
	} {
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		if err != nil && len(out) > 0 {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		seen[name] = string(out)
	}
	// Counters such as qlen and state do not matter, names do.
	var links []string
	for line := range strings.Lines(seen["links"]) {
		links = append(links, strings.Fields(line)[1])
	}
	slices.Sort(links)
	seen["links"] = strings.Join(links, " ")
	return seen
}

func compare(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name := range before {
		if before[name] != after[name] {
			t.Errorf("%s differ after the engine was stopped:\nbefore:\n%s\nafter:\n%s", name, before[name], after[name])
		}
	}
}

func TestStartStopLeavesNothing(t *testing.T) {
	alone(t)
	m := manager(t)
	before := look(t)
	var wg sync.WaitGroup
	running := make([]*Lease, 4)
	for i := range running {
		wg.Go(func() {
			var err error
			if running[i], err = m.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range running[1:] {
		if r.PID != running[0].PID || r.Address != running[0].Address || r.CLI != running[0].CLI {
			t.Errorf("two engines were started: %+v and %+v", running[0], r)
		}
	}
	for _, r := range running {
		if err := m.Stop(t.Context(), false); !errors.Is(err, ErrInUse) {
			t.Fatalf("stopping an engine in use: %v", err)
		}
		r.Release()
	}
	status, err := m.Status()
	if err != nil || status.State != "running" || status.PID != running[0].PID {
		t.Fatalf("status = %+v, %v", status, err)
	}
	require.NoError(t, m.Stop(t.Context(), false))
	compare(t, before, look(t))
	if status, err := m.Status(); err != nil || status.State != "stopped" {
		t.Errorf("status = %+v, %v", status, err)
	}
}

func TestKilledEngineIsReplaced(t *testing.T) {
	alone(t)
	m := manager(t)
	before := look(t)
	for _, victim := range []string{"supervisor", "dagger-engine"} {
		first, err := m.Start(t.Context())
		require.NoError(t, err)
		pid := first.PID
		if victim == "dagger-engine" {
			pid = enginePID(t, first.PID)
		}
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		if !waitFor(10*time.Second, func() bool { s, _ := m.Status(); return s.State != "running" }) {
			t.Fatalf("the death of the %s was not noticed", victim)
		}
		second, err := m.Start(t.Context())
		require.NoError(t, err)
		if second.PID == first.PID {
			t.Errorf("the dead engine was not replaced after %s was killed", victim)
		}
	}
	require.NoError(t, m.Stop(t.Context(), true))
	compare(t, before, look(t))

	// Stop clears away what a killed supervisor could not.
	last, err := m.Start(t.Context())
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(last.PID, syscall.SIGKILL))
	require.NoError(t, m.Stop(t.Context(), true))
	compare(t, before, look(t))
}

func TestTwoCacheDirectories(t *testing.T) {
	alone(t)
	before := look(t)
	one, two := manager(t), manager(t)
	var wg sync.WaitGroup
	for _, m := range []*Manager{one, two} {
		wg.Go(func() {
			if _, err := m.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, one.Stop(t.Context(), true))
	if status, err := two.Status(); err != nil || status.State != "running" {
		t.Errorf("the other engine: %+v, %v", status, err)
	}
	if data, err := os.ReadFile(forwardingPath); err != nil || string(data) != "1\n" {
		t.Errorf("the host stopped forwarding for the other engine: %q, %v", data, err)
	}
	require.NoError(t, two.Stop(t.Context(), true))
	compare(t, before, look(t))
}

// enginePID finds the engine below the supervisor.
func enginePID(t *testing.T, supervisor int) int {
	t.Helper()
	pid := supervisor
	for range 2 {
		out, err := exec.CommandContext(t.Context(), "pgrep", "-P", strconv.Itoa(pid)).Output()
		if err != nil {
			t.Fatalf("no child of %d: %v", pid, err)
		}
		pid = atoi(t, strings.Fields(string(out))[0])
	}
	return pid
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}
