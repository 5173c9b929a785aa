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

// inModCache looks for a module in Go's module cache, where that decides whether
// something else is asked.
func (t *task) inModCache(ctx context.Context, place versions.Place) (Fetched, bool, error) {
	if place.Go == nil || !t.Offline && t.Registry == nil {
		return Fetched{}, false, nil
	}
	fetched, err := t.goModule(ctx, place, true)
	if errors.As(err, new(unavailable)) && ctx.Err() == nil {
		return Fetched{}, false, nil
	}
	fetched.From = FromCache
	return fetched, err == nil, err
}

// goModule has the go command download a module's zip into its module cache, or
// find it there.
func (t *task) goModule(ctx context.Context, place versions.Place, offline bool) (Fetched, error) {
	module := place.Go.Module + "@" + place.Go.Version
	path, err := t.downloadModule(ctx, place.Go, offline)
	if err != nil {
		return Fetched{}, unavailable{fmt.Errorf("downloading the Go module %s: %w", module, err)}
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
func (t *task) downloadModule(ctx context.Context, module *versions.GoModule, offline bool) (zip string, err error) {
	downloaded, err := t.askGo(ctx, offline, module.Module, []string{"mod", "download", "-json"}, module.Module+"@"+module.Version)
	if err != nil {
		return "", err
	}
	if len(downloaded) != 1 || downloaded[0].Zip == "" {
		return "", errors.New("go mod download named no zip")
	}
	return downloaded[0].Zip, nil
}

// moduleFiles are the answer of the go command for a module at a version; Zip is
// "" where only the go.mod is needed.
type moduleFiles struct{ Path, Version, Zip, GoMod, Error string }

// askGo runs a go command on modules; its answer is a stream of JSON objects. It
// reads no module around it and asks no checksum database about noSumDB: the
// declared sums decide, also for modules that the database lacks.
func (t *task) askGo(ctx context.Context, offline bool, noSumDB string, subcommand []string, modules ...string) (all []moduleFiles, err error) {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the source cache: %w", err)
	}
	cmd := command.New(ctx, "go", append(subcommand, modules...)...)
	cmd.Dir = t.Dir
	cmd.Env = append(command.Environ("GO*", "GIT_*", "SSH_*", "NETRC", "XDG_*"), "GOWORK=off", "GOFLAGS=-mod=mod", "GONOSUMDB="+noSumDB)
	if offline {
		cmd.Env = append(cmd.Env, "GOPROXY=off")
	}
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
			return nil, fmt.Errorf("reading the answer of go %s: %w", strings.Join(subcommand, " "), errors.Join(err, runErr))
		case m.Error != "":
			return nil, errors.New(strings.TrimSpace(m.Error))
		}
		all = append(all, m)
	}
}

// zipSum returns the h1 sum that go.sum has for a module.
func zipSum(path string) (string, error) { return dirhash.HashZip(path, dirhash.Hash1) }
