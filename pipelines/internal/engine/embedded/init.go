//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

const (
	// runDir is the engine's part of its private /run; the nested module
	// compiles this path into the engine.
	runDir = "/run/dagger-engine"
	// cniFolder is where Debian's containernetworking-plugins are.
	cniFolder = "/usr/lib/cni"
)

// init is process 1 of the engine's namespaces.
func (c config) init(ctx context.Context) error {
	ready := os.NewFile(readyFD, "ready")
	if n, err := ready.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("waiting for the network: %w", err)
	}
	if err := ready.Close(); err != nil {
		return err
	}
	if err := c.mounts(); err != nil {
		return fmt.Errorf("laying out the engine's file system: %w", err)
	}
	if err := c.Uplink.connect(); err != nil {
		return fmt.Errorf("setting up the engine's network: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	engine := filepath.Join(c.Bin, "dagger-engine")
	process, err := os.StartProcess(engine, []string{engine,
		"--addr", "unix://" + c.Manager.socketPath(),
		"--root", c.Manager.root(),
		"--oci-cni-binary-dir", runDir + "/cni",
		// Reserved, free and used space in MB. The engine's own defaults are fractions of the
		// disk: up to three quarters of it.
		"--oci-worker-gc-keepstorage", fmt.Sprintf("0,0,%d", CacheLimit/1_000_000),
	}, &os.ProcAttr{
		Dir:   "/",
		Env:   command.Environ(),
		Files: []*os.File{nil, os.Stdout, os.Stderr},
	})
	if err != nil {
		return fmt.Errorf("starting dagger-engine: %w", err)
	}
	return reap(ctx, process.Pid)
}

// reap waits for every process of the namespace and returns when the engine
// has ended; the kernel then ends what is left. The end of ctx ends the engine.
func reap(ctx context.Context, engine int) error {
	// Kill fails only if the engine has ended already.
	defer context.AfterFunc(ctx, func() { _ = syscall.Kill(engine, syscall.SIGTERM) })()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("waiting for the engine: %w", err)
		case pid == engine && status.Signaled():
			return fmt.Errorf("dagger-engine: %s", status.Signal())
		case pid == engine && status.ExitStatus() != 0:
			return fmt.Errorf("dagger-engine: exit status %d", status.ExitStatus())
		case pid == engine:
			return nil
		}
	}
}

type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// mounts gives the namespace a /proc, /sys, /run and resolv.conf of its own.
// A fresh sysfs shows the new network namespace, which the engine samples; the
// cgroup tree is bound back onto it.
func (c config) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	resolv, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return err
	}
	cgroup, err := os.Open("/sys/fs/cgroup")
	if err != nil {
		return err
	}
	defer cgroup.Close()
	for _, m := range []mount{
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"tmpfs", cniState, "tmpfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=0755"},
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{fmt.Sprintf("/proc/self/fd/%d", cgroup.Fd()), "/sys/fs/cgroup", "", unix.MS_BIND | unix.MS_REC, ""},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s: %w", m.target, err)
		}
	}
	for _, dir := range []string{runDir + "/bin", runDir + "/content", runDir + "/cni", filepath.Dir(resolv), c.Manager.root()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return errors.Join(c.helpers(), bindResolv(resolv, c.Resolvers))
}

// helpers puts runc, init and the CNI plugins where the engine looks for them.
func (c config) helpers() error {
	// Containers get dagger-init itself, so it is a copy and not a link.
	program, err := os.ReadFile(filepath.Join(c.Bin, "dagger-init"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(runDir+"/bin/dagger-init", program, 0o755); err != nil {
		return err
	}
	plugins, err := filepath.Glob(filepath.Join(cniFolder, "*"))
	if err != nil {
		return err
	}
	failed := []error{os.Symlink(c.Runc, runDir+"/bin/runc")}
	for _, plugin := range append(plugins, filepath.Join(c.Bin, "dnsname")) {
		failed = append(failed, os.Symlink(plugin, filepath.Join(runDir, "cni", filepath.Base(plugin))))
	}
	return errors.Join(failed...)
}

// bindResolv mounts a resolv.conf over the host's, because the engine rewrites it.
func bindResolv(target string, resolvers []string) error {
	private := runDir + "/resolv.conf"
	if err := os.WriteFile(private, []byte(strings.Join(resolvers, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	// The private /run hides a target below the host's: create it.
	file, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), unix.Mount(private, target, "", unix.MS_BIND, ""))
}
