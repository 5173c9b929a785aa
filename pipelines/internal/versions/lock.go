package versions

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// LockFile locks the versions of versions.yaml.
const LockFile = "assets/sources.yaml"

// entry is what the lock has about an entry of versions.yaml.
type entry struct {
	// Pin is the pin of the entry that names its version, "version" by default.
	Pin string `yaml:"pin"`
	// For are the entries of versions.yaml, below this one, that have these versions, and
	// each a pin of its own. Without any it is this entry.
	For []string `yaml:"for"`
	// Series is a prefix of versions, such as v6.18, that the entry stays in when it moves
	// to a newer one.
	Series string `yaml:"series"`
	// With is the entry that this one, which has no sources of its own, moves with.
	With string `yaml:"with"`
	// Own marks an entry that Kata's versions.yaml does not have: one without the pin gets
	// the newest of its versions.
	Own bool `yaml:"own"`
	// Signers are the fingerprints of the OpenPGP keys that sign upstream's files.
	Signers []string `yaml:"signers"`
	// License is the SPDX expression of the sources.
	License string `yaml:"license"`
	// Versions are the locked versions.
	Versions map[string]struct {
		// Pins are further pins of the entry, such as the commit of a tag.
		Pins map[string]string `yaml:"pins"`
		// Sources are the places of each source.
		Sources map[string][]Place `yaml:",inline"`
	} `yaml:",inline"`

	// declared is the path of the entry in the lock.
	declared string
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

// newest returns the newest version, or of those that are not numbered like releases the
// last in the order of strings.
func (e entry) newest() string {
	return slices.MaxFunc(slices.Collect(maps.Keys(e.Versions)), func(a, b string) int { return cmp.Or(semver.Compare(a, b), strings.Compare(a, b)) })
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
// unknown fields, and places that lack a hash or are not of exactly one kind. Each
// problem has its file and line.
func readLock(tree fs.FS) (map[string]entry, error) {
	var lock map[string]entry
	root, err := strictyaml.ReadFile(tree, LockFile, &lock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return checkLock(root, lock)
}

// checkLock completes and checks a lock.
func checkLock(root strictyaml.Node, lock map[string]entry) (map[string]entry, error) {
	entries := map[string]entry{}
	for _, at := range slices.Sorted(maps.Keys(lock)) {
		e := lock[at]
		e.Pin, e.declared = cmp.Or(e.Pin, "version"), at
		var paths []string
		for _, name := range e.For {
			paths = append(paths, at+"."+name)
		}
		if len(paths) == 0 {
			paths = []string{at}
		}
		for _, path := range paths {
			if _, twice := entries[path]; twice {
				root.At(at).Problem("%s: duplicate entry %s; remove one", at, path)
			}
			entries[path] = e
		}
		if _, known := lock[e.With]; e.With != "" && !known {
			root.At(at, "with").Problem("%s: no entry %q in the lock%s", at, e.With, cmp.Or(nearest.Hint(e.With, slices.Collect(maps.Keys(lock))), "; name one"))
		}
		for i, fingerprint := range e.Signers {
			if !fingerprintForm.MatchString(fingerprint) {
				root.At(at, "signers", i).Problem("%s: the signer %q is not a fingerprint of 40 upper-case hex digits; take it from gpg --fingerprint", at, fingerprint)
			}
		}
		if len(e.Versions) == 0 {
			root.At(at).Problem("%s: no versions; add one, or remove the entry", at)
		}
		for _, version := range slices.Sorted(maps.Keys(e.Versions)) {
			for _, name := range slices.Sorted(maps.Keys(e.Versions[version].Sources)) {
				checkSource(root.At(at, version, name), at, name, e.Versions[version].Sources[name])
			}
		}
	}
	return entries, root.Err()
}

var (
	// plainName has no dot, which separates the names of a path.
	plainName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	crateName    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	crateVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*$`)
	sha256Hex    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	commitHex    = regexp.MustCompile(`^[0-9a-f]{40}$`)
	// fingerprintForm is that of an OpenPGP key of version 4, without spaces.
	fingerprintForm = regexp.MustCompile(`^[0-9A-F]{40}$`)
	goSum           = regexp.MustCompile(`^h1:[A-Za-z0-9+/]{43}=$`)
)

// unknown is the sha256 of a file that its publisher gives none for. An asset that needs
// it can be planned, but not built.
const unknown = "unknown"

// checkSource checks the places of a source of an entry, and sets their lines.
func checkSource(list strictyaml.Node, entry, name string, places []Place) {
	source := entry + "." + name
	if !plainName.MatchString(name) {
		list.Problem("%s: the name has characters other than letters, digits, - and _; rename it", source)
	}
	if places == nil {
		list.Problem("%s: no places; add one, or write [] if this version has no such source", source)
	}
	for i := range places {
		at := list.At(i)
		places[i].Line = at.Line()
		places[i].check(at, source)
		places[i].SHA256 = strings.TrimPrefix(places[i].SHA256, unknown)
		same := slices.IndexFunc(places[:i], func(p Place) bool { return p.Name == places[i].Name })
		if same >= 0 {
			at.Problem("%s: duplicate place %q, first on line %d; rename one", source, places[i].Name, places[same].Line)
		}
	}
}

func (p Place) check(at strictyaml.Node, source string) {
	bad := func(wrong bool, field, format string, args ...any) {
		if wrong {
			at.At(field).Problem("%s: "+format, append([]any{source}, args...)...)
		}
	}
	kinds := 0
	for _, set := range []bool{p.URL != "", p.Debian != nil, p.Git != nil, p.OCI != nil, p.Go != nil, p.GoProxy != nil, p.Cargo != nil} {
		if set {
			kinds++
		}
	}
	bad(p.Name == "", "", "a place without a name; add it")
	bad(kinds != 1, "", "a place with %d of url, debian, git, oci, go, goproxy, cargo; give it one", kinds)
	bad(p.Go != nil && p.SHA256 != "", "sha256", "a Go module with a sha256; remove it, the sum is the hash")
	bad(p.Go == nil && p.Git == nil && p.OCI == nil && p.SHA256 == "", "", "a place without a sha256; add that of the file")
	bad(p.SHA256 != "" && !sha256Hex.MatchString(p.SHA256) && (p.SHA256 != unknown || p.URL == ""), "sha256", "the sha256 %q is not 64 lower-case hex digits; take it from sha256sum", p.SHA256)
	bad(p.Size < 0, "size", "the size %d is not a number of bytes", p.Size)
	bad(p.URL != "" && !address(p.URL), "url", "%q is not an address; write https://host/path", p.URL)
	if d := p.Debian; d != nil {
		bad(d.Package == "" || d.Version == "" || d.Suite == "" || d.File == "", "debian", "a Debian place needs a package, a version, a suite and a file")
		bad(strings.Contains(d.File, "/"), "debian", "the file %q has a folder; write only its name", d.File)
	}
	if g := p.Git; g != nil {
		bad(!address(g.URL), "git", "%q is not an address; write https://host/path", g.URL)
		bad((g.Commit == "") == (g.Ref == ""), "git", "a git place needs either a commit, or a ref whose commit is not known yet; write one of them")
		bad(g.Commit != "" && !commitHex.MatchString(g.Commit), "git",
			"the commit %q is not 40 lower-case hex digits; a tag or branch may move, so take what git rev-parse TAG^{commit} prints", g.Commit)
		bad(g.Path != "" && (!fs.ValidPath(g.Path) || g.Path == "."), "git", "the path %q is not one below the root of the repository; write folder/folder", g.Path)
	}
	if p.OCI != nil {
		p.OCI.check(at.At("oci"), source, p.SHA256)
	}
	if g := p.Go; g != nil {
		bad(!oneOf("", g.Module, g.Version) || g.Lock != "", "go", "a Go place needs a module and a version")
		bad(!goSum.MatchString(g.Sum), "go", "the sum %q is not h1: and 44 characters; take it from go mod download -json", g.Sum)
	}
	if g := p.GoProxy; g != nil {
		bad(!oneOf(g.Lock, g.Module, g.Version) || g.Sum != "", "goproxy", "a goproxy place needs either a module and its version, without a sum, or the lock of the tree; write one of them")
	}
	if c := p.Cargo; c != nil {
		bad(!oneOf(c.Lock, c.Crate, c.Version), "cargo", "a cargo place needs either a crate and its version, or the lock of the tree; write one of them")
		bad(c.Crate != "" && !crateName.MatchString(c.Crate), "cargo", "%q is not the name of a crate", c.Crate)
		bad(c.Version != "" && !crateVersion.MatchString(c.Version), "cargo", "%q is not the version of a crate; write 1.2.3", c.Version)
	}
	bad(p.Lock() != "" && !fs.ValidPath(p.Lock()), "", "the lock %q is not a path below the root of the repository; write assets/FAMILY/FILE", p.Lock())
}

// oneOf reports whether a place has either a lock or a name and a version.
func oneOf(lock, name, version string) bool {
	return lock != "" && name+version == "" || lock == "" && name != "" && version != ""
}

// address reports whether a text is the address of a download.
func address(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && parsed.Host != "" && (parsed.Scheme == "https" || parsed.Scheme == "http")
}

// Entry is an entry of versions.yaml with its lock, for those who move it to another
// version.
type Entry struct {
	// Path is that of the entry in versions.yaml, and Declared that in the lock.
	Path, Declared string
	// Pin is the path of the pin that names its version, "" if versions.yaml lacks it.
	Pin, Version string
	// Series is the series of versions that the entry stays in, "" for any.
	Series string
	// With is the path of the entry that this one moves with, or "".
	With string
	// Signers are the fingerprints of the OpenPGP keys that sign upstream's files.
	Signers []string
	// Locked is the version that Pins and Sources are of: Version, or another if the lock
	// does not have it.
	Locked  string
	Pins    map[string]string
	Sources map[string][]Place
}

// Entries returns the entries that the lock has, sorted by path.
func (f *File) Entries() []Entry {
	var list []Entry
	for _, at := range slices.Sorted(maps.Keys(f.lock)) {
		e := f.lock[at]
		entry := Entry{Path: at, Declared: e.declared, Pin: at + "." + e.Pin, Series: e.Series, With: e.With, Signers: e.Signers}
		if entry.Version, _ = f.version(at, e); entry.Version == "" {
			entry.Pin = ""
		}
		entry.Locked = entry.Version
		if _, known := e.Versions[entry.Version]; !known {
			entry.Locked = e.newest()
		}
		entry.Pins, entry.Sources = e.Versions[entry.Locked].Pins, e.Versions[entry.Locked].Sources
		list = append(list, entry)
	}
	return list
}
