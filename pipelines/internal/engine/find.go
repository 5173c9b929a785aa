package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/embedded"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
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

// clientTimeout bounds the call of a client that is asked for its daemon.
const clientTimeout = 5 * time.Second

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

	// lease keeps what belongs to the embedded engine from being replaced.
	lease *embedded.Lease
	// embedded is set for the embedded engine.
	embedded *embedded.Manager
}

// Release ends the use of the engine, so that it may be stopped or replaced. It
// may be called more than once.
func (e Endpoint) Release() { e.lease.Release() }

// Explain returns the end of the log of an embedded engine that has ended, and
// "" for one that runs and for other engines.
func (e Endpoint) Explain() string {
	if e.embedded == nil {
		return ""
	}
	return e.embedded.Explain()
}

// String names the engine in a line of progress.
func (e Endpoint) String() string { return fmt.Sprintf("%s (%s)", e.Kind, e.Why) }

// Finder finds an engine.
type Finder struct {
	// Named is the address given with --engine, "" for none.
	Named string
	// Root is true where the program runs as root.
	Root bool
	// Install allows installing the packages that the embedded engine needs.
	Install bool
	// Manager runs the embedded engine.
	Manager embedded.Manager

	// variable is the one of Dagger's that chooses an engine, "" for none; cli
	// the path of the dagger program that the caller has set.
	variable, cli string
}

// NewFinder returns a finder for the environment of a process.
func NewFinder(getenv func(string) string) Finder {
	f := Finder{cli: getenv(cliVariable)}
	for _, variable := range []string{sessionPortVariable, runnerHostVariable} {
		if getenv(variable) != "" {
			f.variable = variable
		}
	}
	return f
}

// Reporting returns the finder with another reporter.
func (f Finder) Reporting(report *progress.Reporter) Finder {
	f.Manager.Report = report
	return f
}

// ErrNoEngine is returned where no engine can be used.
var ErrNoEngine = errors.New(`no Dagger engine can be used. Do one of these:
  - name a running one: --engine tcp://HOST:PORT, or _EXPERIMENTAL_DAGGER_RUNNER_HOST
  - start Docker, Podman or nerdctl, so that its daemon answers this user
  - run this program as root on Linux, for the embedded engine`)

// Choose returns the engine that would be used, without starting anything.
func (f Finder) Choose(ctx context.Context) (Endpoint, error) {
	switch {
	case f.Named != "":
		return Endpoint{Kind: Named, Why: "--engine " + f.Named, Address: f.Named, CLI: f.cli}, nil
	case f.variable != "":
		return Endpoint{Kind: Variables, Why: f.variable + " is set", CLI: f.cli}, nil
	}
	for _, kind := range []Kind{Docker, Podman, Nerdctl} {
		if daemonAnswers(ctx, string(kind)) {
			return Endpoint{Kind: kind, Why: "its daemon answers", CLI: f.cli}, nil
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

// daemonAnswers calls a client's daemon: clients without one are common.
func daemonAnswers(ctx context.Context, client string) bool {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	cmd := command.New(ctx, client, "info")
	cmd.Env = command.Environ(clientVariables...)
	cmd.WaitDelay = time.Second
	return cmd.Run() == nil
}

// Ready returns why Find or a connection would fail, as far as that is known
// without starting or changing anything.
func (f Finder) Ready(ctx context.Context) error {
	endpoint, err := f.Choose(ctx)
	switch {
	case err != nil:
		return err
	case endpoint.Kind == Embedded && !f.Install:
		return refuse(host.Missing())
	}
	return endpoint.reach(ctx)
}

// Find returns an engine that runs or that the SDK starts. The embedded one is
// installed, built and started if need be. For a named engine, root gets the
// CLI that belongs to the embedded one, so that the SDK downloads none.
func (f Finder) Find(ctx context.Context) (Endpoint, error) {
	endpoint, err := f.Choose(ctx)
	switch {
	case err != nil:
		return endpoint, err
	case endpoint.Kind == Embedded:
		return f.Embedded(ctx)
	case endpoint.Kind == Named && endpoint.CLI == "" && f.Root:
		if endpoint.CLI, endpoint.lease, err = f.Manager.CLI(ctx); err != nil {
			return endpoint, fmt.Errorf("building the dagger CLI: %w", err)
		}
	}
	return endpoint, nil
}

// Embedded returns the embedded engine, installed, built and started if need be,
// whatever else could be used.
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
	endpoint.lease, endpoint.embedded = running.Lease, &f.Manager
	return endpoint, nil
}

// requirements installs what the embedded engine needs, or says how to.
func (f Finder) requirements(ctx context.Context) error {
	missing := host.Missing()
	if len(missing) == 0 {
		return nil
	}
	if !f.Install {
		return refuse(missing)
	}
	for _, r := range missing {
		f.Manager.Report.Note("engine", fmt.Sprintf("the embedded engine needs %s, which %s (package %s)", r.Name, r.Why, r.Package))
	}
	f.Manager.Report.Note("engine", "installing once: "+host.InstallCommand(missing))
	if err := host.Install(ctx, missing, f.Manager.Report); err != nil {
		return fmt.Errorf("installing packages for the embedded engine (by hand: `%s`): %w", host.InstallCommand(missing), err)
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
