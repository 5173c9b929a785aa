// Package engine finds or starts a Dagger engine and runs recipes in it. It is
// the only package that imports dagger.io/dagger.
package engine

import (
	"context"
	"fmt"
	"os"
	"strings"

	"dagger.io/dagger"
	"dagger.io/dagger/engineconn"
)

// Session is a connection to an engine. Closing it, and the death of this
// process, stop whatever runs in it.
type Session struct {
	Endpoint Endpoint
	// Version is that of the engine.
	Version string
	client  *dagger.Client
	log     *execLog
}

// Connect opens a session with the engine. Where the endpoint names no CLI, the
// SDK downloads its own.
func Connect(ctx context.Context, endpoint Endpoint) (*Session, error) {
	log := &execLog{}
	options := []dagger.ClientOpt{dagger.WithLogOutput(log), dagger.WithEnvironmentVariable("NO_COLOR", "1")}
	if endpoint.Address != "" {
		options = append(options, dagger.WithRunnerHost(endpoint.Address))
	}
	if endpoint.CLI != "" {
		// The SDK takes the path of the CLI from its environment alone.
		if err := os.Setenv("_EXPERIMENTAL_DAGGER_CLI_BIN", endpoint.CLI); err != nil {
			return nil, fmt.Errorf("setting the path of the dagger CLI: %w", err)
		}
	}
	client, err := dagger.Connect(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the %s engine: %w", endpoint.Kind, err)
	}
	version, err := client.Version(ctx)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("asking the %s engine for its version: %w", endpoint.Kind, err)
	}
	return &Session{Endpoint: endpoint, Version: version, client: client, log: log}, nil
}

// String names the engine, and its version where that differs from the SDK's.
func (s *Session) String() string {
	if sdk := SDKVersion(); strings.TrimPrefix(s.Version, "v") != strings.TrimPrefix(sdk, "v") {
		return fmt.Sprintf("%s, Dagger %s, but the SDK is %s", s.Endpoint, s.Version, sdk)
	}
	return fmt.Sprintf("%s, Dagger %s", s.Endpoint, s.Version)
}

// SDKVersion returns the version of Dagger that the SDK belongs to.
func SDKVersion() string { return "v" + engineconn.CLIVersion }

// Close ends the session.
func (s *Session) Close() error { return s.client.Close() }
