package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"dagger.io/dagger"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Paths in the builder container, which steps know from their environment.
const (
	filesPath        = recipe.FilesFolder
	sourcesPath      = recipe.SourcesFolder
	dependenciesPath = recipe.DependenciesFolder
	buildPath        = recipe.BuildFolder
	outPath          = "/out"
	outputsPath      = "/outputs"
	ccachePath       = "/ccache"
)

// nonceVariable makes the steps of a job differ from those of an equal job.
const nonceVariable = "KATA_REBUILD"

// Job is one recipe to run and where its inputs are on this machine.
type Job struct {
	// Plan has the recipe, and the options that a kernel's configuration must have.
	Plan recipe.Plan
	// Machine is the architecture of the engine.
	Machine string
	// Files is a folder that holds the recipe's files at their paths.
	Files string
	// Sources and Dependencies map the names in the recipe to files; a secondary
	// output of a dependency is "<asset>-<output>".
	Sources      map[string]string
	Dependencies map[string]string
	// Root is the root filesystem of a recipe that declares one.
	Root Builder
	// Secrets are the values of the recipe's secrets, by name.
	Secrets map[string]string
	// Nonce, if it is not "", keeps the engine from using cached results of the
	// steps.
	Nonce string
	// Ccache names the volume of the engine that holds the cache of ccache, ""
	// for none. A job with a nonce has none.
	Ccache string
	// Export is the folder for what the steps install into $DESTDIR, ExportOutputs
	// the one for $OUTPUTS, which has a folder for each secondary output.
	Export, ExportOutputs string
	// Report gets a stage for each step.
	Report *progress.Reporter
}

// Record holds what a build used where its recipe leaves a choice.
type Record struct {
	// Base is the image reference, or "bootstrap:" and the digest of the base.
	Base string `json:"base"`
	// Builder is the digest of the kept builder, "sha256:<hex>"; "" if none
	// was kept.
	Builder string `json:"builder,omitempty"`
	// Machine is the architecture of the machine that it was built on.
	Machine string `json:"machine"`
	// Engine is the version of the Dagger engine.
	Engine string `json:"engine"`
	// Packages are the packages of the builder, "name=version", sorted.
	Packages []string `json:"packages"`
	// Root is the root filesystem of a guest.
	Root *RootRecord `json:"root,omitempty"`
}

// Run runs the steps of a recipe in a builder and exports $DESTDIR and $OUTPUTS.
func (s *Session) Run(ctx context.Context, job Job, builder Builder) (Record, error) {
	record := Record{
		Base: builder.Base, Builder: builder.Digest, Machine: job.Machine, Engine: s.Version, Packages: builder.Packages,
	}
	if job.Plan.Recipe.Root != nil {
		record.Root = job.Root.record()
	}
	container, err := s.steps(ctx, builder.container, job)
	if err != nil {
		return record, err
	}
	stage := job.stage("export")
	for _, folder := range []struct{ in, to string }{{outPath, job.Export}, {outputsPath, job.ExportOutputs}} {
		if _, err = container.Directory(folder.in).Export(ctx, folder.to); err != nil {
			err = fmt.Errorf("exporting %s: %w", folder.in, err)
			break
		}
	}
	stage.End(err, "")
	return record, err
}

func (j Job) stage(name string) *progress.Stage { return j.Report.Stage(j.Plan.Recipe.Asset, name) }

// Machine returns the architecture that the engine runs on, as in recipes.
func (s *Session) Machine(ctx context.Context) (string, error) {
	platform, err := s.client.DefaultPlatform(ctx)
	if err != nil {
		return "", fmt.Errorf("asking the engine for its platform: %w", err)
	}
	system, rest, _ := strings.Cut(string(platform), "/")
	goarch, _, _ := strings.Cut(rest, "/")
	arch, err := catalog.ParseArch(goarch)
	if err != nil || system != "linux" {
		return "", fmt.Errorf("the engine runs on %s, which cannot build assets: name an engine on Linux with --engine", platform)
	}
	return string(arch), nil
}

// exec runs a command and writes its output to log.
func (s *Session) exec(ctx context.Context, container *dagger.Container, log io.Writer, args ...string) (*dagger.Container, error) {
	marked, flush := s.log.follow(log, args...)
	container, err := container.WithExec(marked).Sync(ctx)
	if failed, ok := errors.AsType[*dagger.ExecError](err); ok {
		if !flush(ctx, flushTimeout) {
			fmt.Fprintf(log, "%s\n", failed.Stdout)
		}
		return nil, fmt.Errorf("exit code %d", failed.ExitCode)
	}
	flush(ctx, cachedTimeout)
	return container, err
}

// steps runs all steps: first those that run alone, each in a container of its own,
// whose $BUILD goes to the next, and then the others in one container.
func (s *Session) steps(ctx context.Context, builder *dagger.Container, job Job) (container *dagger.Container, err error) {
	build, steps := s.client.Directory(), job.Plan.Recipe.Steps
	for ; len(steps) > 0 && steps[0].Alone; steps = steps[1:] {
		only := []string{steps[0].Script}
		for _, name := range steps[0].Only {
			only = append(only, name, name+"/**")
		}
		if container, err = s.step(ctx, s.begin(builder, build, only, job), steps[0], job); err != nil {
			return nil, err
		}
		build = container.Directory(buildPath)
	}
	container = s.prepare(builder, build, job)
	for _, step := range steps {
		if container, err = s.step(ctx, container, step, job); err != nil {
			return nil, err
		}
	}
	return container, nil
}

// begin gives a container what every step gets. Of the files, it mounts those that match
// only, or all if only is nil.
func (s *Session) begin(container *dagger.Container, build *dagger.Directory, only []string, job Job) *dagger.Container {
	if job.Nonce != "" {
		container = container.WithEnvVariable(nonceVariable, job.Nonce)
	}
	container = container.WithMountedDirectory(filesPath, s.client.Host().Directory(job.Files, dagger.HostDirectoryOpts{Include: only}))
	for _, source := range job.Plan.Recipe.Sources {
		container = container.WithMountedFile(path.Join(sourcesPath, source.Name), s.client.Host().File(job.Sources[source.Name]))
	}
	variables := environment(job.Plan.Recipe, job.Machine)
	if only != nil {
		variables = common(job.Plan.Recipe)
	}
	for _, variable := range variables {
		container = container.WithEnvVariable(variable.Name, variable.Value)
	}
	return container.WithMountedDirectory(buildPath, build).WithWorkdir(buildPath)
}

// prepare gives the container everything that the other steps may read.
func (s *Session) prepare(container *dagger.Container, build *dagger.Directory, job Job) *dagger.Container {
	container = s.begin(container, build, nil, job)
	for _, name := range slices.Sorted(maps.Keys(job.Dependencies)) {
		container = container.WithMountedFile(path.Join(dependenciesPath, name+".tar.zst"), s.client.Host().File(job.Dependencies[name]))
	}
	if job.Plan.Recipe.Root != nil {
		container = container.WithMountedDirectory(recipe.RootFolder, job.Root.container.Rootfs())
	}
	for _, secret := range job.Plan.Recipe.Secrets {
		container = container.WithSecretVariable(secret.Name, s.client.SetSecret(secret.Name, job.Secrets[secret.Name]))
	}
	if job.Ccache != "" && job.Nonce == "" {
		container = container.WithMountedCache(ccachePath, s.client.CacheVolume(job.Ccache)).WithEnvVariable("CCACHE_DIR", ccachePath)
	} else {
		container = container.WithEnvVariable("CCACHE_DISABLE", "1")
	}
	return container.
		WithDirectory(outPath, s.client.Directory()).
		WithDirectory(outputsPath, s.client.Directory())
}

// step runs one script and checks the configuration that it writes, if any.
func (s *Session) step(ctx context.Context, container *dagger.Container, step recipe.Step, job Job) (_ *dagger.Container, err error) {
	stage := job.stage(step.Name)
	defer func() { stage.End(err, "") }()
	if container, err = s.exec(ctx, container, stage, path.Join(filesPath, step.Script)); err != nil {
		return nil, fmt.Errorf("running step %q (%s): %w", step.Name, step.Script, err)
	}
	if step.Config == "" {
		return container, nil
	}
	config, err := container.File(step.Config).Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading %s after step %q: %w", step.Config, step.Name, err)
	}
	facts, err := s.facts(ctx, container, step.Config)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s after step %q: %w", step.Config, kconfig.FactsSuffix, step.Name, err)
	}
	if err := check(job.Plan, step, []byte(config), facts); err != nil {
		return nil, err
	}
	stage.Note(fmt.Sprintf("the final configuration has all %d requested options and no debugging option that is not requested", len(job.Plan.Kernel.Requested.Options)))
	return container, nil
}

// check checks the final configuration of a kernel against its plan.
func check(plan recipe.Plan, step recipe.Step, config []byte, facts *kconfig.Facts) error {
	if plan.Kernel == nil {
		return fmt.Errorf("step %s declares a config, but %s declares no kernel", step.Name, plan.Recipe.Asset)
	}
	return plan.Kernel.Check(config, facts)
}

// facts reads the facts next to a configuration; nil if there are none.
func (s *Session) facts(ctx context.Context, container *dagger.Container, config string) (*kconfig.Facts, error) {
	there, err := container.Exists(ctx, config+kconfig.FactsSuffix)
	if err != nil || !there {
		return nil, err
	}
	text, err := container.File(config + kconfig.FactsSuffix).Contents(ctx)
	if err != nil {
		return nil, err
	}
	return kconfig.ParseFacts([]byte(text))
}
