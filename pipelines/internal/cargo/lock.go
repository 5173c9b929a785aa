package cargo

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Crate is one crate of a Cargo.lock.
type Crate struct {
	Name, Version string
	// Source is its registry, such as CratesIO; SHA256 is the hash of its file, in
	// lower-case hex.
	Source, SHA256 string
}

// String returns NAME-VERSION, which also names the file of a crate and the folder in it.
func (c Crate) String() string { return c.Name + "-" + c.Version }

// Lock is a Cargo.lock.
type Lock struct {
	// Crates are those of registries, sorted by name and version.
	Crates []Crate
	local  []locked
}

type locked struct {
	Name         string   `toml:"name"`
	Version      string   `toml:"version"`
	Source       string   `toml:"source"`
	Checksum     string   `toml:"checksum"`
	Dependencies []string `toml:"dependencies"`
}

var (
	crateName    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	crateVersion = regexp.MustCompile(`^[0-9][0-9A-Za-z.+-]*$`)
	checksum     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ParseLock reads a Cargo.lock. It refuses crates without a checksum.
func ParseLock(data []byte) (Lock, error) {
	var content struct {
		Packages []locked `toml:"package"`
	}
	if err := toml.Unmarshal(data, &content); err != nil {
		if syntax, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ := syntax.Position()
			err = fmt.Errorf("line %d: %w", line, err)
		}
		return Lock{}, err
	}
	if len(content.Packages) == 0 {
		return Lock{}, errors.New("it has no packages")
	}
	var lock Lock
	var problems []error
	for _, p := range content.Packages {
		crate := Crate{p.Name, p.Version, p.Source, p.Checksum}
		switch {
		case !crateName.MatchString(p.Name) || !crateVersion.MatchString(p.Version):
			problems = append(problems, fmt.Errorf("%q %q is not a name and a version of a crate", p.Name, p.Version))
		case p.Source == "":
			lock.local = append(lock.local, p)
		case strings.HasPrefix(p.Source, "git+"):
			problems = append(problems, fmt.Errorf("%s is from %s: only crates of registries have a checksum", crate, p.Source))
		case !checksum.MatchString(p.Checksum):
			problems = append(problems, fmt.Errorf("%s has no checksum: write the lock again with cargo 1.53 or newer", crate))
		default:
			lock.Crates = append(lock.Crates, crate)
		}
	}
	slices.SortFunc(lock.Crates, func(a, b Crate) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
	})
	for i, crate := range lock.Crates[:max(len(lock.Crates), 1)-1] {
		if crate.String() == lock.Crates[i+1].String() {
			problems = append(problems, fmt.Errorf("%s is from two registries", crate))
		}
	}
	return lock, errors.Join(problems...)
}

// dependencies are tables of a Cargo.toml.
type dependencies struct {
	Normal map[string]any `toml:"dependencies"`
	Dev    map[string]any `toml:"dev-dependencies"`
	Build  map[string]any `toml:"build-dependencies"`
}

// names returns the names of the crates; a table may rename one.
func (d dependencies) names() []string {
	var names []string
	for _, table := range []map[string]any{d.Normal, d.Dev, d.Build} {
		for name, value := range table {
			if renamed, ok := value.(map[string]any); ok {
				if original, ok := renamed["package"].(string); ok {
					name = original
				}
			}
			names = append(names, name)
		}
	}
	return names
}

// Matches returns why a lock is not that of the package of a Cargo.toml: another version,
// or a dependency that only one of them has. That each version satisfies its requirement
// is for `cargo build --locked` to check.
func (l Lock) Matches(manifest []byte) error {
	var m struct {
		Package struct {
			Name    string `toml:"name"`
			Version string `toml:"version"`
		} `toml:"package"`
		dependencies
		Target map[string]dependencies `toml:"target"`
	}
	if err := toml.Unmarshal(manifest, &m); err != nil {
		return fmt.Errorf("reading Cargo.toml: %w", err)
	}
	i := slices.IndexFunc(l.local, func(p locked) bool { return p.Name == m.Package.Name })
	if i < 0 {
		return fmt.Errorf("the manifest is that of %s, which the lock does not have", m.Package.Name)
	}
	own := l.local[i]
	if own.Version != m.Package.Version {
		return fmt.Errorf("the manifest is that of %s %s, but the lock was written for %s", m.Package.Name, m.Package.Version, own.Version)
	}
	wanted, has := m.names(), []string{}
	for _, table := range m.Target {
		wanted = append(wanted, table.names()...)
	}
	for _, dependency := range own.Dependencies {
		name, _, _ := strings.Cut(dependency, " ")
		has = append(has, name)
	}
	var problems []error
	for _, name := range without(wanted, has) {
		problems = append(problems, fmt.Errorf("the manifest of %s depends on %s, which the lock lacks", own.Name, name))
	}
	for _, name := range without(has, wanted) {
		problems = append(problems, fmt.Errorf("the lock has the dependency %s of %s, which the manifest lacks", name, own.Name))
	}
	return errors.Join(problems...)
}

// without returns the names that are not among some others, sorted, each once.
func without(names, others []string) []string {
	left := slices.DeleteFunc(slices.Sorted(slices.Values(names)), func(name string) bool { return slices.Contains(others, name) })
	return slices.Compact(left)
}
