package build

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Container is the Builder that runs the steps of recipes in a Dagger engine. It imports
// recipes without steps by itself.
type Container struct {
	Engine engine.Finder
	// Sources fetches the sources, Bases makes the bases of builders.
	Sources *source.Fetcher
	Bases   *debian.Bootstrapper
	// Builders keeps builders between builds.
	Builders *store.Builders
	// Secrets are the values of secrets by name.
	Secrets map[string]string
	// Offline takes builders only from the caches; see Sources.Offline, too.
	Offline bool
	// Nonce, if it is not "", makes the steps run even if the engine has cached
	// the results of equal steps.
	Nonce string
	// Work is the folder for unfinished builds, Logs the one for a log per asset
	// and architecture.
	Work, Logs string
	Report     *progress.Reporter
}

// Check reports secrets that are not set, sources that cannot be fetched, a full
// disk, and an engine that is needed and cannot be used.
func (c *Container) Check(ctx context.Context, steps []Step, parallel int) error {
	var problems []error
	for _, step := range steps {
		for _, problem := range c.problems(step) {
			problems = append(problems, fmt.Errorf("building %q: %s", step.Asset, problem))
		}
	}
	problems = append(problems, c.room(steps, parallel))
	if slices.ContainsFunc(steps, func(s Step) bool { return !s.Resolved.Recipe.Imported() }) {
		problems = append(problems, c.Engine.Ready(ctx))
	}
	return errors.Join(problems...)
}

// room checks that the disk has space for the largest builds that can run at once.
func (c *Container) room(steps []Step, parallel int) error {
	largest := slices.Clone(steps)
	slices.SortStableFunc(largest, func(a, b Step) int { return cmp.Compare(b.Resolved.Disk, a.Resolved.Disk) })
	var need int64
	var names []string
	for _, step := range largest[:min(parallel, len(largest))] {
		need += step.Resolved.Disk
		names = append(names, step.Asset)
	}
	if err := files.Room(c.Work, need); err != nil {
		return fmt.Errorf("building %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}

// problems returns the problems of one step.
func (c *Container) problems(step Step) []string {
	var problems, unset []string
	for _, secret := range step.Resolved.Recipe.Secrets {
		if strings.TrimSpace(c.Secrets[secret.Name]) == "" {
			unset = append(unset, secret.Name)
		}
	}
	if len(unset) > 0 {
		problems = append(problems, fmt.Sprintf("%s declares secrets that are not set in the environment: set %s", step.Asset, strings.Join(unset, ", ")))
	}
	for _, absent := range step.Absent {
		switch {
		case !absent.Pinned:
			problems = append(problems, absent.String())
		case c.Offline:
			problems = append(problems, fmt.Sprintf("source %s is in no cache, and --offline fetches nothing: run `pipelines source fetch %s` online, or give it with --source %s=PATH",
				absent.Source, step.Asset, absent.Source))
		}
	}
	return problems
}

// record is what Built.Record holds.
type record struct {
	engine.Record
	Sources []sourceRecord `json:"sources"`
	// Differs are the pins that decided the build and whose values were not Kata's.
	Differs []versions.Difference `json:"differs"`
}

type sourceRecord struct {
	Name   string `json:"name"`
	Place  string `json:"place"`
	SHA256 string `json:"sha256"`
}

// Build runs the recipe and packs what it installed. Once a log exists, its errors
// wrap a *Failure.
func (c *Container) Build(ctx context.Context, plan recipe.Plan, dependencies map[string]string) (built Built, err error) {
	if err := files.Room(c.Work, plan.Disk); err != nil {
		return Built{}, err
	}
	title := fmt.Sprintf("%s %s, key %s", plan.Recipe.Asset, plan.Recipe.Arch, plan.Key)
	work, err := c.logged(plan, title, func(b *run) (err error) {
		if plan.Recipe.Imported() {
			built, err = b.importMembers(ctx)
		} else {
			built, err = b.build(ctx, dependencies)
		}
		return err
	})
	built.Work = work
	return built, err
}

// logged does work in a folder of its own, with a log. The folder is removed if that
// fails; otherwise the caller removes it.
func (c *Container) logged(plan recipe.Plan, title string, do func(b *run) error) (work *os.File, err error) {
	if work, err = files.Beside(filepath.Join(c.Work, "build")); err != nil {
		return nil, fmt.Errorf("making the work folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Built{Work: work}.Remove())
		}
	}()
	path := filepath.Join(c.Logs, plan.Recipe.Asset+"-"+plan.Recipe.Arch+".log")
	log, err := progress.CreateLog(path, title, slices.Collect(maps.Values(c.Secrets)))
	if err != nil {
		return work, err
	}
	err = do(&run{Container: c, plan: plan, work: work.Name(), report: c.Report.Logged(log), log: log})
	if err == nil {
		err = log.Close("done")
	}
	if err != nil {
		return work, failure(log, err)
	}
	return work, nil
}

// run is one build under way.
type run struct {
	*Container
	plan recipe.Plan
	work string
	// report also writes to the log of the build.
	report *progress.Reporter
	log    *progress.Log
	// fetched are the paths of the sources, by name.
	fetched map[string]string
}

func (b *run) build(ctx context.Context, dependencies map[string]string) (Built, error) {
	staged := filepath.Join(b.work, "files")
	if err := stage(staged, b.plan.Files); err != nil {
		return Built{}, err
	}
	rec := record{Sources: []sourceRecord{}, Differs: b.plan.Differs}
	var err error
	if b.fetched, err = b.fetch(ctx, &rec); err != nil {
		return Built{}, err
	}
	job := engine.Job{
		Plan: b.plan, Files: staged, Sources: b.fetched, Dependencies: dependencies, Secrets: b.Secrets, Nonce: b.Nonce, Report: b.report,
		Export: filepath.Join(b.work, "out"), ExportOutputs: filepath.Join(b.work, "outputs"),
	}
	err = b.session(ctx, func(ctx context.Context, session *engine.Session) (err error) {
		rec.Record, err = b.in(ctx, session, job)
		return err
	})
	if err != nil {
		return Built{}, err
	}
	data, err := json.Marshal(rec)
	if err != nil {
		return Built{}, fmt.Errorf("encoding the build record: %w", err)
	}
	return b.pack(ctx, job.Export, job.ExportOutputs, data)
}

// session does work in a session with the engine, whose results are on this machine when
// it returns.
func (b *run) session(ctx context.Context, do func(ctx context.Context, session *engine.Session) error) error {
	session, err := b.connect(ctx)
	if err != nil {
		return err
	}
	err = session.Watch(ctx, func(ctx context.Context) error { return do(ctx, session) })
	if closing := session.Close(); closing != nil && ctx.Err() == nil {
		b.note(fmt.Sprintf("closing the session with the engine: %v", closing))
	}
	return err
}

// connect opens a session with an engine, started if need be.
func (b *run) connect(ctx context.Context) (session *engine.Session, err error) {
	stage, detail := b.stage("engine"), ""
	defer func() { stage.End(err, detail) }()
	finder := b.Engine
	finder.Manager.Report = b.report
	endpoint, err := finder.Find(ctx)
	if err != nil {
		return nil, err
	}
	if session, err = engine.Connect(ctx, endpoint); err == nil {
		detail = session.String()
	}
	return session, err
}

// in runs a job in a builder for the engine's machine.
func (b *run) in(ctx context.Context, session *engine.Session, job engine.Job) (record engine.Record, err error) {
	if job.Machine, err = session.Machine(ctx); err != nil {
		return record, err
	}
	declared, err := b.plan.Recipe.On(job.Machine)
	if err != nil {
		return record, err
	}
	if b.plan.Ccache {
		id, err := declared.ID(job.Machine)
		if err != nil {
			return record, err
		}
		// The output of a compiler depends on the compiler and on its target.
		job.Ccache = "kata-ccache-" + b.plan.Recipe.Arch + "-" + id[:16]
	}
	builder, err := b.builder(ctx, session, declared, job.Machine)
	if err != nil {
		return record, fmt.Errorf("preparing the builder: %w", err)
	}
	if root := b.plan.Recipe.Root; root != nil {
		if job.Root, err = b.builder(ctx, session, *root, b.plan.Recipe.Arch); err != nil {
			return record, fmt.Errorf("preparing the root filesystem: %w", err)
		}
	}
	return session.Run(ctx, job, builder)
}

// fetch fetches the sources.
func (b *run) fetch(ctx context.Context, rec *record) (map[string]string, error) {
	paths := map[string]string{}
	for _, declared := range b.plan.Sources {
		stage := b.stage("source")
		fetched, err := b.Sources.Fetch(ctx, declared, stage)
		stage.End(err, fmt.Sprintf("%s from %s (%s), %s", declared.Name, fetched.Place, fetched.From, progress.Size(fetched.Size)))
		if err != nil {
			return nil, fmt.Errorf("fetching source %q: %w", declared.Name, err)
		}
		paths[declared.Name] = fetched.Path
		rec.Sources = append(rec.Sources, sourceRecord{declared.Name, fetched.Place, fetched.SHA256})
	}
	return paths, nil
}

func (b *run) note(text string) { b.report.Note(b.plan.Recipe.Asset, text) }

func (b *run) stage(name string) *progress.Stage { return b.report.Stage(b.plan.Recipe.Asset, name) }
