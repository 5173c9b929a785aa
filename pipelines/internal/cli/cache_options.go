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

// defaultBranch is the one whose artifacts others are compared with.
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
	flags.Lookup("cache").DefValue = "" // Somebody may have put a password into it.
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
	// What has an @ may have a password before it, and is not repeated.
	if strings.Contains(o.cache, "@") {
		return nil, usage(errors.New("--cache, or ARTEFACT_REGISTRY: want HOST[:PORT]/PATH without an @; a user name and a password go into ARTEFACT_REGISTRY_USERNAME and ARTEFACT_REGISTRY_PASSWORD"))
	}
	username, password := process.Getenv("ARTEFACT_REGISTRY_USERNAME"), process.Getenv("ARTEFACT_REGISTRY_PASSWORD")
	switch {
	case password == "":
		username = "" // A fork's CI has the name and not the password: it reads as anybody.
	case username == "":
		return nil, usage(errors.New("ARTEFACT_REGISTRY_PASSWORD is set and ARTEFACT_REGISTRY_USERNAME is not: set both or neither"))
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

// branches are those whose moving tag is read, the first that has one: that of
// TARGET_BRANCH alone, or the one that is checked out and the default one.
func (c caches) branches(ctx context.Context, process Process) []string {
	if branch := process.Getenv("TARGET_BRANCH"); branch != "" {
		return []string{branch}
	}
	if branch := c.tree.checkedOut(ctx); branch != "" && branch != defaultBranch {
		return []string{branch, defaultBranch}
	}
	return []string{defaultBranch}
}

const allowDirtyUsage = "push even if an input is not as it is committed"

// pushOptions say whether what is in place is pushed to the registry.
type pushOptions struct {
	push       bool
	allowDirty bool
	// given are the flags, which know whether --push is among them.
	given *pflag.FlagSet
}

func (o *pushOptions) flags(flags *pflag.FlagSet) {
	o.given = flags
	flags.BoolVar(&o.push, "push", false, "push to the registry of --cache what it lacks (default: PUSH_TO_REGISTRY is yes)")
	flags.BoolVar(&o.allowDirty, "allow-dirty", false, allowDirtyUsage)
}

// wanted tells whether to push: the flag goes before the variable.
func (o pushOptions) wanted(process Process) (bool, error) {
	wanted, err := yes(process, "PUSH_TO_REGISTRY", false)
	if o.push || o.given != nil && o.given.Changed("push") {
		wanted = o.push
	}
	return wanted, err
}

// publisher returns what pushes an artifact under its key and the moving tags,
// or nil where nothing is to be pushed.
func (o pushOptions) publisher(ctx context.Context, process Process, tree *tree, names []string, arch catalog.Arch, tiered *store.Tiered) (func(context.Context, store.Artifact) error, error) {
	wanted, err := o.wanted(process)
	if err != nil || !wanted {
		return nil, err
	}
	if tiered.Registry == nil {
		return nil, usage(errors.New("nowhere to push to: name a registry with --cache HOST/PATH, or set ARTEFACT_REGISTRY and ARTEFACT_REPOSITORY"))
	}
	moving, err := o.moving(ctx, process, tree, names, arch)
	if err != nil {
		return nil, err
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

// moving returns what the moving tags name: the branch of the pushed tree, its
// commit, and its release. One that there is not gets no tag; a release is of a
// commit.
func (o pushOptions) moving(ctx context.Context, process Process, tree *tree, names []string, arch catalog.Arch) (map[string]string, error) {
	release, err := yes(process, "RELEASE", false)
	if err != nil {
		return nil, err
	}
	moving := map[string]string{"latest": process.Getenv("TARGET_BRANCH")}
	if moving["latest"] == "" {
		moving["latest"] = tree.checkedOut(ctx)
	}
	in, err := tree.inputs(names, arch)
	if err != nil {
		return nil, err
	}
	if release {
		if moving["release"], err = tree.version(); err != nil {
			return nil, err
		}
		in.files = append(in.files, versionFile)
	}
	moving["commit"], err = tree.committed(ctx, in)
	switch {
	case err == nil:
		return moving, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case release:
		return nil, fmt.Errorf("not pushing as a release what is no commit's: %w", err)
	case o.allowDirty:
		return moving, nil
	}
	return nil, fmt.Errorf("not pushing what others cannot build: %w, or push all the same with --allow-dirty", err)
}
