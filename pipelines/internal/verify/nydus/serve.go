package nydus

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/containerd/containerd/api/types"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// check ends with its first error, as a test does.
type check struct {
	name string
	do   func(*run, context.Context) (saw string)
}

// inspections are of the files, and stages of the programs while they run: after a
// stage that fails the others are skipped.
var (
	inspections = []check{
		{"containerd-nydus-grpc", (*run).grpc},
		{"nydus-overlayfs", (*run).overlayfs},
		{"templates", (*run).templates},
		{"units", (*run).units},
		{"systemd", (*run).systemd},
		{"hardening", (*run).hardening},
	}
	stages = []check{
		{"containerd", (*run).find},
		{"drop-ins", (*run).dropIns},
		{"instances", (*run).start},
		{"plugins", (*run).plugins},
		{"guest pull", (*run).guestPull},
		{"host sharing", (*run).hostShare},
		{"nydus-overlayfs mount", (*run).mount},
		{"pulled image", (*run).pulled},
		{"shared image", (*run).shared},
		{"killed instances", (*run).killed},
		{"stopped instances", (*run).stopped},
		{"removed snapshots", (*run).removed},
	}
)

type run struct {
	Snapshotter
	host.Host
	t *tarball.Tarball
	// dir has the unpacked tarball and all state.
	dir       string
	installed containerd.Installed
	daemons   map[string]*host.Daemon
	server    *containerd.Server
	// config is the configuration of containerd that server runs with.
	config string
	// child are the mounts of a snapshot for guests that pull; its parent has a file
	// in it.
	child []*types.Mount
}

// cannot says why nothing can be started here.
func (r *run) cannot() error {
	_, err := r.t.Program(grpc, r.Arch)
	_, other := r.t.Program(overlayfs, r.Arch)
	switch {
	case r.Skip != "":
		return report.Missing(r.Skip)
	case catalog.Arch(r.Arch).GoArch() != runtime.GOARCH:
		return report.Missing("this machine does not run programs for " + r.Arch)
	case err != nil || other != nil:
		return report.Missing("the programs are missing")
	case os.Geteuid() != 0:
		return report.Missing("containerd needs root: run verify as root")
	}
	return nil
}

func (r *run) end() error {
	var errs []error
	if r.server != nil {
		errs = append(errs, r.server.Kill())
	}
	for _, d := range r.daemons {
		errs = append(errs, d.Kill())
	}
	return errors.Join(errs...)
}

// relocate moves the paths in a file of the tarball below dir.
func (r *run) relocate(text string) string {
	return strings.NewReplacer(
		`"/var/lib/`, `"`+r.dir+`/lib/`,
		`"/run/`, `"`+r.dir+`/run/`,
		`"/opt/kata/`, `"`+r.dir+`/opt/kata/`,
	).Replace(text)
}

func (r *run) data(i instance) string { return filepath.Join(r.dir, "lib", i.name) }

func (r *run) socket(i instance) string {
	return filepath.Join(r.dir, "run", i.name, "containerd-nydus-grpc.sock")
}

func (r *run) launch(ctx context.Context, i instance) {
	text := report.Try(os.ReadFile(filepath.Join(r.dir, i.config)))
	config := filepath.Join(r.dir, i.name+".toml")
	report.Must(os.WriteFile(config, []byte(r.relocate(string(text))), 0o600))
	// On a host, systemd makes the folders.
	report.Must(os.MkdirAll(r.data(i), 0o700))
	report.Must(os.MkdirAll(filepath.Dir(r.socket(i)), 0o700))
	d, err := host.StartDaemon(ctx, host.DaemonSpec{
		Program: filepath.Join(r.dir, grpc), Args: []string{"--config", config}, Ready: r.Timeout,
		Socket: r.socket(i), Log: filepath.Join(r.dir, i.name+".log"),
	})
	report.Want(err == nil, "starting the instance %s: %w", i.name, err)
	r.daemons[i.name] = d
}
