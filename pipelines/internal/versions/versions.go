// Package versions reads versions.yaml: the pins of everything that a build
// takes from outside, and for each download its hash and the places it can
// come from. The file has the shape of Kata Containers' own versions.yaml,
// which loads too; see Load for what is refused.
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

// Place is one place that a source can come from. Exactly one of URL, Debian
// and Go is set.
type Place struct {
	Name string
	// URL is an http or https address.
	URL    string
	Debian *Debian
	Go     *GoModule
	// SHA256 is that of the downloaded file, in 64 lower-case hex digits. It
	// is empty for a Go module, which has a sum of its own.
	SHA256 string
	// Size is that of the downloaded file in bytes, 0 where unknown.
	Size int64
	// Line is where the place begins in the file, counted from 1.
	Line int
}

// Debian is one file of a Debian source package.
type Debian struct {
	// Package is the name of the source package, Version the Debian version
	// with its epoch: "qemu", "1:10.2.2+ds-1".
	Package, Version string
	// Suite is the release that holds the version, "trixie-backports", and
	// File the name of the file in the package, "qemu_10.2.2+ds.orig.tar.xz".
	Suite, File string
}

// GoModule is a module at a version; Sum is the one of its tree in a go.sum
// file, "h1:" and a base64 SHA-256.
type GoModule struct {
	Module, Version, Sum string
}

// Hash returns "sha256:" and the hex SHA-256 of the file that the place holds,
// or for a Go module its go.sum sum, "h1:...".
func (p Place) Hash() string {
	if p.Go != nil {
		return p.Go.Sum
	}
	return "sha256:" + p.SHA256
}

// Warning is something in a file that is no error but worth saying.
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
