package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
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

const whyEmbedded = "root, and no container runtime answers"

// clientTimeout bounds the call that asks a client for its daemon.
const clientTimeout = 5 * time.Second

// Endpoint is an engine to connect to.
type Endpoint struct {
	Kind Kind `json:"kind"`
	// Why is the reason for the choice.
	Why string `json:"why"`
	// Address is a Dagger runner host such as unix:///run/engine.sock or
	// tcp://host:port, "" if the SDK knows it.
	Address string `json:"address,omitempty"`
	// CLI is the path of the dagger program, "" if the SDK knows or
	// downloads it.
	CLI string `json:"cli,omitempty"`

	// lease keeps the CLI, and the embedded engine, from being replaced.
	lease *embedded.Lease
	// embedded is set for the embedded engine.
	embedded *embedded.Manager
}

// Release ends the use of the engine, so that it may be stopped or replaced. It
// may be called more than once.
func (e Endpoint) Release() { e.lease.Release() }

// String names the engine in a line of progress.
func (e Endpoint) String() string { return fmt.Sprintf("%s (%s)", e.Kind, e.Why) }

// Finder finds an engine.
type Finder struct {
	// Named is the address given with --engine, "" for none.
	Named string
	// Root is true if the program runs as root.
	Root bool
	// Install allows installing the packages that the embedded engine needs.
	Install bool
	// Manager runs the embedded engine.
	Manager embedded.Manager

	// variable is the name of Dagger's variable that chooses an engine, "" if none
	// is set; cli is the path of the dagger program that the caller has set.
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

// ErrNoEngine is returned if no engine can be used.
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
	return Endpoint{Kind: Embedded, Why: whyEmbedded}, nil
}

// daemonAnswers reports whether a client reaches its daemon: a client is often installed
// without one.
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
		return host.Check()
	}
	return endpoint.reach(ctx)
}

// Find returns an engine that runs or that the SDK starts. The embedded one is
// installed, built and started if need be. For a named engine, root gets the
// embedded engine's CLI, so that the SDK downloads none.
func (f Finder) Find(ctx context.Context) (Endpoint, error) {
	endpoint, err := f.Choose(ctx)
	switch {
	case err != nil:
	case endpoint.Kind == Embedded:
		return f.Embedded(ctx)
	case endpoint.Kind == Named && endpoint.CLI == "" && f.Root:
		if endpoint.lease, err = f.Manager.CLI(ctx); err != nil {
			return endpoint, fmt.Errorf("building the dagger CLI: %w", err)
		}
		endpoint.CLI = endpoint.lease.CLI
	}
	return endpoint, err
}

// Embedded returns the embedded engine, installed, built and started if need be,
// even if another engine could be used.
func (f Finder) Embedded(ctx context.Context) (Endpoint, error) {
	err := host.Check()
	if f.Install {
		err = host.Install(ctx, f.Manager.Report)
	}
	if err != nil {
		return Endpoint{}, err
	}
	lease, err := f.Manager.Start(ctx)
	if err != nil {
		return Endpoint{}, fmt.Errorf("starting the embedded engine: %w", err)
	}
	return Endpoint{
		Kind: Embedded, Why: whyEmbedded, Address: lease.Address, CLI: lease.CLI,
		lease: lease, embedded: &f.Manager,
	}, nil
}

// Diagnosis is which engine would be used, and what is missing.
type Diagnosis struct {
	// Engine is the one that a build would use; nil if there is none, for the reason
	// in Problem.
	Engine  *Endpoint `json:"engine"`
	Problem string    `json:"problem,omitempty"`
	// SDK and Embedded are versions of Dagger.
	SDK      string          `json:"sdk"`
	Embedded embedded.Status `json:"embedded"`
	// Requirements are those of the embedded engine.
	Requirements []host.Requirement `json:"requirements"`
	// Install is the command that installs what is missing.
	Install string `json:"install,omitempty"`
	Cache   string `json:"cache"`
}

// Diagnose looks for an engine, and for what the embedded one needs. It starts and
// installs nothing.
func (f Finder) Diagnose(ctx context.Context) (d Diagnosis, err error) {
	d = Diagnosis{SDK: SDKVersion(), Requirements: host.Requirements(), Cache: f.Manager.CacheDir}
	endpoint, err := f.Choose(ctx)
	switch {
	case ctx.Err() != nil:
		return d, context.Cause(ctx)
	case err != nil:
		d.Problem = err.Error()
	default:
		d.Engine = &endpoint
	}
	if d.Embedded, err = f.Manager.Status(); err != nil {
		return d, err
	}
	d.Install = host.InstallCommand(d.Requirements)
	return d, nil
}
