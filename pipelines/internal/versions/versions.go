// Package versions reads versions.yaml: the pins of everything that a build takes
// from outside, and for each download its hash and the places it can come from.
// The file has the shape of Kata Containers' own versions.yaml, which loads too.
//
// The loader works on YAML nodes instead of Go types, because the entries have
// names and depths of the author's choice, and because every problem is reported
// at once with its line and column. See Load for what it refuses.
package versions

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// File is a versions.yaml whose every key and value passed the checks of Load.
type File struct {
	// Path is the path given to Load.
	Path string

	pins    map[string]string
	sources map[string]Source
}

// Source is something to download: a name, and the places that hold it.
type Source struct {
	// Name is the last part of the path given to File.Source: "linux".
	Name string
	// Places are declared equivalent and tried in order. There is at least
	// one, and their names are unique.
	Places []Place
}

// Place is one place that a source can come from. Exactly one of URL, Debian,
// Git, Go and GoProxy is set.
type Place struct {
	Name string `yaml:"name"`
	// URL is an http or https address.
	URL     string    `yaml:"url,omitempty"`
	Debian  *Debian   `yaml:"debian,omitempty"`
	Git     *Git      `yaml:"git,omitempty"`
	Go      *GoModule `yaml:"go,omitempty"`
	GoProxy *GoProxy  `yaml:"goproxy,omitempty"`
	// SHA256 is that of the file, in 64 lower-case hex digits. It is empty for a
	// Go module, which has a sum of its own, and may be for Git.
	SHA256 string `yaml:"sha256,omitempty"`
	// Size is that of the downloaded file in bytes, 0 where unknown.
	Size int64 `yaml:"size,omitempty"`
	// Line is where the place begins in the file, counted from 1.
	Line int
}

// Debian is one file of a Debian source package.
type Debian struct {
	// Package is the name of the source package, Version the Debian version
	// with its epoch: "qemu", "1:10.2.2+ds-1".
	Package string `yaml:"package"`
	Version string `yaml:"version"`
	// Suite is the release that holds the version, "trixie-backports", and
	// File the name of the file in the package, "qemu_10.2.2+ds.orig.tar.xz".
	Suite string `yaml:"suite"`
	File  string `yaml:"file"`
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

// GoProxy is a module with everything in its go.sum. The file is an uncompressed
// tar of the module proxy's files for them, below a folder "proxy", for
// GOPROXY=file://.
type GoProxy struct {
	Module  string `yaml:"module"`
	Version string `yaml:"version"`
}

// GoModule is a module at a version; Sum is the one of its tree in a go.sum
// file, "h1:" and a base64 SHA-256.
type GoModule struct {
	Module  string `yaml:"module"`
	Version string `yaml:"version"`
	Sum     string `yaml:"sum"`
}

// Hash returns "sha256:" and the hex SHA-256 of the file that the place holds,
// for a Go module its go.sum sum, "h1:...", and for git without a SHA-256 "git:"
// and the commit or ref, with a colon and the path where there is one.
func (p Place) Hash() string {
	switch {
	case p.Go != nil:
		return p.Go.Sum
	case p.Git == nil || p.SHA256 != "":
		return "sha256:" + p.SHA256
	case p.Git.Path != "":
		return "git:" + p.Git.Commit + p.Git.Ref + ":" + p.Git.Path
	}
	return "git:" + p.Git.Commit + p.Git.Ref
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
	case p.Git != nil && p.Git.Path != "":
		return fmt.Sprintf("git:%s@%s:%s", p.Git.URL, p.Git.Commit+p.Git.Ref, p.Git.Path)
	case p.Git != nil:
		return fmt.Sprintf("git:%s@%s", p.Git.URL, p.Git.Commit+p.Git.Ref)
	case p.Go != nil:
		return fmt.Sprintf("go:%s@%s", p.Go.Module, p.Go.Version)
	case p.GoProxy != nil:
		return fmt.Sprintf("goproxy:%s@%s", p.GoProxy.Module, p.GoProxy.Version)
	}
	return p.URL
}

// Warning is a problem in a file that is not an error.
type Warning struct {
	File string
	// Line counts from 1.
	Line int
	Text string
}

// String returns "file:line: text".
func (w Warning) String() string { return fmt.Sprintf("%s:%d: %s", w.File, w.Line, w.Text) }

// Pin returns the value at a path like "assets.kernel.version". Any string of
// an entry is a pin, its description and notes excepted.
func (f *File) Pin(path string) (string, error) {
	value, ok := f.pins[path]
	if !ok {
		hint := nearest.Hint(path, f.Pins())
		if hint == "" {
			hint = "; add it, or use the path of another"
		}
		return "", fmt.Errorf("%s has no pin %q%s", f.Path, path, hint)
	}
	return value, nil
}

// Source returns the source at the path of an entry and a name below its
// sources: "assets.kernel.linux" is the source "linux" of "assets.kernel".
func (f *File) Source(path string) (Source, error) {
	source, ok := f.sources[path]
	if !ok {
		hint := nearest.Hint(path, f.Sources())
		if hint == "" {
			hint = "; add it below sources: of the entry"
		}
		return Source{}, fmt.Errorf("%s has no source %q%s", f.Path, path, hint)
	}
	source.Places = slices.Clone(source.Places)
	return source, nil
}

// Pins returns the paths of all pins, sorted.
func (f *File) Pins() []string { return slices.Sorted(maps.Keys(f.pins)) }

// Sources returns the paths of all sources, sorted.
func (f *File) Sources() []string { return slices.Sorted(maps.Keys(f.sources)) }
