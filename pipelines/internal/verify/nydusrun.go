package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/daemon"
)

// Serving says how the snapshotter is made to serve a containerd.
type Serving struct {
	// Skip is why nothing is started, "" to start it.
	Skip string
	// Containerd is a folder with containerd and ctr to serve, "" for the machine's
	// or, where that is too old, one that is built from its Go module.
	Containerd string
	// Root is the root of the repository, and Cache a folder that keeps what is built.
	Root, Cache string
	// LookPath finds programs.
	LookPath func(name string) (string, error)
	// Timeout is how long each program may take until it serves, and to stop.
	Timeout time.Duration
	// Note gets a line about what takes time.
	Note func(string)
}

// stage is a check that builds on those before it.
type stage struct {
	name string
	do   func(*serving, context.Context) (saw string, err error)
}

// stages are in order: where one fails, there is nothing to see in the others.
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

var servingChecks = func() (names []string) {
	for _, s := range stages {
		names = append(names, s.name)
	}
	return names
}()

// serving is the snapshotter and the containerd while they run.
type serving struct {
	Serving
	// dir has the unpacked tarball and all state.
	dir       string
	finder    containerd.Finder
	installed containerd.Installed
	instances map[string]*daemon.Daemon
	server    *containerd.Server
	// config is the configuration of containerd that server runs with.
	config string
	// child are the mounts of a snapshot, of guests that pull, that has a parent
	// with a file in it.
	child []containerd.Mount
}

// cannot says why nothing can be started here, or "".
func (s Serving) cannot(arch string, native bool) string {
	switch {
	case s.Skip != "":
		return s.Skip
	case catalog.Arch(arch).GoArch() != runtime.GOARCH:
		return fmt.Sprintf("this machine does not run programs for %s", arch)
	case !native:
		return "there are no programs to start"
	case os.Geteuid() != 0:
		return "containerd runs as root alone: run verify as root"
	}
	return ""
}

// run goes through the stages, and ends everything that they started.
func (s Serving) run(ctx context.Context, report *Report, dir string) (err error) {
	finder := containerd.Finder{Dir: s.Containerd, Root: s.Root, Cache: s.Cache, LookPath: s.LookPath, Note: s.Note}
	r := &serving{Serving: s, dir: dir, finder: finder, instances: map[string]*daemon.Daemon{}}
	defer func() { err = errors.Join(err, r.end()) }()
	why := ""
	for _, stage := range stages {
		if why != "" {
			report.Skip(stage.name, "%s", why)
			continue
		}
		saw, err := stage.do(r, ctx)
		var missing *errNoTool
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &missing) && r.server == nil:
			// Without a containerd there is nothing to serve.
			why = missing.why
			report.Skip(stage.name, "%s", why)
		case errors.As(err, &missing):
			report.Skip(stage.name, "%s", missing.why)
		case err != nil:
			why = "because of " + stage.name
			report.Fail(stage.name, "%v", err)
		default:
			report.Pass(stage.name, "%s", saw)
		}
	}
	return nil
}

// end kills what still runs.
func (r *serving) end() error {
	var errs []error
	if r.server != nil {
		errs = append(errs, r.server.Kill())
	}
	for _, instance := range nydusInstances {
		if d := r.instances[instance.name]; d != nil {
			errs = append(errs, d.Kill())
		}
	}
	return errors.Join(errs...)
}

// relocate has the paths of a file of the tarball point below dir.
func (r *serving) relocate(text string) string {
	return strings.NewReplacer(
		`"/var/lib/`, `"`+r.dir+`/lib/`,
		`"/run/`, `"`+r.dir+`/run/`,
		`"/opt/kata/`, `"`+r.dir+`/opt/kata/`,
	).Replace(text)
}

func (r *serving) data(i nydusInstance) string { return filepath.Join(r.dir, "lib", i.name) }

func (r *serving) socket(i nydusInstance) string {
	return filepath.Join(r.dir, "run", i.name, "containerd-nydus-grpc.sock")
}

// launch starts an instance.
func (r *serving) launch(ctx context.Context, i nydusInstance) error {
	text, err := os.ReadFile(filepath.Join(r.dir, i.config))
	if err != nil {
		return err
	}
	config := filepath.Join(r.dir, i.name+".toml")
	if err := os.WriteFile(config, []byte(r.relocate(string(text))), 0o600); err != nil {
		return err
	}
	// On a host systemd makes the folders.
	for _, folder := range []string{"lib", "run"} {
		if err := os.MkdirAll(filepath.Join(r.dir, folder, i.name), 0o700); err != nil {
			return err
		}
	}
	d, err := daemon.Start(ctx, daemon.Spec{
		Program: filepath.Join(r.dir, nydusGRPC), Args: []string{"--config", config}, Ready: r.Timeout,
		Socket: r.socket(i), Log: filepath.Join(r.dir, i.name+".log"),
	})
	if err != nil {
		return fmt.Errorf("the instance %s: %w", i.name, err)
	}
	r.instances[i.name] = d
	return nil
}
