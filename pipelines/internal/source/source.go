// Package source fetches the sources of a build onto this machine. A source has
// several places that are declared equivalent. A file from any of them is checked against
// its declared hash and kept under that hash in a local cache. A place that does not
// answer is skipped; one that serves other bytes than declared is an error.
//
// Package web does HTTP. Git and the go command do what only they can: check the objects
// of a commit, and resolve modules.
package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/cargo"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// LocalPlace is the name of the place in results for a path of Fetcher.Local.
const LocalPlace = "local"

// Fetcher fetches sources into a cache that several processes may share.
type Fetcher struct {
	// Dir is the folder of the cache, which is created when needed.
	Dir string
	// Debian looks up files in the index of a Debian archive; nil for none.
	Debian Index
	// Registry is a cache that machines share; nil for none. It is asked before any
	// place if the local caches lack a source.
	Registry Registry
	// Registries reads the places that are in registries; nil for none.
	Registries *oci.Client
	// Offline allows only the caches: this one, Go's module cache and Registry.
	Offline bool
	// Place is the name of the only place to take sources from, "" for any.
	Place string
	// Local maps names of sources to files, or clones of a repository, that are
	// used instead of a place.
	Local map[string]string

	// Tree has the locks that places name by their paths: a Cargo.lock or go.sum.
	Tree fs.FS
	// Cargo is the configuration that says where crates are.
	Cargo cargo.Config
	// ModCache is Go's module cache; "" is the user's.
	ModCache string

	// Report shows waits for locks and servers.
	Report *progress.Reporter
	// Pace replaces defaults where its fields are not 0.
	Pace web.Pace
}

// Index is a signed index of a Debian archive.
type Index interface {
	// Source returns the file of a source package at a version.
	Source(ctx context.Context, name, version, suite, file string) (debian.Archive, error)
	// Refresh fetches the index of a suite, so that the others know what is there today.
	Refresh(ctx context.Context, suite string) error
	// Versions returns the versions of a source package, in ascending order, and Files the
	// files of one.
	Versions(ctx context.Context, name, suite string) ([]string, error)
	Files(ctx context.Context, name, version, suite string) ([]debian.Archive, error)
}

// Registry keeps the files of sources by their declared hashes, "sha256:<hex>"
// or "h1:<base64>".
type Registry interface {
	// PullSource writes the file to path, which appears when it is complete, and
	// resumes an earlier call. The error is store.ErrNotFound if the registry does not
	// have the file or cannot serve it.
	PullSource(ctx context.Context, hash, path string, stage *progress.Stage) error
}

// Origin is where the file of a source came from in this fetch.
type Origin string

// Where the file of a source can come from.
const (
	FromCache    Origin = "cache"
	FromRegistry Origin = "registry"
	FromPlace    Origin = "place"
	FromFile     Origin = "file" // of Fetcher.Local
)

// Fetched is a source on this machine.
type Fetched struct {
	Name string `json:"source"`
	// Place is the name of the place that declares the file.
	Place string `json:"place"`
	From  Origin `json:"from"`
	// Path is the file, not to be changed: in the cache, in Go's module cache, or the
	// one of Fetcher.Local.
	Path string `json:"path"`
	// SHA256 is the hash of the file, in lower-case hex, Size its length in bytes.
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// Fetch returns a source, from the caches or the first of its places that answers. The
// stage shows the progress of a download and any problems on the way.
func (f *Fetcher) Fetch(ctx context.Context, s versions.Source, stage *progress.Stage) (Fetched, error) {
	return f.fetch(ctx, &task{Fetcher: f, source: s, stage: stage})
}

func (f *Fetcher) fetch(ctx context.Context, t *task) (Fetched, error) {
	s := t.source
	if path, ok := f.Local[s.Name]; ok {
		return t.local(ctx, path)
	}
	places, err := f.places(s)
	if err != nil {
		return Fetched{}, err
	}
	// Look for the files of all places in the caches before asking any place.
	for _, look := range []func(context.Context, versions.Place) (Fetched, error){t.cached, t.inModCache, t.inRepository, t.pulled} {
		for _, place := range places {
			if fetched, err := look(ctx, place); !isUnavailable(err) {
				return fetched, err
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		return Fetched{}, context.Cause(ctx)
	case f.Offline:
		return Fetched{}, t.missing(places)
	}
	return t.first(ctx, places)
}

type task struct {
	*Fetcher
	source versions.Source
	stage  *progress.Stage
	// learning is true if no hash is declared because it is being looked for.
	learning bool
	// readsOnce says that the caller hashes a file of the cache.
	readsOnce bool
}

func (t *task) note(text string) { t.stage.Note(t.source.Name + ": " + text) }

// unavailable is the error of a cache or a place that does not have the file: the next
// one is tried. Every other error ends the fetch.
type unavailable struct{ error }

func (u unavailable) Unwrap() error { return u.error }

func isUnavailable(err error) bool { return errors.As(err, new(unavailable)) }

var errNotCached = unavailable{errors.New("it is not in the cache")}

func (f *Fetcher) places(s versions.Source) ([]versions.Place, error) {
	if f.Place == "" {
		return s.Places, nil
	}
	names := make([]string, len(s.Places))
	for i, place := range s.Places {
		if place.Name == f.Place {
			return s.Places[i : i+1], nil
		}
		names[i] = place.Name
	}
	return nil, fmt.Errorf("source %q has no place %q%s; it has %s",
		s.Name, f.Place, nearest.Hint(f.Place, names), strings.Join(names, ", "))
}

// first takes the source from the first place that answers.
func (t *task) first(ctx context.Context, places []versions.Place) (Fetched, error) {
	var failed []error
	remedy := "give its file with"
	for i, place := range places {
		fetched, err := t.from(ctx, place)
		switch {
		case err == nil:
			return fetched, nil
		case ctx.Err() != nil:
			return Fetched{}, context.Cause(ctx)
		case !isUnavailable(err):
			return Fetched{}, fmt.Errorf("place %q (line %d): %w", place.Name, place.Line, err)
		case place.Git != nil:
			remedy = "clone the repository where it can be reached, and give the folder with"
		}
		failed = append(failed, fmt.Errorf("  %s: %w", place.Name, err))
		if i+1 < len(places) {
			t.note(fmt.Sprintf("place %q: %v; trying %q", place.Name, err, places[i+1].Name))
		}
	}
	return Fetched{}, fmt.Errorf("no place of source %q has the file:\n%w\n%s --source %s=PATH",
		t.source.Name, errors.Join(failed...), remedy, t.source.Name)
}

func (t *task) from(ctx context.Context, place versions.Place) (Fetched, error) {
	switch {
	case place.Go != nil:
		return t.goModule(ctx, place)
	case place.Git != nil:
		return t.git(ctx, place, place.Git.URL)
	case place.OCI != nil:
		return t.layer(ctx, place)
	case place.SHA256 == "":
		return Fetched{}, unavailable{errors.New("its sha256 is unknown; add that of a file that you trust")}
	case place.GoProxy != nil:
		return t.goProxy(ctx, place)
	case place.Cargo != nil:
		return t.crates(ctx, place)
	case place.Debian != nil:
		archive, what, err := t.indexed(ctx, place)
		if err != nil {
			return Fetched{}, err
		}
		return t.fromURL(ctx, place, archive.URL, what)
	}
	return t.fromURL(ctx, place, place.URL, web.Shown(place.URL))
}

// indexed returns the entry of the signed index for a place, and its name in messages.
func (t *task) indexed(ctx context.Context, place versions.Place) (archive debian.Archive, what string, err error) {
	if t.Debian == nil {
		return archive, "", unavailable{errors.New("there is no Debian index here")}
	}
	archive, err = t.Debian.Source(ctx, place.Debian.Package, place.Debian.Version, place.Debian.Suite, place.Debian.File)
	if err != nil {
		return archive, "", unavailable{err}
	}
	what = fmt.Sprintf("%s of the Debian package %s %s", place.Debian.File, place.Debian.Package, place.Debian.Version)
	if archive.SHA256 != place.SHA256 {
		err = t.wrong("the index entry for "+what, "sha256 "+archive.SHA256, "sha256 "+place.SHA256)
	}
	return archive, what, err
}

// missing is the error of a source that no cache has.
func (t *task) missing(places []versions.Place) error {
	hashes := make([]string, len(places))
	for i, place := range places {
		hashes[i] = place.Hash()
	}
	where, remedy := "in the cache "+t.Dir, ""
	if t.Registry != nil {
		where = "in the caches (" + t.Dir + " and the registry)"
		remedy = "have a machine that is online put it into the registry with `source push`, "
	}
	return fmt.Errorf("source %q is not %s, and nothing is fetched offline: missing %s; "+
		"fetch it once online with `source fetch`, %sor give its file with --source %s=PATH",
		t.source.Name, where, strings.Join(hashes, " or "), remedy, t.source.Name)
}

// Mismatch is the error of a file that differs from its declared hash.
type Mismatch struct {
	// What names the file, and Source the source.
	What, Source string
	// Got and Want are the actual and the declared hash: "sha256 ...".
	Got, Want string
}

// Error also says what to do.
func (m *Mismatch) Error() string {
	return fmt.Sprintf("%s has %s and %s is declared: if the change is intended, correct the declared hash; "+
		"otherwise do not trust the place: take another with --place NAME, or give the file with --source %s=PATH",
		m.What, m.Got, m.Want, m.Source)
}

func (t *task) wrong(what, got, want string) error {
	return &Mismatch{What: what, Source: t.source.Name, Got: got, Want: want}
}
