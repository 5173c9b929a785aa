package build

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
)

// Container is the Builder that runs recipes in a Dagger engine.
type Container struct {
	Sources *source.Fetcher
	// Ready says why no engine can be used, before anything is fetched.
	Ready func(ctx context.Context) error
	// Connect returns a session with the engine; it is asked once a build has
	// its sources, so that a run without a miss starts none.
	Connect func(ctx context.Context, log io.Writer, note func(string)) (*engine.Session, error)
	// Base makes the base of a builder; see engine.Job.
	Base func(ctx context.Context, builder recipe.Builder, arch string, log io.Writer) (path, digest string, err error)
	// Work is the folder for what is under way, Logs that for a log per asset.
	Work, Logs string
	Report     *progress.Reporter
}

// record is what Built.Record holds.
type record struct {
	engine.Record
	Sources []sourceRecord `json:"sources"`
}

type sourceRecord struct {
	Name   string `json:"name"`
	Place  string `json:"place"`
	SHA256 string `json:"sha256"`
}

// Build runs the recipe and packs what it installed. Its errors are of type
// *Failure once a log exists.
func (c *Container) Build(ctx context.Context, plan recipe.Plan, dependencies map[string]string) (Built, error) {
	if err := checkDisk(c.Work, plan.Disk); err != nil {
		return Built{}, err
	}
	if err := c.Ready(ctx); err != nil {
		return Built{}, err
	}
	work, err := workFolder(c.Work, plan)
	if err != nil {
		return Built{}, err
	}
	log, err := createLog(c.Logs, plan)
	if err != nil {
		os.RemoveAll(work)
		return Built{}, err
	}
	b := &run{Container: c, plan: plan, work: work, log: log}
	built, err := b.build(ctx, dependencies)
	if err == nil {
		err = log.done()
	}
	if err != nil {
		os.RemoveAll(work)
		return Built{}, log.failure(plan.Recipe.Asset, err)
	}
	return built, nil
}

// workFolder makes an empty folder for the build of a key. The caller holds the
// key's lock, so what is there already was left by a process that was killed.
func workFolder(parent string, plan recipe.Plan) (string, error) {
	dir := filepath.Join(parent, plan.Recipe.Asset+"-"+plan.Key)
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("clearing the work folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the work folder: %w", err)
	}
	return dir, nil
}

// run is one build under way.
type run struct {
	*Container
	plan recipe.Plan
	work string
	log  *logFile
	// current gets the log lines of the stage at work.
	current *progress.Stage
}

func (b *run) build(ctx context.Context, dependencies map[string]string) (Built, error) {
	files := filepath.Join(b.work, "files")
	if err := stage(files, b.plan.Files); err != nil {
		return Built{}, err
	}
	rec := record{Sources: []sourceRecord{}}
	sources, err := b.fetch(ctx, &rec)
	if err != nil {
		return Built{}, err
	}
	end := b.stage("engine")
	session, err := b.Connect(ctx, b, b.note)
	if err != nil {
		end(err, "")
		return Built{}, err
	}
	end(nil, session.String())
	out := filepath.Join(b.work, "out")
	rec.Record, err = session.Run(ctx, engine.Job{
		Recipe: b.plan.Recipe, Files: files, Sources: sources, Dependencies: dependencies,
		Base: func(ctx context.Context) (string, string, error) {
			return b.Base(ctx, b.plan.Recipe.Builder, b.plan.Recipe.Arch, b)
		},
		Export: out, Log: b, Note: b.note, Stage: b.stage, Check: b.check,
	})
	if err != nil {
		return Built{}, err
	}
	return b.pack(ctx, out, rec)
}

func (b *run) fetch(ctx context.Context, rec *record) (map[string]string, error) {
	paths := map[string]string{}
	for _, declared := range b.plan.Sources {
		end := b.stage("source")
		fetched, err := b.Sources.Fetch(ctx, declared, b.current.Bytes, b.note)
		end(err, fmt.Sprintf("%s from %s, %s", declared.Name, fetched.Place, progress.Size(fetched.Size)))
		if err != nil {
			return nil, fmt.Errorf("fetching source %q: %w", declared.Name, err)
		}
		paths[declared.Name] = fetched.Path
		rec.Sources = append(rec.Sources, sourceRecord{declared.Name, fetched.Place, fetched.SHA256})
	}
	return paths, nil
}

func (b *run) pack(ctx context.Context, out string, rec record) (Built, error) {
	data, err := json.Marshal(rec)
	if err != nil {
		return Built{}, fmt.Errorf("encoding the build record: %w", err)
	}
	tarball := filepath.Join(b.work, TarballName(b.plan.Recipe.Asset))
	end := b.stage("pack")
	summary, err := archive.Pack(ctx, out, tarball, archive.Options{
		Level:   b.plan.Recipe.Output.Level,
		ModTime: time.Unix(b.plan.Recipe.Output.SourceDateEpoch, 0),
	})
	if err != nil {
		end(err, "")
		return Built{}, fmt.Errorf("packing the tarball: %w", err)
	}
	end(nil, fmt.Sprintf("%d members, %s, sha256 %s", len(summary.Members), progress.Size(summary.Size), summary.SHA256))
	for _, member := range summary.Members {
		fmt.Fprintf(b.log, "%s %12d %s\n", member.Mode, member.Size, member.Name)
	}
	return Built{Tarball: tarball, Record: data, Discard: func() error { return os.RemoveAll(b.work) }}, nil
}

// check asserts the requested options in the final configuration of a kernel.
func (b *run) check(step recipe.Step, config []byte) error {
	k := b.plan.Kernel
	if k == nil {
		return fmt.Errorf("step %s declares a config, but %s declares no kernel", step.Name, b.plan.Recipe.Asset)
	}
	if err := k.Requested.Check(config, k.Exceptions, k.Arch, k.Version); err != nil {
		return err
	}
	b.note(fmt.Sprintf("all %d requested options are in the final configuration", len(k.Requested.Options)))
	return nil
}

// Write takes the log of the build.
func (b *run) Write(p []byte) (int, error) {
	if b.current != nil {
		if _, err := b.current.Write(p); err != nil {
			return 0, err
		}
	}
	return b.log.Write(p)
}

func (b *run) note(text string) {
	fmt.Fprintln(b.log, text)
	b.Report.Note(b.plan.Recipe.Asset, text)
}

func (b *run) stage(name string) func(error, string) {
	fmt.Fprintf(b.log, "== %s\n", name)
	b.current = b.Report.Stage(b.plan.Recipe.Asset, name)
	return b.current.End
}

// stage lays out the declared files with the bytes that the key was made of.
func stage(dir string, files []recipe.Content) error {
	for _, file := range files {
		path := filepath.Join(dir, filepath.FromSlash(file.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("laying out %s: %w", file.Path, err)
		}
		mode := os.FileMode(0o644)
		if file.Mode == "0755" {
			mode = 0o755
		}
		if err := os.WriteFile(path, file.Data, mode); err != nil {
			return fmt.Errorf("laying out %s: %w", file.Path, err)
		}
		if err := os.Chmod(path, mode); err != nil {
			return fmt.Errorf("laying out %s: %w", file.Path, err)
		}
	}
	return nil
}
