package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"dagger.io/dagger"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Paths in the builder container, which steps know from their environment.
const (
	filesPath        = "/kata/files"
	sourcesPath      = "/kata/sources"
	dependenciesPath = "/kata/dependencies"
	buildPath        = "/build"
	outPath          = "/out"
)

// pullTimeout bounds the attempt to get a builder's image from a registry
// before its base is bootstrapped instead.
const pullTimeout = 2 * time.Minute

// Job is one recipe to run and where things are on this machine.
type Job struct {
	Recipe recipe.Recipe
	// Files is a folder that holds the recipe's files at their paths.
	Files string
	// Sources and Dependencies map the recipe's names to files.
	Sources      map[string]string
	Dependencies map[string]string
	// Base makes the builder's base where no registry answers: the path of an
	// OCI archive and its digest.
	Base func(ctx context.Context) (path, digest string, err error)
	// Export is the folder that what the steps installed is written to.
	Export string
	// Log gets what the steps print, Note what a person should know. Stage is called as each stage begins and
	// returns what is called when it ends.
	Log   io.Writer
	Note  func(string)
	Stage func(name string) (end func(err error, detail string))
	// Check judges the configuration that a step has left, before the next.
	Check func(step recipe.Step, config []byte) error
}

// Record says what a build used among the equivalents its recipe declares.
type Record struct {
	// Base is the image reference, or "bootstrap:" and the digest of the base.
	Base string `json:"base"`
	// Engine is the version of the Dagger engine.
	Engine string `json:"engine"`
	// Packages are the packages of the builder, "name=version", sorted.
	Packages []string `json:"packages"`
}

// ExitError is the failure of a command; what it printed is in the log.
type ExitError struct{ Code int }

// Error says how the command ended.
func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Run builds a recipe: base, packages, steps, and the export of $DESTDIR.
func (s *Session) Run(ctx context.Context, job Job) (record Record, err error) {
	err = s.watched(ctx, func(ctx context.Context) error {
		record, err = s.run(ctx, job)
		return err
	})
	return record, err
}

func (s *Session) run(ctx context.Context, job Job) (Record, error) {
	record := Record{Engine: s.Version}
	if err := s.suits(ctx, job.Recipe); err != nil {
		return record, err
	}
	var container *dagger.Container
	err := job.stage("builder", func() (detail string, err error) {
		container, record.Base, err = s.base(ctx, job)
		if err == nil {
			container, record.Packages, err = s.install(ctx, container, job)
		}
		return fmt.Sprintf("%d packages on %s", len(record.Packages), record.Base), err
	})
	if err != nil {
		return record, fmt.Errorf("preparing the builder: %w", err)
	}
	container = s.furnish(container, job)
	for _, step := range job.Recipe.Steps {
		err := job.stage(step.Name, func() (string, error) {
			container, err = s.step(ctx, container, step, job)
			return "", err
		})
		if err != nil {
			return record, err
		}
	}
	return record, job.stage("export", func() (string, error) {
		if _, err := container.Directory(outPath).Export(ctx, job.Export); err != nil {
			return "", fmt.Errorf("exporting %s: %w", outPath, err)
		}
		return "", nil
	})
}

// suits refuses a recipe for another architecture than the engine's: nothing
// here emulates one.
func (s *Session) suits(ctx context.Context, r recipe.Recipe) error {
	platform, err := s.client.DefaultPlatform(ctx)
	if err != nil {
		return fmt.Errorf("asking the engine for its platform: %w", err)
	}
	if want := "linux/" + catalog.Arch(r.Arch).GoArch(); !strings.HasPrefix(string(platform)+"/", want+"/") {
		return fmt.Errorf("%s for %s is built on %s, but the engine runs on %s: name one that suits with --engine", r.Asset, r.Arch, want, platform)
	}
	return nil
}

func (j Job) stage(name string, run func() (detail string, err error)) error {
	end := j.Stage(name)
	detail, err := run()
	end(err, detail)
	return err
}

// base returns the container that the recipe's image names, or the bootstrapped
// equivalent where no registry answers.
func (s *Session) base(ctx context.Context, job Job) (*dagger.Container, string, error) {
	pull, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	platform := dagger.ContainerOpts{Platform: dagger.Platform("linux/" + catalog.Arch(job.Recipe.Arch).GoArch())}
	container, pullErr := s.client.Container(platform).From(job.Recipe.Builder.Image).Sync(pull)
	if pullErr == nil {
		return container, job.Recipe.Builder.Image, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	fmt.Fprintf(job.Log, "no registry gave the builder's image: %v\n", pullErr)
	job.Note("no registry answers for the builder's image: bootstrapping Debian " + job.Recipe.Builder.Suite + " instead")
	archive, digest, err := job.Base(ctx)
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("pulling %s: %w", job.Recipe.Builder.Image, pullErr), err)
	}
	container, err = s.client.Container(platform).Import(s.client.Host().File(archive)).Sync(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("importing the builder base: %w", err)
	}
	return container, "bootstrap:" + digest, nil
}

// install adds the builder's packages and returns the versions of all.
func (s *Session) install(ctx context.Context, container *dagger.Container, job Job) (*dagger.Container, []string, error) {
	const script = `set -eu
apt-get -o Acquire::Retries=3 update
apt-get -o Acquire::Retries=3 install --yes --no-install-recommends -- "$@"
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb`
	container = container.
		WithEnvVariable("DEBIAN_FRONTEND", "noninteractive").
		WithEnvVariable("KATA_BUILDER_EPOCH", strconv.Itoa(job.Recipe.Builder.Epoch))
	container, err := s.exec(ctx, container, job.Log, append([]string{"sh", "-c", script, "install"}, job.Recipe.Builder.Packages...)...)
	if err != nil {
		return nil, nil, fmt.Errorf("installing %s: %w", strings.Join(job.Recipe.Builder.Packages, " "), err)
	}
	container = container.WithoutEnvVariable("DEBIAN_FRONTEND").WithoutEnvVariable("KATA_BUILDER_EPOCH")
	list, err := container.WithExec([]string{"dpkg-query", "--show", "--showformat", "${Package}=${Version}\n"}).Stdout(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the installed packages: %w", err)
	}
	packages := strings.Fields(list)
	slices.Sort(packages)
	return container, packages, nil
}

// exec runs a command, whose output goes to log. A command that ran and failed
// is an *ExitError.
func (s *Session) exec(ctx context.Context, container *dagger.Container, log io.Writer, args ...string) (*dagger.Container, error) {
	marked, flush := s.log.follow(log, args...)
	container, err := container.WithExec(marked).Sync(ctx)
	var failed *dagger.ExecError
	if errors.As(err, &failed) {
		if !flush(ctx, flushTimeout) {
			fmt.Fprintf(log, "%s\n", failed.Stdout)
		}
		return nil, &ExitError{Code: failed.ExitCode}
	}
	flush(ctx, cachedTimeout)
	return container, err
}

// furnish gives the container all that the steps may read.
func (s *Session) furnish(container *dagger.Container, job Job) *dagger.Container {
	container = container.WithMountedDirectory(filesPath, s.client.Host().Directory(job.Files))
	for _, source := range job.Recipe.Sources {
		container = container.WithMountedFile(path.Join(sourcesPath, source.Name), s.client.Host().File(job.Sources[source.Name]))
	}
	for _, dependency := range job.Recipe.Dependencies {
		container = container.WithMountedFile(path.Join(dependenciesPath, dependency.Asset+".tar.zst"),
			s.client.Host().File(job.Dependencies[dependency.Asset]))
	}
	for _, variable := range Environment(job.Recipe) {
		container = container.WithEnvVariable(variable.Name, variable.Value)
	}
	return container.
		WithDirectory(buildPath, s.client.Directory()).
		WithDirectory(outPath, s.client.Directory()).
		WithWorkdir(buildPath)
}

// step runs one script and, where it leaves a kernel's configuration, has it
// checked.
func (s *Session) step(ctx context.Context, container *dagger.Container, step recipe.Step, job Job) (*dagger.Container, error) {
	container, err := s.exec(ctx, container, job.Log, path.Join(filesPath, step.Script))
	if err != nil {
		return nil, fmt.Errorf("running step %q (%s): %w", step.Name, step.Script, err)
	}
	if step.Config == "" {
		return container, nil
	}
	config, err := container.File(step.Config).Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading %s after step %q: %w", step.Config, step.Name, err)
	}
	return container, job.Check(step, []byte(config))
}
