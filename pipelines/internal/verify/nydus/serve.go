package nydus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/containerd/containerd/api/types"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/nydus/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// stage is a check that depends on the ones before it. It ends with its first error,
// as a test does: must and try panic with it, and attempt recovers.
type stage struct {
	name string
	do   func(*serving, context.Context) (saw string)
}

// stages are in order: after one that fails the others are skipped.
var stages = []stage{
	{"containerd", (*serving).find},
	{"drop-ins", (*serving).dropIns},
	{"instances", (*serving).start},
	{"plugins", (*serving).plugins},
	{"guest pull", (*serving).guestPull},
	{"host sharing", (*serving).hostShare},
	{"nydus-overlayfs mount", (*serving).mount},
	{"pulled image", (*serving).pulled},
	{"shared image", (*serving).shared},
	{"killed instances", (*serving).killed},
	{"stopped instances", (*serving).stopped},
	{"removed snapshots", (*serving).removed},
}

// serving is the snapshotter and the containerd while they run.
type serving struct {
	host.Host
	// dir has the unpacked tarball and all state.
	dir       string
	installed containerd.Installed
	daemons   map[string]*host.Daemon
	server    *containerd.Server
	// config is the configuration of containerd that server runs with.
	config string
	// child are the mounts of a snapshot, of guests that pull, whose parent has a
	// file in it.
	child []*types.Mount
}

// cannot says why nothing can be started here, or "".
func cannot(h host.Host, arch string, native bool) string {
	switch {
	case h.Skip != "":
		return h.Skip
	case catalog.Arch(arch).GoArch() != runtime.GOARCH:
		return fmt.Sprintf("this machine does not run programs for %s", arch)
	case !native:
		return "the programs are missing"
	case os.Geteuid() != 0:
		return "containerd needs root: run verify as root"
	}
	return ""
}

// serve goes through the stages, and ends everything that they started.
func serve(ctx context.Context, r *report.Report, dir string, h host.Host) (err error) {
	s := &serving{Host: h, dir: dir, daemons: map[string]*host.Daemon{}}
	defer func() { err = errors.Join(err, s.end()) }()
	why := ""
	for _, stage := range stages {
		if why != "" {
			r.Skip(stage.name, "%s", why)
			continue
		}
		saw, err := s.attempt(ctx, stage)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.Result(stage.name, err, "%s", saw)
		var missing report.Missing
		switch {
		case !errors.As(err, &missing):
			if err != nil {
				why = "because of " + stage.name
			}
		case s.server == nil:
			why = missing.Error() // Without a containerd there is nothing to serve.
		}
	}
	return nil
}

// attempt goes through a stage.
func (r *serving) attempt(ctx context.Context, stage stage) (saw string, err error) {
	defer func() {
		caught := recover()
		if ended, ours := caught.(failure); ours {
			err = ended.error
		} else if caught != nil {
			panic(caught)
		}
	}()
	return stage.do(r, ctx), nil
}

// failure is the error that a stage ends with.
type failure struct{ error }

// must ends a stage if there is an error.
func must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// try ends a stage if there is an error, and else returns the value.
func try[T any](value T, err error) T {
	must(err)
	return value
}

// want ends a stage unless a condition is met.
func want(met bool, format string, args ...any) {
	if !met {
		must(fmt.Errorf(format, args...))
	}
}

// end kills what still runs.
func (r *serving) end() error {
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
func (r *serving) relocate(text string) string {
	return strings.NewReplacer(
		`"/var/lib/`, `"`+r.dir+`/lib/`,
		`"/run/`, `"`+r.dir+`/run/`,
		`"/opt/kata/`, `"`+r.dir+`/opt/kata/`,
	).Replace(text)
}

func (r *serving) data(i instance) string { return filepath.Join(r.dir, "lib", i.name) }

func (r *serving) socket(i instance) string {
	return filepath.Join(r.dir, "run", i.name, "containerd-nydus-grpc.sock")
}

// launch starts an instance.
func (r *serving) launch(ctx context.Context, i instance) {
	text := try(os.ReadFile(filepath.Join(r.dir, i.config)))
	config := filepath.Join(r.dir, i.name+".toml")
	must(os.WriteFile(config, []byte(r.relocate(string(text))), 0o600))
	// On a host, systemd makes the folders.
	must(os.MkdirAll(r.data(i), 0o700))
	must(os.MkdirAll(filepath.Dir(r.socket(i)), 0o700))
	d, err := host.StartDaemon(ctx, host.DaemonSpec{
		Program: filepath.Join(r.dir, grpc), Args: []string{"--config", config}, Ready: r.Timeout,
		Socket: r.socket(i), Log: filepath.Join(r.dir, i.name+".log"),
	})
	want(err == nil, "starting the instance %s: %w", i.name, err)
	r.daemons[i.name] = d
}
