package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/dirhash"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// inModCache looks for a module in Go's module cache, if a hit there saves a download or
// a question to the registry.
func (t *task) inModCache(ctx context.Context, place versions.Place) (Fetched, error) {
	if !t.Offline && t.Registry == nil {
		return Fetched{}, errNotCached
	}
	return t.moduleOffline(ctx, place)
}

// moduleOffline is goModule for Go's module cache only.
func (t *task) moduleOffline(ctx context.Context, place versions.Place) (Fetched, error) {
	if place.Go == nil {
		return Fetched{}, errNotCached
	}
	fetched, err := t.goModule(ctx, place, "GOPROXY=off")
	fetched.From = FromCache
	return fetched, err
}

// goModule has the go command download a module's zip into its module cache, or
// find it there.
func (t *task) goModule(ctx context.Context, place versions.Place, env ...string) (Fetched, error) {
	module := place.Go.Module + "@" + place.Go.Version
	// The declared sum decides, also for modules that the checksum database lacks.
	path, err := t.downloadModule(ctx, module, append(env, "GONOSUMDB="+place.Go.Module)...)
	if err != nil {
		return Fetched{}, err
	}
	// The go command trusts its cache, so the zip is summed here.
	sum, err := zipSum(path)
	if err != nil {
		return Fetched{}, fmt.Errorf("summing the Go module %s: %w", module, err)
	}
	if sum != place.Go.Sum {
		return Fetched{}, t.wrong("the Go module "+module, "the sum "+sum, place.Go.Sum)
	}
	hash, size, err := files.Hash(ctx, path)
	if err != nil {
		return Fetched{}, fmt.Errorf("reading the Go module %s: %w", module, err)
	}
	return Fetched{Name: t.source.Name, Path: path, Place: place.Name, From: FromPlace, SHA256: hash, Size: size}, nil
}

// downloadModule returns the zip of a module in Go's module cache.
func (t *task) downloadModule(ctx context.Context, module string, env ...string) (zip string, err error) {
	downloaded, err := t.askGo(ctx, env, "mod", "download", "-json", module)
	if err == nil && (len(downloaded) != 1 || downloaded[0].Zip == "") {
		err = errors.New("go mod download named no zip")
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return "", unavailable{fmt.Errorf("downloading the Go module %s: %w", module, err)}
	}
	return downloaded[0].Zip, nil
}

// moduleFiles is the answer of the go command for a module at a version; Zip is "" if only
// the go.mod is needed. Versions are those that the proxy lists, for a question about them.
type moduleFiles struct {
	Path, Version, Zip, GoMod, Error string
	Versions                         []string
}

// gitVariables are those that git and ssh read when the go command fetches a module
// from its repository.
var gitVariables = []string{
	"GIT_ALLOW_PROTOCOL", "GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_TERMINAL_PROMPT",
	"GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_*", "GIT_CONFIG_VALUE_*",
	"GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM",
	"GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY", "GIT_SSL_NO_VERIFY",
	"NETRC", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "SSH_AUTH_SOCK",
}

// askGo runs a go command with additional variables and reads the JSON objects that it
// prints. The command runs outside of any module.
func (t *task) askGo(ctx context.Context, env []string, args ...string) (all []moduleFiles, err error) {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the source cache: %w", err)
	}
	cmd := command.New(ctx, "go", args...)
	cmd.Dir = t.Dir
	cmd.Env = append(command.GoEnviron(gitVariables...), "GOWORK=off", "GOFLAGS=-mod=mod")
	cmd.Env = append(cmd.Env, env...)
	if t.ModCache != "" {
		cmd.Env = append(cmd.Env, "GOMODCACHE="+t.ModCache, "GOFLAGS=-mod=mod -modcacherw")
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := command.Failure(ctx, cmd, cmd.Run(), stderr.String())
	for answers := json.NewDecoder(&stdout); ; {
		var m moduleFiles
		err := answers.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return all, runErr
		case err != nil:
			return nil, fmt.Errorf("reading the answer of go %s: %w", args[0], errors.Join(err, runErr))
		case m.Error != "":
			return nil, errors.New(strings.TrimSpace(m.Error))
		}
		all = append(all, m)
	}
}

// zipSum returns the h1 sum of a module, as in go.sum.
func zipSum(path string) (string, error) { return dirhash.HashZip(path, dirhash.Hash1) }
