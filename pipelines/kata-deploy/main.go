// Command kata-deploy installs Kata Containers on the node that it runs on, and removes it.
// It is the program of the payload image. The environment says what to install, as that of
// Kata's own installer does: see package config.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/components"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/config"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/deploy"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/host"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/node"
)

const usage = `Usage: kata-deploy install|cleanup|reset|ready [--dry-run]

  install   install the payload on the node NODE_NAME, then wait for SIGTERM, and clean up
  cleanup   remove it, unless its DaemonSet still exists
  reset     remove the node's label and restart its container runtime
  ready     exit with 0 if the install of this container is complete: for probes

  --dry-run print what would change, and change nothing
`

// Paths in the container, and of the node's first process.
const (
	payloadDir   = "/opt/kata-artifacts"
	customDir    = "/custom-configs"
	accountSpace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	hostMounts   = "/proc/1/ns/mnt"
	// readyFile is in the container's own layer, so a new container begins without it.
	readyFile = "/kata-deploy.ready"
)

const (
	// memory is how much the program may keep, and removal how long a removal may take.
	memory  = 40 << 20
	removal = 9 * time.Minute
)

var errUsage = errors.New("wrong usage")

func main() {
	// Before anything else: a pod can be deleted before it has begun.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	debug.SetMemoryLimit(memory)
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "kata-deploy: %v\n\n%s", err, usage)
		os.Exit(2)
	case err != nil:
		slog.Error("failed", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args, environ []string, out io.Writer) error {
	action, dryRun, err := parse(args)
	if err != nil {
		return err
	}
	if action == "ready" {
		return ready(readyFile)
	}
	env := map[string]string{}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	if space, err := os.ReadFile(accountSpace); err == nil && env["DAEMONSET_NAMESPACE"] == "" {
		env["DAEMONSET_NAMESPACE"] = string(space)
	}
	level := slog.LevelInfo
	if env["DEBUG"] == "true" || env["DEBUG"] == "1" {
		level = slog.LevelDebug
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	if os.Geteuid() != 0 {
		return errors.New("run it as root: it changes the node")
	}
	target, err := config.ParseTarget(env)
	if err != nil {
		return err
	}
	api, err := node.InCluster(target.Node)
	if err != nil {
		return err
	}
	d := deploy.Deploy{Host: host.Host{Root: "/", Mounts: hostMounts}, API: api, Out: out, DryRun: dryRun}
	slog.Info("starting", "action", action, "node", target.Node, "dir", target.Dir, "daemonset", target.Owner())
	switch action {
	case "cleanup":
		return d.Cleanup(ctx, target)
	case "reset":
		return d.Reset(ctx)
	}
	return install(ctx, d, target, env)
}

// parse returns the action of a command line.
func parse(args []string) (action string, dryRun bool, err error) {
	flags := flag.NewFlagSet("kata-deploy", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&dryRun, "dry-run", false, "")
	for len(args) > 0 && err == nil {
		if !strings.HasPrefix(args[0], "-") && action == "" {
			action, args = args[0], args[1:]
		}
		if err = flags.Parse(args); err == nil && len(flags.Args()) == len(args) && len(args) > 0 {
			err = fmt.Errorf("unexpected argument %q", args[0])
		}
		args = flags.Args()
	}
	if err == nil && !slices.Contains([]string{"install", "cleanup", "reset", "ready"}, action) {
		err = fmt.Errorf("the action is %q: want install, cleanup, reset or ready", action)
	}
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", errUsage, err)
	}
	return action, dryRun, nil
}

// install installs, waits for SIGTERM, and cleans up. SIGTERM can come at any time.
func install(ctx context.Context, d deploy.Deploy, target config.Target, env map[string]string) error {
	err := prepared(ctx, d, env)
	if d.DryRun || err != nil && ctx.Err() == nil {
		return err
	}
	if err != nil {
		slog.Info("interrupted", "error", err)
	} else {
		debug.FreeOSMemory()
		if err := os.WriteFile(readyFile, nil, 0o644); err != nil {
			return err
		}
		slog.Info("waiting for SIGTERM")
		<-ctx.Done()
	}
	slog.Info("got SIGTERM, cleaning up")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removal)
	defer cancel()
	return d.Cleanup(ctx, target)
}

// ready reports whether there is a file that install leaves when it is complete.
func ready(file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("not installed yet: %w", err)
	}
	return nil
}

// prepared opens the payload, validates the environment by it, and installs.
func prepared(ctx context.Context, d deploy.Deploy, env map[string]string) error {
	arch := archs[runtime.GOARCH]
	payload, err := components.Open(payloadDir, arch)
	if err != nil {
		return err
	}
	c, err := config.Parse(config.Input{Env: env, Arch: arch, Shims: payload.Shims(), Custom: os.DirFS(customDir)})
	if err != nil {
		return err
	}
	return d.Install(ctx, c, payload)
}

// archs are the architectures as `uname -m` prints them.
var archs = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "s390x": "s390x", "ppc64le": "ppc64le"}
