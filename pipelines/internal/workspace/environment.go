package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// defaultBranch is the branch that other branches are compared with.
const defaultBranch = "main"

// defaultRepository is used if only the registry is set, as in Kata's own
// scripts.
const defaultRepository = "kata-containers"

// Environment holds the variables that Kata's CI sets for its scripts.
type Environment struct {
	// Registry is $ARTEFACT_REGISTRY, and Cache adds $ARTEFACT_REPOSITORY to it:
	// HOST[:PORT]/PATH, or "" if no registry is set.
	Registry, Cache string
	// Username and Password are the credentials of the registry.
	Username, Password string
	// UseCache, Push and Release are yes, no or "".
	UseCache, Push, Release Switch
	// Branch is the branch that a change is to be merged into, or "".
	Branch string
	// Signing is how to sign what is pushed.
	Signing Signing
	// Sudo is $SUDO_UID, the user who became root with sudo, or "".
	Sudo string
}

// ReadEnvironment reads the variables.
func ReadEnvironment(getenv func(string) string) Environment {
	e := Environment{
		Registry: strings.TrimSuffix(getenv("ARTEFACT_REGISTRY"), "/"),
		Username: getenv("ARTEFACT_REGISTRY_USERNAME"), Password: getenv("ARTEFACT_REGISTRY_PASSWORD"),
		UseCache: Switch{"USE_CACHE", getenv("USE_CACHE")},
		Push:     Switch{"PUSH_TO_REGISTRY", getenv("PUSH_TO_REGISTRY")},
		Release:  Switch{"RELEASE", getenv("RELEASE")},
		Branch:   getenv("TARGET_BRANCH"),
		Signing: Signing{
			Key: getenv("KATA_SIGNING_KEY"), Passphrase: getenv("KATA_SIGNING_PASSWORD"),
			Job: trust.Job{URL: getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), Token: getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")},
		},
		Sudo: getenv("SUDO_UID"),
	}
	if e.Password == "" {
		e.Username = "" // The CI of a fork has the name and not the password: it reads anonymously.
	}
	if e.Registry != "" {
		e.Cache = e.Registry + "/" + cmp.Or(strings.Trim(getenv("ARTEFACT_REPOSITORY"), "/"), defaultRepository)
	}
	return e
}

// Registries returns a client for registries of images. The environment has the
// credentials of its own registry, the docker config those of others.
func (w *Workspace) Registries() *oci.Client {
	e := w.Environment
	return oci.NewClient(oci.Options{Registry: e.Registry, Username: e.Username, Password: e.Password, Report: w.Report})
}

// Switch is a variable that Kata's CI sets to yes or no, or the flag that overrides
// it: a pflag.Value.
type Switch struct{ name, value string }

// On returns the value of the switch, or otherwise if it is not set.
func (s Switch) On(otherwise bool) (bool, error) {
	switch s.value {
	case "":
		return otherwise, nil
	case "yes", "true", "1":
		return true, nil
	case "no", "false", "0":
		return false, nil
	}
	return false, Usage(fmt.Errorf("%s is %q: set it to yes or no", s.name, s.value))
}

// Set sets the value of the flag.
func (s *Switch) Set(value string) error {
	s.name, s.value = "the flag", value
	_, err := s.On(false)
	return err
}

func (s *Switch) String() string { return s.value }

// Type makes it a flag that needs no value.
func (*Switch) Type() string { return "bool" }

// ErrNoRegistry is returned by verbs that need a registry and have none.
var ErrNoRegistry = Usage(errors.New("no registry is configured: name one with --cache HOST/PATH, or set ARTEFACT_REGISTRY and ARTEFACT_REPOSITORY"))

// openStore opens the local store, and the registry behind it if one is named.
func openStore(o Options, cache string) (*store.Tiered, error) {
	e := o.Environment
	use, err := e.UseCache.On(true)
	if err != nil {
		return nil, err
	}
	tiered := &store.Tiered{Local: store.Open(filepath.Join(cache, "store"), o.Report), Fresh: !use}
	switch {
	case o.Registry == "":
		return tiered, nil
	case strings.Contains(o.Registry, "@"): // It may follow a password, so the reference is not repeated.
		return nil, Usage(errors.New("--cache, or ARTEFACT_REGISTRY: want HOST[:PORT]/PATH without an @; " +
			"set the user name and the password in ARTEFACT_REGISTRY_USERNAME and ARTEFACT_REGISTRY_PASSWORD"))
	case e.Password != "" && e.Username == "":
		return nil, Usage(errors.New("ARTEFACT_REGISTRY_PASSWORD is set and ARTEFACT_REGISTRY_USERNAME is not: set both or neither"))
	}
	tiered.Registry, err = store.OpenRegistry(o.Registry, oci.Options{Username: e.Username, Password: e.Password, Report: o.Report})
	if err != nil {
		return nil, Usage(fmt.Errorf("--cache %s: %w", o.Registry, err))
	}
	return tiered, nil
}

// Branches returns the branches whose moving tags are looked up, in order: the target
// branch if it is set, or else the one that is checked out and the default one.
func (w *Workspace) Branches(ctx context.Context) []string {
	if w.Environment.Branch != "" {
		return []string{w.Environment.Branch}
	}
	if branch := w.Git.Branch(ctx); branch != "" && branch != defaultBranch {
		return []string{branch, defaultBranch}
	}
	return []string{defaultBranch}
}
