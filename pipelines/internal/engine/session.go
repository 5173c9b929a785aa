// Package engine finds or starts a Dagger engine and runs recipes in it. It is
// the only package that imports dagger.io/dagger.
package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"dagger.io/dagger"
	"dagger.io/dagger/engineconn"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// Session is a connection to an engine. Closing it, or the death of this
// process, stops whatever runs in it.
type Session struct {
	Endpoint Endpoint
	// Version is that of the engine.
	Version string
	// Nonce, if it is not "", makes root filesystems out of what their distribution has now,
	// even if the engine has cached an earlier index.
	Nonce  string
	client *dagger.Client
	log    *execLog
}

// dialTimeout bounds the first contact with an engine that the caller named.
const dialTimeout = 10 * time.Second

// Connect opens a session with the engine. If the endpoint names no CLI, the SDK
// downloads its own.
func Connect(ctx context.Context, endpoint Endpoint) (session *Session, err error) {
	defer func() {
		if err != nil {
			endpoint.Release()
		}
	}()
	if err := endpoint.reach(ctx); err != nil {
		return nil, err
	}
	log := &execLog{}
	options := []dagger.ClientOpt{dagger.WithLogOutput(log)}
	for _, name := range withheld() {
		options = append(options, dagger.WithEnvironmentVariable(name, ""))
	}
	// execLog reads this format, whatever the caller's environment asks for.
	options = append(options, dagger.WithEnvironmentVariable("DAGGER_PROGRESS", "plain"), dagger.WithEnvironmentVariable("NO_COLOR", "1"))
	if endpoint.Address != "" {
		options = append(options, dagger.WithRunnerHost(endpoint.Address))
	}
	client, err := connect(ctx, endpoint.CLI, options)
	if err != nil {
		return nil, fmt.Errorf("connecting to the %s engine: %w", endpoint.Kind, err)
	}
	session = &Session{Endpoint: endpoint, client: client, log: log}
	if session.Version, err = client.Version(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("asking the %s engine for its version: %w", endpoint.Kind, err), session.Close())
	}
	return session, nil
}

// clientVariables are the variables that docker, podman and nerdctl read, in addition
// to those that every command gets.
var clientVariables = []string{
	"SSH_AUTH_SOCK", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
	"DOCKER_API_VERSION", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST",
	"DOCKER_TLS", "DOCKER_TLS_VERIFY",
	"CONTAINER_CONNECTION", "CONTAINER_HOST", "CONTAINER_SSHKEY",
	"CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE", "CONTAINERS_REGISTRIES_CONF", "CONTAINERS_STORAGE_CONF",
	"CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE", "CONTAINERD_SNAPSHOTTER", "NERDCTL_BRIDGE_IP", "NERDCTL_TOML",
}

// cliVariables are those that the dagger CLI reads in addition, except those that
// change its working directory or its output, which execLog reads.
var cliVariables = []string{
	"DAGGER_CLOUD_ENGINE", "DAGGER_CLOUD_TOKEN", "DAGGER_CLOUD_URL",
	"DAGGER_LEAVE_OLD_ENGINE", "DAGGER_NO_NAG", "DAGGER_TRACE_NAME", cliVariable, runnerHostVariable,
	"_EXPERIMENTAL_DAGGER_CACHE_CONFIG", "_EXPERIMENTAL_DAGGER_CACHE_EXPORT_CONFIG",
	"_EXPERIMENTAL_DAGGER_CACHE_IMPORT_CONFIG", "_EXPERIMENTAL_DAGGER_GPU_SUPPORT",
	"_EXPERIMENTAL_DAGGER_RUNNER_IMAGESTORE", "_EXPERIMENTAL_DAGGER_SHUTDOWN_TIMEOUT",
}

// withheld names the variables to hide from the CLI. The SDK starts it with all the
// variables of this process; only its options can override them.
func withheld() []string {
	passed := command.Environ(slices.Concat(clientVariables, cliVariables)...)
	var names []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if name != "PATH" && !slices.Contains(passed, variable) {
			names = append(names, name)
		}
	}
	return names
}

// reach dials an address first, because the SDK waits for minutes.
func (e Endpoint) reach(ctx context.Context) error {
	network, target, _ := strings.Cut(e.Address, "://")
	if network != "tcp" && network != "unix" {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, target)
	if err != nil {
		return fmt.Errorf("connecting to the %s engine: %w", e.Kind, err)
	}
	return conn.Close()
}

// connecting is held while the path of a CLI is in the environment.
var connecting sync.Mutex

// connect is dagger.Connect, but returns soon after ctx ends: the CLI then has
// closeTimeout to end.
func connect(ctx context.Context, cli string, options []dagger.ClientOpt) (*dagger.Client, error) {
	var client *dagger.Client
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		var restore func()
		if restore, err = setCLI(cli); err == nil {
			defer restore()
			client, err = dagger.Connect(ctx, options...)
		}
	}()
	select {
	case <-done:
		return client, err
	case <-ctx.Done():
	}
	select {
	case <-done:
		if err == nil {
			_ = client.Close() // The client is unused: the error does not matter.
		}
	case <-time.After(closeTimeout):
	}
	return nil, context.Cause(ctx)
}

// setCLI puts the path of the CLI into the environment, the only place where the
// SDK looks for it. The caller calls restore soon: no other child of this process,
// and no other search for an engine, may see the path.
func setCLI(cli string) (restore func(), err error) {
	if cli == "" {
		return func() {}, nil
	}
	connecting.Lock()
	before, set := os.LookupEnv(cliVariable)
	if err := os.Setenv(cliVariable, cli); err != nil {
		connecting.Unlock()
		return nil, fmt.Errorf("setting the path of the dagger CLI: %w", err)
	}
	return func() {
		defer connecting.Unlock()
		if set {
			_ = os.Setenv(cliVariable, before)
		} else {
			_ = os.Unsetenv(cliVariable)
		}
	}, nil
}

// String names the engine, and its version if it differs from the SDK's.
func (s *Session) String() string {
	if sdk := SDKVersion(); strings.TrimPrefix(s.Version, "v") != strings.TrimPrefix(sdk, "v") {
		return fmt.Sprintf("%s, Dagger %s, but the SDK is %s", s.Endpoint, s.Version, sdk)
	}
	return fmt.Sprintf("%s, Dagger %s", s.Endpoint, s.Version)
}

// SDKVersion returns the version of Dagger that the SDK belongs to.
func SDKVersion() string { return "v" + engineconn.CLIVersion }

const (
	// watchEvery is how often a build checks that its embedded engine lives: the
	// SDK takes minutes to notice.
	watchEvery = 2 * time.Second
	// closeTimeout bounds the end of a session whose engine does not answer.
	closeTimeout = 5 * time.Second
)

// Watch runs a function that uses the engine. If the engine dies, Watch cancels it
// and fails with the end of the engine's log.
func (s *Session) Watch(ctx context.Context, run func(ctx context.Context) error) error {
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for dead := 0; ; {
			select {
			case <-watched.Done():
				return
			case <-ticker.C:
			}
			// A single failure to answer may be transient.
			if why := s.Endpoint.embedded.Explain(); why == "" {
				dead = 0
			} else if dead++; dead == 2 {
				cancel(errors.New(why))
			}
		}
	}()
	err := run(watched)
	if err != nil && watched.Err() != nil {
		return context.Cause(watched)
	}
	return err
}

// Close ends the session.
func (s *Session) Close() error {
	closed := make(chan error, 1)
	go func() { closed <- s.client.Close() }()
	var err error
	select {
	case err = <-closed:
	case <-time.After(closeTimeout):
		err = errors.New("the engine did not end the session in time")
	}
	s.Endpoint.Release()
	return err
}
