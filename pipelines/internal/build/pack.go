package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// pack packs what the steps have installed: out into the main tarball, each
// folder in outputs into a secondary one. The record is Built.Record.
func (b *run) pack(ctx context.Context, out, outputs string, record []byte) (Built, error) {
	asset, declared := b.plan.Recipe.Asset, b.plan.Recipe.Output.Outputs
	if err := checkOutputs(outputs, declared); err != nil {
		return Built{}, err
	}
	if err := b.images(ctx, out); err != nil {
		return Built{}, err
	}
	built := Built{Tarballs: map[string]string{}, Record: record}
	for _, name := range append([]string{""}, declared...) {
		dir := out
		if name != "" {
			dir = filepath.Join(outputs, name)
		}
		built.Tarballs[name] = filepath.Join(b.work, OutputName(asset, name))
		if err := b.packOne(ctx, dir, built.Tarballs[name]); err != nil {
			return Built{}, fmt.Errorf("packing %s: %w", OutputName(asset, name), err)
		}
	}
	return built, nil
}

func (b *run) packOne(ctx context.Context, dir, tarball string) error {
	stage := b.stage("pack")
	// The compressor takes most of the program's memory, and should not add to what an earlier
	// one has left.
	debug.FreeOSMemory()
	summary, err := archive.Pack(ctx, dir, tarball, archive.Options{
		Level:   b.plan.Recipe.Output.Level,
		ModTime: time.Unix(b.plan.Recipe.Output.SourceDateEpoch, 0),
	})
	stage.End(err, fmt.Sprintf("%d members, %s, sha256 %s", len(summary.Members), progress.Size(summary.Size), summary.SHA256))
	for _, member := range summary.Members {
		b.log.Line(fmt.Sprintf("%s %12d %s", member.Mode, member.Size, member.Name))
	}
	return err
}

// checkOutputs compares the folder of the secondary outputs with the declared
// ones. Packing refuses an empty one.
func checkOutputs(dir string, declared []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking at the outputs: %w", err)
	}
	for _, entry := range entries {
		if !slices.Contains(declared, entry.Name()) {
			return fmt.Errorf("a step made $OUTPUTS/%s, but outputs has %s: declare it in assets.yaml",
				entry.Name(), cmp.Or(strings.Join(declared, ", "), "nothing"))
		}
		if !entry.IsDir() {
			return fmt.Errorf("$OUTPUTS/%s is not a folder: install the files of the output into it", entry.Name())
		}
	}
	for _, name := range declared {
		if !slices.ContainsFunc(entries, func(entry fs.DirEntry) bool { return entry.Name() == name }) {
			return fmt.Errorf("the output %q is declared, but no step made $OUTPUTS/%s", name, name)
		}
	}
	return nil
}

// stage writes the declared files, with the bytes that went into the key.
func stage(dir string, files []recipe.Content) error {
	for _, file := range files {
		path, mode := filepath.Join(dir, filepath.FromSlash(file.Path)), os.FileMode(0o644)
		if file.Mode == "0755" {
			mode = 0o755
		}
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, file.Data, mode)
		}
		if err == nil {
			err = os.Chmod(path, mode)
		}
		if err != nil {
			return fmt.Errorf("laying out %s: %w", file.Path, err)
		}
	}
	return nil
}

// Failure is a failed build: why, and where its log is.
type Failure struct {
	// Log is the path of the log, Tail its last lines.
	Log  string
	Tail []string
	// Err is the cause, text its text without secrets.
	Err  error
	text string
}

// Error is only the cause; whoever shows the error shows the log.
func (f *Failure) Error() string { return f.text }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// failure ends and closes the log of a build that failed. The tail is what came
// before the error.
func failure(log *progress.Log, err error) *Failure {
	f := &Failure{Log: log.Path(), Tail: log.Tail(), Err: err, text: log.Mask(err.Error())}
	// A log that cannot be written is the lesser problem.
	_ = log.Close("failed: " + err.Error())
	return f
}
