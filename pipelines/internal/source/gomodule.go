package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/dirhash"

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

func (t *task) downloadModule(ctx context.Context, module *versions.GoModule, offline bool) (zip string, err error) {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return "", fmt.Errorf("making the source cache: %w", err)
	}
	cmd := t.goCommand(ctx, offline, module.Module, "mod", "download", "-json", module.Module+"@"+module.Version)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()
	var reply struct{ Zip, Error string }
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &reply); err != nil {
			return "", fmt.Errorf("reading what go mod download wrote: %w", err)
		}
	}
	switch {
	case reply.Error != "":
		return "", errors.New(strings.TrimSpace(reply.Error))
	case runErr != nil:
		return "", fmt.Errorf("running go mod download: %w: %s", runErr, strings.TrimSpace(stderr.String()))
	case reply.Zip == "":
		return "", errors.New("go mod download named no zip")
	}
	return reply.Zip, nil
}

// zipSum returns the h1 sum that go.sum has for a module.
func zipSum(path string) (string, error) { return dirhash.HashZip(path, dirhash.Hash1) }
