package versions

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// LockFile locks the versions of versions.yaml.
const LockFile = "assets/sources.yaml"

// entry is what the lock knows of an entry of versions.yaml.
type entry struct {
	// Pin is the pin of the entry that names its version, "version" by default.
	Pin string `yaml:"pin"`
	// Same are pins of versions.yaml, relative to the entry, that have to agree: their
	// value is that of Pin, which versions.yaml does not have.
	Same []string `yaml:"same"`
	// Versions is what is known of each version.
	Versions map[string]struct {
		// Pins are further pins of the entry, such as the commit of a tag.
		Pins map[string]string `yaml:"pins"`
		// Sources are the places of each source.
		Sources map[string][]Place `yaml:",inline"`
	} `yaml:",inline"`
}

// hasPin reports whether any version has a pin.
func (e entry) hasPin(name string) bool {
	for _, version := range e.Versions {
		if _, found := version.Pins[name]; found {
			return true
		}
	}
	return false
}

// sources returns the names of the sources of all versions, sorted.
func (e entry) sources() []string {
	names := map[string]bool{}
	for _, version := range e.Versions {
		for name := range version.Sources {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// readLock reads the lock of a tree; without the file nothing is locked. It refuses
// unknown fields, and places that lack a hash or are not of exactly one kind, each
// with file and line.
func readLock(tree fs.FS) (map[string]entry, error) {
	var lock map[string]entry
	root, err := strictyaml.ReadFile(tree, LockFile, &lock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, at := range slices.Sorted(maps.Keys(lock)) {
		e := lock[at]
		if e.Pin == "" {
			e.Pin = "version"
			lock[at] = e
		}
		if len(e.Versions) == 0 {
			problems = append(problems, fmt.Errorf("%s:%d: %s: no versions; add one, or remove the entry", LockFile, root.Line(at), at))
		}
		for _, version := range slices.Sorted(maps.Keys(e.Versions)) {
			for _, name := range slices.Sorted(maps.Keys(e.Versions[version].Sources)) {
				places := e.Versions[version].Sources[name]
				problems = append(problems, checkSource(root, places, at, version, name)...)
			}
		}
	}
	return lock, errors.Join(problems...)
}

// plainName has no dot, which separates the names of a path.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// checkSource checks the places below some fields, and sets their lines.
func checkSource(root strictyaml.Node, places []Place, fields ...any) (problems []error) {
	name := fields[len(fields)-1].(string)
	add := func(line int, text string) {
		problems = append(problems, fmt.Errorf("%s:%d: %s.%s: %s", LockFile, line, fields[0], name, text))
	}
	if !plainName.MatchString(name) {
		add(root.Line(fields...), "the name has characters other than letters, digits, - and _; rename it")
	}
	if len(places) == 0 {
		add(root.Line(fields...), "no places; add one, or remove the source")
	}
	for i := range places {
		at := append(slices.Clip(fields), i)
		places[i].Line = root.Line(at...)
		for _, problem := range places[i].check() {
			add(root.Line(append(at, problem.field)...), problem.text)
		}
		same := slices.IndexFunc(places[:i], func(p Place) bool { return p.Name == places[i].Name })
		if same >= 0 {
			add(places[i].Line, fmt.Sprintf("duplicate place %q, first on line %d; rename one", places[i].Name, places[same].Line))
		}
	}
	return problems
}

// problem is something wrong with a field of a place; "" is the place itself.
type problem struct{ field, text string }

var (
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
	commitHex = regexp.MustCompile(`^[0-9a-f]{40}$`)
	goSum     = regexp.MustCompile(`^h1:[A-Za-z0-9+/]{43}=$`)
)

// check returns what is wrong with a place.
func (p Place) check() (problems []problem) {
	add := func(wrong bool, field, text string) {
		if wrong {
			problems = append(problems, problem{field, text})
		}
	}
	var kinds []string
	for kind, set := range map[string]bool{"url": p.URL != "", "debian": p.Debian != nil, "git": p.Git != nil, "go": p.Go != nil, "goproxy": p.GoProxy != nil} {
		if set {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	add(p.Name == "", "", "a place without a name; add it")
	add(len(kinds) != 1, "", fmt.Sprintf("a place of the kinds [%s]; give each place one of url, debian, git, go, goproxy", strings.Join(kinds, " ")))
	add(p.Go != nil && p.SHA256 != "", "sha256", "a Go module with a sha256; remove it, the sum is the hash")
	add(p.Go == nil && p.Git == nil && p.SHA256 == "", "", "a place without a sha256; add that of the file")
	add(p.SHA256 != "" && !sha256Hex.MatchString(p.SHA256), "sha256", fmt.Sprintf("the sha256 %q is not 64 lower-case hex digits; take it from sha256sum", p.SHA256))
	add(p.Size < 0, "size", fmt.Sprintf("the size %d is not a number of bytes", p.Size))
	add(p.URL != "" && !address(p.URL), "url", fmt.Sprintf("%q is not an address; write https://host/path", p.URL))
	if d := p.Debian; d != nil {
		add(d.Package == "" || d.Version == "" || d.Suite == "" || d.File == "", "debian", "a Debian place needs a package, a version, a suite and a file")
		add(strings.Contains(d.File, "/"), "debian", fmt.Sprintf("the file %q has a folder; write only its name", d.File))
	}
	if g := p.Git; g != nil {
		add(!address(g.URL), "git", fmt.Sprintf("%q is not an address; write https://host/path", g.URL))
		add((g.Commit == "") == (g.Ref == ""), "git", "a git place needs either a commit, or a ref whose commit is not known yet; write one of them")
		add(g.Commit != "" && !commitHex.MatchString(g.Commit), "git", fmt.Sprintf("the commit %q is not 40 lower-case hex digits; "+
			"a tag or branch may move, so take what git rev-parse TAG^{commit} prints", g.Commit))
		add(g.Path != "" && (!fs.ValidPath(g.Path) || path.Clean(g.Path) == "."), "git", fmt.Sprintf("the path %q is not one below the root of the repository; write folder/folder", g.Path))
	}
	if g := p.Go; g != nil {
		add(g.Module == "" || g.Version == "", "go", "a Go place needs a module and a version")
		add(!goSum.MatchString(g.Sum), "go", fmt.Sprintf("the sum %q is not h1: and 44 characters; take it from go mod download -json", g.Sum))
	}
	if g := p.GoProxy; g != nil {
		add(g.Module == "" || g.Version == "", "goproxy", "a goproxy place needs a module and a version")
	}
	return problems
}

// address reports whether a text is the address of a download.
func address(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && parsed.Host != "" && (parsed.Scheme == "https" || parsed.Scheme == "http")
}
