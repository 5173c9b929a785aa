package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Container is the Builder that runs recipes in a Dagger engine.
type Container struct {
	Sources *source.Fetcher
	// Ready says why no engine can be used, before anything is fetched.
	Ready func(ctx context.Context) error
	// Connect returns a session with the engine, which the build closes; it is
	// asked once a build has its sources, so that a run without a miss starts
	// none.
	Connect func(ctx context.Context, log io.Writer, note func(string)) (*engine.Session, error)
	// Base makes the base of a builder for a machine; see engine.Job.
	Base func(ctx context.Context, builder recipe.Builder, machine string, log io.Writer) (path, digest string, err error)
	// Builders keeps builders between builds; nil has each build make its own.
	Builders *store.Builders
	// Secret returns the value of a secret: that of the environment variable.
	// It may be nil where no recipe has secrets.
	Secret func(name string) (value string, ok bool)
	// Offline says that a builder comes from the caches or not at all. What it
	// says about sources is in Sources.
	Offline bool
	// Nonce, where it is not "", has the steps run whatever results of equal
	// ones the engine keeps.
	Nonce string
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
	secrets, err := c.secrets(plan.Recipe)
	if err != nil {
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
	b := &run{Container: c, plan: plan, work: work, secrets: secrets, out: newOutput(log, secrets)}
	built, err := b.build(ctx, dependencies)
	if err == nil {
		err = log.done()
	}
	if err != nil {
		os.RemoveAll(work)
		return Built{}, b.out.failure(plan.Recipe.Asset, err)
	}
	return built, nil
}

// secrets returns the values of a recipe's secrets by name.
func (c *Container) secrets(r recipe.Recipe) (map[string]string, error) {
	values := map[string]string{}
	var unset []string
	for _, secret := range r.Secrets {
		if c.Secret != nil {
			values[secret.Name], _ = c.Secret(secret.Name)
		}
		if strings.TrimSpace(values[secret.Name]) == "" {
			unset = append(unset, secret.Name)
		}
	}
	if len(unset) > 0 {
		return nil, fmt.Errorf("%s declares secrets that are not set in the environment: set %s", r.Asset, strings.Join(unset, ", "))
	}
	return values, nil
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
	return dir, sweep(parent)
}

// run is one build under way.
type run struct {
	*Container
	plan recipe.Plan
	work string
	// secrets are the values of the plan's secrets.
	secrets map[string]string
	out     *output
}

func (b *run) build(ctx context.Context, dependencies map[string]string) (Built, error) {
	rec := record{Sources: []sourceRecord{}}
	job, err := b.job(ctx, &rec)
	if err != nil {
		return Built{}, err
	}
	job.Dependencies = dependencies
	job.Export, job.ExportOutputs = filepath.Join(b.work, "out"), filepath.Join(b.work, "outputs")
	err = b.run(ctx, &job, func(session *engine.Session) (err error) {
		rec.Record, err = session.Run(ctx, job)
		return err
	})
	if err != nil {
		return Built{}, err
	}
	return b.pack(ctx, job.Export, job.ExportOutputs, rec)
}

// job fetches the sources, and puts together what does not depend on the engine.
func (b *run) job(ctx context.Context, rec *record) (engine.Job, error) {
	files := filepath.Join(b.work, "files")
	if err := stage(files, b.plan.Files); err != nil {
		return engine.Job{}, err
	}
	sources, err := b.fetch(ctx, rec)
	return engine.Job{
		Recipe: b.plan.Recipe, Files: files, Sources: sources, Secrets: b.secrets, Nonce: b.Nonce,
		Log: b.out, Note: b.note, Stage: b.stage, Check: b.check, FactsSuffix: kconfig.FactsSuffix,
	}, err
}

// run opens a session for the job, and has it do something with it.
func (b *run) run(ctx context.Context, job *engine.Job, do func(*engine.Session) error) error {
	end := b.stage("engine")
	session, err := b.Connect(ctx, b.out, b.note)
	if err != nil {
		end(err, "")
		return err
	}
	end(nil, session.String())
	err = b.runIn(ctx, session, job, do)
	// What the build needs of the session is on this machine by now.
	if closing := session.Close(); closing != nil && ctx.Err() == nil {
		b.note(fmt.Sprintf("closing the session with the engine: %v", closing))
	}
	return err
}

// runIn gives the job what depends on the engine's machine first.
func (b *run) runIn(ctx context.Context, session *engine.Session, job *engine.Job, do func(*engine.Session) error) (err error) {
	if job.Machine, err = session.Machine(ctx); err != nil {
		return err
	}
	if job.Declared, err = job.Recipe.On(job.Machine); err != nil {
		return err
	}
	if b.plan.Ccache {
		id, err := job.Declared.ID(job.Machine)
		if err != nil {
			return err
		}
		// What a compiler makes depends on it and on what it is made for.
		job.Ccache = "kata-ccache-" + job.Recipe.Arch + "-" + id[:16]
	}
	job.Base = func(ctx context.Context) (path, digest string, err error) {
		return b.Base(ctx, job.Declared, job.Machine, b.out)
	}
	done, err := b.equip(ctx, job)
	if err != nil {
		return err
	}
	return errors.Join(do(session), done())
}

func (b *run) fetch(ctx context.Context, rec *record) (map[string]string, error) {
	paths := map[string]string{}
	for _, declared := range b.plan.Sources {
		end := b.stage("source")
		fetched, err := b.Sources.Fetch(ctx, declared, b.out.stage)
		end(err, fmt.Sprintf("%s from %s (%s), %s", declared.Name, fetched.Place, fetched.From, progress.Size(fetched.Size)))
		if err != nil {
			return nil, fmt.Errorf("fetching source %q: %w", declared.Name, err)
		}
		paths[declared.Name] = fetched.Path
		rec.Sources = append(rec.Sources, sourceRecord{declared.Name, fetched.Place, fetched.SHA256})
	}
	return paths, nil
}

// check checks the final configuration of a kernel against its plan.
func (b *run) check(step recipe.Step, config, facts []byte) error {
	k := b.plan.Kernel
	if k == nil {
		return fmt.Errorf("step %s declares a config, but %s declares no kernel", step.Name, b.plan.Recipe.Asset)
	}
	var known *kconfig.Facts
	if facts != nil {
		var err error
		if known, err = kconfig.ParseFacts(facts); err != nil {
			return fmt.Errorf("reading %s%s: %w", step.Config, kconfig.FactsSuffix, err)
		}
	}
	if err := k.Check(config, known); err != nil {
		return err
	}
	b.note(fmt.Sprintf("the final configuration has all %d requested options and none for debugging that is not requested", len(k.Requested.Options)))
	return nil
}

func (b *run) note(text string) {
	b.out.line(text)
	b.Report.Note(b.plan.Recipe.Asset, b.out.mask(text))
}

func (b *run) stage(name string) func(error, string) {
	stage := b.Report.Stage(b.plan.Recipe.Asset, name)
	b.out.begin(name, stage)
	return func(err error, detail string) { stage.End(err, b.out.mask(detail)) }
}
