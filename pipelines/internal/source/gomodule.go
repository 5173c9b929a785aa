package source

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

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

// goModule has the go command bring a module's zip into its module cache, or
// find it there.
func (t *task) goModule(ctx context.Context, place versions.Place, offline bool) (Fetched, error) {
	module := place.Go.Module + "@" + place.Go.Version
	path, err := t.downloadModule(ctx, place.Go, offline)
	if err != nil {
		return Fetched{}, unavailable{fmt.Errorf("downloading the Go module %s: %w", module, err)}
	}
	// The go command trusts what lies in its cache, so the zip is summed here.
	sum, err := zipSum(path)
	if err != nil {
		return Fetched{}, fmt.Errorf("summing the Go module %s: %w", module, err)
	}
	if sum != place.Go.Sum {
		return Fetched{}, t.wrong("the Go module "+module, "the sum "+sum, place.Go.Sum)
	}
	hash, size, err := hashFile(ctx, path)
	if err != nil {
		return Fetched{}, fmt.Errorf("reading the Go module %s: %w", module, err)
	}
	return Fetched{Name: t.source.Name, Path: path, Place: place.Name, From: FromPlace, SHA256: hash, Size: size}, nil
}

func (t *task) downloadModule(ctx context.Context, module *versions.GoModule, offline bool) (zip string, err error) {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return "", fmt.Errorf("making the source cache: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module.Module+"@"+module.Version)
	// Neither a module around us nor the checksum database has a say: the
	// declared sum decides, also for modules that the database lacks.
	cmd.Dir = t.Dir
	cmd.Env = append(cmd.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GONOSUMDB="+module.Module)
	if offline {
		cmd.Env = append(cmd.Env, "GOPROXY=off")
	}
	if t.ModCache != "" {
		cmd.Env = append(cmd.Env, "GOMODCACHE="+t.ModCache, "GOFLAGS=-mod=mod -modcacherw")
	}
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

// zipSum returns the h1 sum that go.sum has for a module: the SHA-256 of a
// sorted list of the files' SHA-256s and names.
func zipSum(path string) (string, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	slices.SortFunc(archive.File, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	list := sha256.New()
	for _, file := range archive.File {
		content, err := file.Open()
		if err != nil {
			return "", err
		}
		hash := sha256.New()
		_, err = io.Copy(hash, content)
		if err = errors.Join(err, content.Close()); err != nil {
			return "", fmt.Errorf("reading %s: %w", file.Name, err)
		}
		fmt.Fprintf(list, "%x  %s\n", hash.Sum(nil), file.Name)
	}
	return "h1:" + base64.StdEncoding.EncodeToString(list.Sum(nil)), nil
}
