// Package versions reads versions.yaml, the pins of everything that a build takes from
// outside, and its lock: for a version of an entry, the sources, each with its hash and
// the places it can come from, as go.sum is to go.mod.
//
// versions.yaml has the shape of that of Kata Containers, and those of its releases load
// too. So the part that this program uses is read strictly, and the rest is ignored. A
// version that the lock does not have can be planned but not built: see Unlocked.
package versions

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// File is a versions.yaml and its lock.
type File struct {
	// Path is the path given to Load, and Data the content of the file.
	Path string
	Data []byte

	// pins are the values by path, including those that are not strings.
	pins map[string]*yaml.Node
	// differs are Kata's values of the pins that differ from Kata's, by path.
	differs map[string]*yaml.Node
	// lock has the locked entries by their paths.
	lock map[string]entry
}

// Source is something to download: a name, and the places that hold it.
type Source struct {
	// Name is the last part of the path given to File.Source: "linux".
	Name string
	// Places are declared equivalent and tried in order. Their names are unique.
	Places []Place
}

// Place is one place that a source can come from. Exactly one of URL, Debian, Git, OCI,
// Go, GoProxy and Cargo is set.
type Place struct {
	Name string `yaml:"name"`
	// URL is an http or https address.
	URL    string    `yaml:"url,omitempty"`
	Debian *Debian   `yaml:"debian,omitempty"`
	Git    *Git      `yaml:"git,omitempty"`
	OCI    *OCI      `yaml:"oci,omitempty"`
	Go     *GoModule `yaml:"go,omitempty"`
	// GoProxy is a module with everything in its go.sum, or what is in a go.sum of the
	// tree. The file is an uncompressed tar of the module proxy's files for them, below
	// a folder "proxy", for GOPROXY=file://.
	GoProxy *GoModule `yaml:"goproxy,omitempty"`
	// Cargo is a crate with every crate that its Cargo.lock names, or those of a
	// Cargo.lock. The file is an uncompressed tar of their files as the registry serves
	// them, below a folder "crates".
	Cargo *Cargo `yaml:"cargo,omitempty"`
	// SHA256 is the hash of the file, in 64 lower-case hex digits. It is empty for a
	// Go module, which has a sum of its own, may be empty for Git and OCI, and is empty for
	// a file whose hash is unknown, which the lock says in so many letters.
	SHA256 string `yaml:"sha256,omitempty"`
	// Size is the length of the downloaded file in bytes, 0 if unknown.
	Size int64 `yaml:"size,omitempty"`
	// Unchecked says that the hash was compared with no checksum or signature of upstream.
	Unchecked bool `yaml:"unchecked,omitempty"`
	// Line is where the place begins in the file, counted from 1.
	Line int `yaml:"-"`
}

// Debian is one file of a Debian source package.
type Debian struct {
	// Package is the name of the source package, Version is with its epoch:
	// "1:10.2.2+ds-1". Suite is the release of Debian that holds it.
	Package string `yaml:"package"`
	Version string `yaml:"version"`
	Suite   string `yaml:"suite"`
	File    string `yaml:"file"`
}

// Git is a commit of a repository. The file is an uncompressed tar of Path in the
// commit, below a folder "source".
type Git struct {
	// URL is the argument of git fetch, Commit 40 lower-case hex digits. Path is a
	// folder of the repository, "" for all of it.
	URL    string `yaml:"url"`
	Commit string `yaml:"commit,omitempty"`
	Path   string `yaml:"path,omitempty"`
	// Ref is a tag or branch without a pinned commit: nothing can be built from
	// it, because it can move. Commit is "" then.
	Ref string `yaml:"ref,omitempty"`
}

// revision is the tree that the file is made from: "<commit>:<path>".
func (g *Git) revision() string {
	if g.Path == "" {
		return g.Commit + g.Ref
	}
	return g.Commit + g.Ref + ":" + g.Path
}

// GoModule is a module at a version. Sum, which only Place.Go has, is the sum of its tree
// as in a go.sum file, "h1:" and a base64 SHA-256. Lock, which only Place.GoProxy has, is
// the path of a go.sum of the tree, instead of a module.
type GoModule struct {
	Module  string `yaml:"module"`
	Version string `yaml:"version"`
	Sum     string `yaml:"sum"`
	Lock    string `yaml:"lock"`
}

// String is MODULE@VERSION or the path of the lock.
func (m GoModule) String() string { return orLock(m.Lock, m.Module, m.Version) }

func orLock(lock, name, version string) string {
	if lock != "" {
		return lock
	}
	return name + "@" + version
}

// Cargo is a crate at a version, whose Cargo.lock is in its file, or a Cargo.lock of the
// tree, by its path.
type Cargo struct {
	Crate   string `yaml:"crate"`
	Version string `yaml:"version"`
	Lock    string `yaml:"lock"`
}

// String is CRATE@VERSION or the path of the lock.
func (c Cargo) String() string { return orLock(c.Lock, c.Crate, c.Version) }

// Lock is the path of the file in the tree that locks what the place holds, "" for none.
func (p Place) Lock() string {
	switch {
	case p.Cargo != nil:
		return p.Cargo.Lock
	case p.GoProxy != nil:
		return p.GoProxy.Lock
	}
	return ""
}

// Hash returns "sha256:" and the hex SHA-256 of the file that the place holds, and for a
// Go module its sum as in go.sum, "h1:...". Without a SHA-256 it is "git:" and the commit
// or ref, followed by a colon and the path if there is one, or "oci:" and the digest of the
// manifest and the title of the layer.
func (p Place) Hash() string {
	switch {
	case p.Go != nil:
		return p.Go.Sum
	case p.SHA256 != "":
		return "sha256:" + p.SHA256
	case p.Git != nil:
		return "git:" + p.Git.revision()
	case p.OCI != nil:
		return "oci:" + p.OCI.Digest() + ":" + p.OCI.Title
	}
	return "sha256:" + unknown
}

// Pinned reports whether the place always holds the same file: it has a hash or a commit.
func (p Place) Pinned() bool {
	return p.Go != nil || p.SHA256 != "" || p.OCI != nil || p.Git != nil && p.Git.Ref == ""
}

// Cacheable reports whether a hash identifies the place's file, so that caches can
// hold it.
func (p Place) Cacheable() bool { return p.Go != nil || p.SHA256 != "" }

// Holds describes the place: "debian:linux/6.18.15-1/linux.tar",
// "git:https://example.org/linux@<commit>:<path>".
func (p Place) Holds() string {
	switch {
	case p.Debian != nil:
		return fmt.Sprintf("debian:%s/%s/%s", p.Debian.Package, p.Debian.Version, p.Debian.File)
	case p.Git != nil:
		return fmt.Sprintf("git:%s@%s", p.Git.URL, p.Git.revision())
	case p.OCI != nil:
		return "oci:" + strings.TrimSuffix(p.OCI.Ref+" "+p.OCI.Title, " ")
	case p.Go != nil:
		return "go:" + p.Go.String()
	case p.GoProxy != nil:
		return "goproxy:" + p.GoProxy.String()
	case p.Cargo != nil:
		return "cargo:" + p.Cargo.String()
	}
	return p.URL
}

// Unlocked is the error of a pin or source whose version the lock does not have. An asset
// that uses it can be planned, but not built.
type Unlocked struct{ text string }

func (u *Unlocked) Error() string { return u.text }

// Pin returns the value at a path like "assets.kernel.version". Any string of an entry
// is a pin, except its description and notes. Along with an error of type Unlocked it
// returns the value that versions.yaml has, if any.
func (f *File) Pin(path string) (string, error) {
	_, declared := f.pins[path]
	for at, e := range f.lock {
		name, below := strings.CutPrefix(path, at+".")
		if !below || name != e.Pin && (declared || !e.hasPin(name)) {
			continue
		}
		version, err := f.version(at, e)
		if name == e.Pin {
			return version, err
		}
		value, known := e.Versions[version].Pins[name]
		if known && value == "" {
			err = &Unlocked{fmt.Sprintf("%s: the %s of %s %s is not known yet; where its repository answers, `pipelines bump %s %s` looks it up",
				LockFile, name, at, version, at, version)}
		}
		if known || err != nil {
			return value, err
		}
	}
	if declared {
		return f.text(path, f.pins[path])
	}
	return "", fmt.Errorf("%s has no pin %q%s", f.Path, path, cmp.Or(nearest.Hint(path, f.Pins()), "; add it, or use another path"))
}

// version returns the version of an entry. The error is of type Unlocked if
// versions.yaml has none, or one that the lock does not know.
func (f *File) version(at string, e entry) (version string, err error) {
	path := at + "." + e.Pin
	node := f.pins[path]
	if node == nil && e.Own {
		return e.newest(), nil
	}
	if node == nil {
		return "", &Unlocked{fmt.Sprintf("%s has no pin %q, which the build needs; add it", f.Path, path)}
	}
	if version, err = f.text(path, node); err != nil {
		return "", err
	}
	if _, known := e.Versions[version]; !known {
		return version, &Unlocked{fmt.Sprintf("%s:%d: %s is %q, which %s does not lock; `pipelines bump %s %s` adds it",
			f.Path, node.Line, path, version, LockFile, cmp.Or(e.With, at), version)}
	}
	return version, nil
}

// VersionPin returns the path of the pin that decides the version of a source.
func (f *File) VersionPin(source string) string {
	at := source[:max(strings.LastIndexByte(source, '.'), 0)]
	return at + "." + f.lock[at].Pin
}

// Source returns the source at the path of an entry and a name below its sources in the
// lock: "assets.kernel.linux" is the source "linux" of "assets.kernel". It has no places
// along with an error of type Unlocked, and if the lock says that the version has no such
// source.
func (f *File) Source(path string) (Source, error) {
	dot := max(strings.LastIndexByte(path, '.'), 0)
	at, name := path[:dot], strings.TrimPrefix(path[dot:], ".")
	e := f.lock[at]
	if !slices.Contains(e.sources(), name) {
		return Source{}, fmt.Errorf("%s has no source %q%s", LockFile, path, cmp.Or(nearest.Hint(path, f.Sources()), "; add it there"))
	}
	version, err := f.version(at, e)
	if err != nil {
		return Source{Name: name}, err
	}
	places, ok := e.Versions[version].Sources[name]
	if !ok {
		return Source{}, fmt.Errorf("%s has no source %q for the version %q; add it there", LockFile, path, version)
	}
	return Source{Name: name, Places: slices.Clone(places)}, nil
}

// License returns the SPDX expression of a source, "" if the lock has none.
func (f *File) License(source string) string {
	return f.lock[source[:max(strings.LastIndexByte(source, '.'), 0)]].License
}

// Pins returns the paths of all pins of versions.yaml, sorted.
func (f *File) Pins() []string { return slices.Sorted(maps.Keys(f.pins)) }

// Sources returns the paths of all sources of the lock, sorted.
func (f *File) Sources() []string {
	var paths []string
	for at, e := range f.lock {
		for _, name := range e.sources() {
			paths = append(paths, at+"."+name)
		}
	}
	slices.Sort(paths)
	return paths
}
