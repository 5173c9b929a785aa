// Package cargo finds crates where the cargo of this machine would: in the registry of
// a Cargo.lock, or the mirror that cargo's configuration replaces it with.
//
// The one idea: a Cargo.lock is enough. It names every crate with its SHA-256, so crates
// can be downloaded as any other files, in parallel, without a toolchain and without
// resolving anything. Package source downloads them.
//
// It leaves out what a lock makes superfluous, such as features and the choice of
// versions, and what has no checksum: git dependencies and git indexes. It does not run
// cargo, because one that is older than the lock cannot read it, and many machines that
// fetch sources have none.
package cargo

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// CratesIO is the source of crates of the public registry, as a Cargo.lock names it.
const CratesIO = "registry+https://github.com/rust-lang/crates.io-index"

const (
	// cratesIO is the name of the public registry in a configuration.
	cratesIO    = "crates-io"
	publicIndex = "sparse+https://index.crates.io/"
	sparse      = "sparse+"
	maxConfig   = 1 << 20
)

// Config is where cargo of this machine is configured.
type Config struct {
	// Home is $CARGO_HOME, with config.toml and credentials.toml; neither needs to exist.
	Home string
	// Environ has the variables CARGO_REGISTRIES_<NAME>_INDEX and _TOKEN, and
	// CARGO_REGISTRY_TOKEN.
	Environ []string
}

// NewConfig returns the configuration of a user with these variables.
func NewConfig(environ []string) Config {
	c := Config{Environ: environ}
	if home := c.variable("HOME"); home != "" {
		c.Home = filepath.Join(home, ".cargo")
	}
	c.Home = cmp.Or(c.variable("CARGO_HOME"), c.Home)
	return c
}

func (c Config) variable(name string) string {
	for _, variable := range c.Environ {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

type settings struct {
	Source map[string]struct {
		Registry      string `toml:"registry"`
		ReplaceWith   string `toml:"replace-with"`
		LocalRegistry string `toml:"local-registry"`
		Directory     string `toml:"directory"`
		Git           string `toml:"git"`
	} `toml:"source"`
	Registries map[string]struct {
		Index string `toml:"index"`
		Token string `toml:"token"`
	} `toml:"registries"`
	Registry struct {
		Token string `toml:"token"`
	} `toml:"registry"`
}

// read merges one file of the configuration into settings.
func (s *settings) read(path string) error {
	data, err := files.ReadNamed(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = toml.Unmarshal(data, s)
	}
	if err != nil {
		return fmt.Errorf("reading the configuration of cargo: %s: %w", path, err)
	}
	return nil
}

// load reads the configuration. As for cargo, a file without .toml wins over one with it.
func (c Config) load() (settings, error) {
	var s settings
	if c.Home == "" {
		return s, nil
	}
	for _, name := range []string{"config.toml", "config", "credentials.toml", "credentials"} {
		if err := s.read(filepath.Join(c.Home, name)); err != nil {
			return s, err
		}
	}
	return s, nil
}

// endpoint is the sparse index of a registry and the token for it, "" if none is
// configured.
type endpoint struct{ index, token string }

// endpoint returns where the crates of a source in a Cargo.lock are.
func (c Config) endpoint(source string) (endpoint, error) {
	s, err := c.load()
	if err != nil {
		return endpoint{}, err
	}
	name, index := s.named(source), strings.TrimPrefix(source, "registry+")
	if source == CratesIO {
		index = publicIndex
	}
	for seen := map[string]bool{}; s.Source[name].ReplaceWith != ""; {
		if seen[name] {
			return endpoint{}, fmt.Errorf("the configuration of cargo in %s replaces source %q with itself", c.Home, name)
		}
		seen[name] = true
		name = s.Source[name].ReplaceWith
		if index, err = c.replacement(s, name); err != nil {
			return endpoint{}, err
		}
	}
	if !strings.HasPrefix(index, sparse) {
		return endpoint{}, fmt.Errorf("the index %s is a git repository, and only sparse indexes are supported: "+
			"replace it in the configuration of cargo in %s with one whose address begins with %s", index, c.Home, sparse)
	}
	token := cmp.Or(c.variable("CARGO_REGISTRIES_"+upper(name)+"_TOKEN"), s.Registries[name].Token)
	if name == cratesIO {
		token = cmp.Or(c.variable("CARGO_REGISTRY_TOKEN"), s.Registry.Token)
	}
	return endpoint{strings.TrimSuffix(strings.TrimPrefix(index, sparse), "/") + "/", token}, nil
}

// named returns the name that the configuration has for a source of a Cargo.lock, "" for
// none.
func (s settings) named(source string) string {
	if source == CratesIO {
		return cratesIO
	}
	index := strings.TrimPrefix(source, "registry+")
	for _, name := range slices.Sorted(maps.Keys(s.Source)) {
		if s.Source[name].Registry == index {
			return name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Registries)) {
		if s.Registries[name].Index == index {
			return name
		}
	}
	return ""
}

// replacement returns the index of a source that replaces another.
func (c Config) replacement(s settings, name string) (string, error) {
	source := s.Source[name]
	index := cmp.Or(source.Registry, c.variable("CARGO_REGISTRIES_"+upper(name)+"_INDEX"), s.Registries[name].Index)
	switch {
	case source.Directory+source.LocalRegistry+source.Git != "":
		return "", fmt.Errorf("the configuration of cargo in %s takes crates from source %q, which is a folder or a git repository; "+
			"only registries are supported: set CARGO_HOME to a configuration without it", c.Home, name)
	case index == "" && name == cratesIO:
		return publicIndex, nil
	case index == "" && source.ReplaceWith == "":
		names := slices.AppendSeq(slices.Collect(maps.Keys(s.Source)), maps.Keys(s.Registries))
		return "", fmt.Errorf("the configuration of cargo in %s replaces a source with %q, which has no address%s", c.Home, name, nearest.Hint(name, names))
	}
	return index, nil
}

// upper is the form of a name in a variable.
func upper(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
