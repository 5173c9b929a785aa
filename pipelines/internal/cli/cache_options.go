package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// defaultBranch is what TARGET_BRANCH is where nobody sets it.
const defaultBranch = "main"

// defaultRepository is what ARTEFACT_REPOSITORY is where only the registry is
// set, as in Kata's own scripts.
const defaultRepository = "kata-containers"

// cacheOptions say which registry stands behind the local store. The variables
// are those that Kata's CI sets for its scripts.
type cacheOptions struct {
	cache string
}

func (o *cacheOptions) flags(flags *pflag.FlagSet, process Process) {
	flags.StringVar(&o.cache, "cache", registryFrom(process),
		"registry behind the local cache, HOST[:PORT]/PATH (default: $ARTEFACT_REGISTRY/$ARTEFACT_REPOSITORY)")
}

// registryFrom returns the registry that the environment names, or "".
func registryFrom(process Process) string {
	registry := strings.TrimSuffix(process.Getenv("ARTEFACT_REGISTRY"), "/")
	if registry == "" {
		return ""
	}
	repository := strings.Trim(process.Getenv("ARTEFACT_REPOSITORY"), "/")
	if repository == "" {
		repository = defaultRepository
	}
	return registry + "/" + repository
}

// yes reads a variable that Kata's CI sets to yes or no.
func yes(process Process, name string, otherwise bool) (bool, error) {
	switch value := process.Getenv(name); value {
	case "":
		return otherwise, nil
	case "yes", "true", "1":
		return true, nil
	case "no", "false", "0":
		return false, nil
	default:
		return false, usage(fmt.Errorf("%s is %q: set it to yes or no", name, value))
	}
}

// registry returns the registry, or nil where none is configured.
func (o cacheOptions) registry(process Process, report *progress.Reporter) (*store.Registry, error) {
	if o.cache == "" {
		return nil, nil
	}
	// A fork's CI has the name and not the password: it reads as anybody.
	username, password := process.Getenv("ARTEFACT_REGISTRY_USERNAME"), process.Getenv("ARTEFACT_REGISTRY_PASSWORD")
	if password == "" {
		username = ""
	}
	registry, err := store.OpenRegistry(store.RegistryOptions{
		Ref:      o.cache,
		Username: username,
		Password: password,
		Note:     func(text string) { report.Note("registry", text) },
		Bytes: func(asset string) (func(done, total int64), func(error, string)) {
			stage := report.Stage(asset, "registry")
			return stage.Bytes, stage.End
		},
	})
	if err != nil {
		return nil, usage(fmt.Errorf("--cache %s: %w", o.cache, err))
	}
	return registry, nil
}

// errNoRegistry is the error of verbs that are about it.
var errNoRegistry = usage(errors.New("no registry is configured: name one with --cache HOST/PATH, or set ARTEFACT_REGISTRY and ARTEFACT_REPOSITORY"))

// local returns the store on disk.
func local(cache string, report *progress.Reporter) *store.Store {
	return store.Open(filepath.Join(cache, "store"), func(text string) { report.Note("store", text) })
}

// tiered returns the local store with the registry behind it.
func (o cacheOptions) tiered(process Process, cache string, report *progress.Reporter) (*store.Tiered, error) {
	registry, err := o.registry(process, report)
	if err != nil {
		return nil, err
	}
	use, err := yes(process, "USE_CACHE", true)
	if err != nil {
		return nil, err
	}
	return &store.Tiered{Local: local(cache, report), Registry: registry, Fresh: !use}, nil
}

// branch is the one whose moving tags are read and written.
func (o cacheOptions) branch(process Process) string {
	if branch := process.Getenv("TARGET_BRANCH"); branch != "" {
		return branch
	}
	return defaultBranch
}

const allowDirtyUsage = "push even if an input is not as it is committed"

// pushOptions say whether what is in place is pushed to the registry.
type pushOptions struct {
	push       bool
	allowDirty bool
}

func (o *pushOptions) flags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.push, "push", false, "push to the registry of --cache what it lacks (default: PUSH_TO_REGISTRY is yes)")
	flags.BoolVar(&o.allowDirty, "allow-dirty", false, allowDirtyUsage)
}

// publisher returns what pushes an artifact under its key and the moving tags,
// or nil where nothing is to be pushed.
func (o pushOptions) publisher(ctx context.Context, process Process, cache cacheOptions, tree *tree, names []string, arch catalog.Arch, tiered *store.Tiered) (func(context.Context, store.Artifact) error, error) {
	wanted, err := yes(process, "PUSH_TO_REGISTRY", false)
	if err != nil || !wanted && !o.push {
		return nil, err
	}
	if tiered.Registry == nil {
		return nil, usage(errors.New("nowhere to push to: name a registry with --cache HOST/PATH, or set ARTEFACT_REGISTRY and ARTEFACT_REPOSITORY"))
	}
	moving := map[string]string{"latest": cache.branch(process)}
	if moving["commit"], err = tree.committed(ctx, names, arch, o.allowDirty); err != nil {
		return nil, err
	}
	release, err := yes(process, "RELEASE", false)
	if err != nil {
		return nil, err
	}
	if release {
		if moving["release"], err = tree.version(); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, artifact store.Artifact) error {
		var tags []string
		for _, kind := range []string{"latest", "commit", "release"} {
			if moving[kind] != "" {
				tags = append(tags, store.MovingTag(kind, moving[kind], artifact.Arch))
			}
		}
		return tiered.Registry.Push(ctx, artifact.Ref, tiered.Local, tags)
	}, nil
}
