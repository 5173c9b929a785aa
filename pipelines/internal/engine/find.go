package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/embedded"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/host"
)

// Kind is a way of finding an engine.
type Kind string

// The ways of finding an engine, in the order they are tried.
const (
	Named     Kind = "named"       // --engine
	Variables Kind = "environment" // Dagger's own variables
	Docker    Kind = "docker"      // provisioned by the SDK
	Podman    Kind = "podman"
	Nerdctl   Kind = "nerdctl"
	Embedded  Kind = "embedded"
)

// Dagger's own variables, which choose an engine or a CLI.
const (
	runnerHostVariable  = "_EXPERIMENTAL_DAGGER_RUNNER_HOST"
	cliVariable         = "_EXPERIMENTAL_DAGGER_CLI_BIN"
	sessionPortVariable = "DAGGER_SESSION_PORT"
)

// askTimeout bounds the question whether a container runtime answers.
const askTimeout = 5 * time.Second

// Endpoint is an engine to connect to.
type Endpoint struct {
	Kind Kind `json:"kind"`
	// Why says what made the choice.
	Why string `json:"why"`
	// Address is a Dagger runner host such as unix:///run/engine.sock or
	// tcp://host:port, "" where the SDK knows it.
	Address string `json:"address,omitempty"`
	// CLI is the path of the dagger program, "" where the SDK knows or
	// downloads it.
	CLI string `json:"cli,omitempty"`

	release func() error
	explain func() string
}

// Release says that the engine is no longer used, so that it may be stopped or
// replaced. It may be called more than once.
func (e Endpoint) Release() error {
	if e.release == nil {
		return nil
	}
	return e.release()
}

// Explain says of an embedded engine that has ended what its log has last; it
// returns "" for one that runs and for others.
func (e Endpoint) Explain() string {
	if e.explain == nil {
		return ""
	}
	return e.explain()
}

// String names the engine in a line of progress.
func (e Endpoint) String() string { return fmt.Sprintf("%s (%s)", e.Kind, e.Why) }

// Finder finds an engine.
type Finder struct {
	// Named is the address given with --engine, "" for none.
	Named string
	// Getenv returns the variables of the environment.
	Getenv func(string) string
	// Root says whether the program runs as root.
	Root bool
	// Install allows to install what the embedded engine misses.
	Install bool
	// Manager runs the embedded engine.
	Manager *embedded.Manager
	// Note gets a line for each thing that is installed and why, and for each
	// wait. It may be nil.
	Note func(string)
	// Log gets the output of tools. It may be nil.
	Log io.Writer
}

// ErrNoEngine is returned where no way of finding an engine is open.
var ErrNoEngine = errors.New(`no Dagger engine can be used. One of these makes one:
  - name one that runs: --engine tcp://HOST:PORT, or _EXPERIMENTAL_DAGGER_RUNNER_HOST
  - start Docker, Podman or nerdctl, so that its daemon answers this user
  - run this program as root on Linux, for the embedded engine`)

// Choose says which engine would be used, without starting anything.
func (f Finder) Choose(ctx context.Context) (Endpoint, error) {
	cli := f.Getenv(cliVariable)
	if f.Named != "" {
		return Endpoint{Kind: Named, Why: "--engine " + f.Named, Address: f.Named, CLI: cli}, nil
	}
	for _, variable := range []string{runnerHostVariable, sessionPortVariable} {
		if f.Getenv(variable) != "" {
			return Endpoint{Kind: Variables, Why: variable + " is set", CLI: cli}, nil
		}
	}
	for _, kind := range []Kind{Docker, Podman, Nerdctl} {
		if f.daemonAnswers(ctx, string(kind)) {
			return Endpoint{Kind: kind, Why: "its daemon answers", CLI: cli}, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return Endpoint{}, err
	}
	if !f.Root || runtime.GOOS != "linux" {
		return Endpoint{}, ErrNoEngine
	}
	return Endpoint{Kind: Embedded, Why: "root, and no container runtime answers"}, nil
}

// daemonAnswers asks a client for its daemon: clients without one are common.
func (f Finder) daemonAnswers(ctx context.Context, client string) bool {
	path, err := exec.LookPath(client)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "info")
	cmd.WaitDelay = time.Second
	return cmd.Run() == nil
}

// Ready says why Find would fail, without starting or changing anything.
func (f Finder) Ready(ctx context.Context) error {
	endpoint, err := f.Choose(ctx)
	if err != nil || endpoint.Kind != Embedded || f.Install {
		return err
	}
	return refuse(host.Missing())
}

// Find returns an engine that runs or that the SDK starts, having installed,
// built and started the embedded one if that is the choice. For a named engine
// root gets the CLI that belongs to the embedded one, so that the SDK need not
// download its own.
func (f Finder) Find(ctx context.Context) (Endpoint, error) {
	endpoint, err := f.Choose(ctx)
	if err != nil {
		return endpoint, err
	}
	if endpoint.Kind != Embedded {
		if endpoint.Kind == Named && endpoint.CLI == "" && f.Root {
			endpoint.CLI, endpoint.release, err = f.cli(ctx)
		}
		return endpoint, err
	}
	return f.Embedded(ctx)
}

// Embedded returns the embedded engine, having installed, built and started it
// if need be, whatever else could be used.
func (f Finder) Embedded(ctx context.Context) (Endpoint, error) {
	endpoint := Endpoint{Kind: Embedded, Why: "root, and no container runtime answers"}
	if err := f.requirements(ctx); err != nil {
		return endpoint, err
	}
	running, err := f.Manager.Start(ctx)
	if err != nil {
		return endpoint, fmt.Errorf("starting the embedded engine: %w", err)
	}
	endpoint.Address, endpoint.CLI = running.Address, running.CLI
	endpoint.release, endpoint.explain = running.Release, f.Manager.Explain
	return endpoint, nil
}

// cli returns the path of a dagger program built from its module, which stays
// until release.
func (f Finder) cli(ctx context.Context) (path string, release func() error, err error) {
	release, err = f.Manager.Use(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("building the dagger CLI: %w", err)
	}
	bin, err := f.Manager.Build(ctx)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("building the dagger CLI: %w", err), release())
	}
	return filepath.Join(bin, "dagger"), release, nil
}

func (f Finder) note(format string, args ...any) {
	if f.Note != nil {
		f.Note(fmt.Sprintf(format, args...))
	}
}

// requirements installs what the embedded engine misses, or says how to.
func (f Finder) requirements(ctx context.Context) error {
	missing := host.Missing()
	if len(missing) == 0 {
		return nil
	}
	for _, requirement := range missing {
		f.note("the embedded engine needs %s, which %s (package %s)", requirement.Name, requirement.Why, requirement.Package)
	}
	if !f.Install {
		return refuse(missing)
	}
	f.note("installing once: %s", host.InstallCommand(missing))
	log := f.Log
	if log == nil {
		log = io.Discard
	}
	if err := host.Install(ctx, missing, log, func(line string) { f.note("%s", line) }); err != nil {
		return fmt.Errorf("installing what the embedded engine needs (by hand: `%s`): %w", host.InstallCommand(missing), err)
	}
	return nil
}

// refuse is the error for requirements that may not be installed.
func refuse(missing []host.Requirement) error {
	if len(missing) == 0 {
		return nil
	}
	var names []string
	for _, requirement := range missing {
		names = append(names, requirement.Name)
	}
	return fmt.Errorf("the embedded engine needs %s: run `%s`", strings.Join(names, ", "), host.InstallCommand(missing))
}
