// Package bump moves pins to newer versions: it asks the places of a pin which versions
// they have, takes the hashes of the new version from them, and writes both into
// versions.yaml and its lock.
//
// The one idea: the places of the locked version are the pattern for those of the next.
// The old version, however a place spells it, is replaced by the new one, so no project
// needs code or rules of its own. A place that does not answer, or has no hash for the new
// version, is left out of the new block; no hash is ever made up, and a source without any
// place refuses the version.
//
// What is published to check a hash against is checked: see Place.Checked. The files are
// edited at the positions of YAML nodes rather than encoded, which would lose comments.
// Package source knows how each kind of place is asked.
package bump

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Bumper moves the pins of a checkout.
type Bumper struct {
	// Path is the versions.yaml, and Lock its lock: both are read and written.
	Path, Lock string
	// Sources asks places and fetches from them.
	Sources *source.Fetcher
	// GitHub is the client's address and token; its repository is that of a place.
	GitHub github.Options
	// Keyserver is the beginning of the address of an OpenPGP key, which its fingerprint
	// completes.
	Keyserver string
	Report    *progress.Reporter

	pins     *versions.File
	lockData []byte
	// asked has the answers of places, which several entries share.
	asked map[string]answer
}

type answer struct {
	value any
	err   error
}

// ask asks a question once.
func ask[T any](b *Bumper, question string, place func() (T, error)) (T, error) {
	if known, ok := b.asked[question]; ok {
		value, _ := known.value.(T)
		return value, known.err
	}
	value, err := place()
	if b.asked == nil {
		b.asked = map[string]answer{}
	}
	b.asked[question] = answer{value, err}
	return value, err
}

// deaf reports whether places were asked and none answered.
func (b *Bumper) deaf() bool {
	for _, a := range b.asked {
		if a.err == nil {
			return false
		}
	}
	return len(b.asked) > 0
}

// Silent is a place that did not list its versions, or has no file of one.
type Silent struct {
	Source string `json:"source,omitempty"`
	Place  string `json:"place"`
	Why    string `json:"why"`
}

// Status compares a pin with what its places have.
type Status struct {
	Pin     string `json:"pin"`
	Version string `json:"version"`
	// Newest is the newest version that a place has, within Series; "" if no place lists any.
	// Places are the names of those that have it.
	Newest string   `json:"newest"`
	Places []string `json:"places"`
	// Series is the series that the pin stays in, and Beyond the newest version outside.
	Series string `json:"series,omitempty"`
	Beyond string `json:"beyond,omitempty"`
	// Behind is true if `bump` would change something, and Why says what.
	Behind bool   `json:"behind"`
	Why    string `json:"why,omitempty"`
	// Silent are the places that did not list their versions.
	Silent []Silent `json:"silent"`
}

// Select returns the entries that a name selects: the path of an entry or of its pin, of
// an entry of the lock, or its last part if only one has it. "" selects all but those that
// move with another.
func (b *Bumper) Select(name string) ([]versions.Entry, error) {
	if err := b.load(); err != nil {
		return nil, err
	}
	all := b.pins.Entries()
	var names []string
	for _, match := range []func(versions.Entry) bool{
		func(e versions.Entry) bool { return name == "" && e.With == "" || e.Path == name || e.Pin == name },
		func(e versions.Entry) bool { return e.Declared == name },
		func(e versions.Entry) bool { return e.Path[strings.LastIndexByte(e.Path, '.')+1:] == name },
	} {
		var found []versions.Entry
		for _, e := range all {
			if match(e) {
				found = append(found, e)
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	for _, e := range all {
		names = append(names, e.Path)
	}
	return nil, &UnknownError{fmt.Sprintf("%s has no entry %q%s", versions.LockFile, name, nearest.Hint(name, names))}
}

// UnknownError is the error of a name that selects no entry.
type UnknownError struct{ text string }

func (u *UnknownError) Error() string { return u.text }

// Check returns the status of pins.
func (b *Bumper) Check(ctx context.Context, entries []versions.Entry) ([]Status, error) {
	list := []Status{}
	for _, e := range entries {
		s, err := b.status(ctx, e)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// status asks the places of an entry for their versions.
func (b *Bumper) status(ctx context.Context, e versions.Entry) (Status, error) {
	s := Status{Pin: e.Path, Version: e.Version, Series: e.Series, Places: []string{}, Silent: []Silent{}}
	current, ordered := parse(e.Version)
	switch {
	case e.With != "":
		s.Why = "it moves with " + e.With
		return s, nil
	case !ordered:
		s.Why = "a commit has no newer version: give one"
		return s, nil
	}
	found, silent, err := b.surveyed(ctx, e, current)
	if err != nil {
		return s, err
	}
	s.Silent = silent
	newest, beyond := current, current
	for _, o := range found {
		if o.version.compare(beyond) > 0 {
			beyond = o.version
		}
		if o.version.within(e.Series) && o.version.compare(newest) > 0 {
			newest = o.version
		}
	}
	for _, o := range found {
		if o.version.compare(newest) == 0 && !slices.Contains(s.Places, o.place) {
			s.Places = append(s.Places, o.place)
		}
	}
	if len(found) > 0 {
		s.Newest = newest.String()
	}
	if beyond.compare(newest) > 0 {
		s.Beyond = beyond.String()
	}
	switch {
	case newest.compare(current) > 0:
		s.Behind, s.Why = true, "a newer version"
	case e.Locked != e.Version:
		s.Behind, s.Why = true, versions.LockFile+" does not have the version"
	case unpinned(e):
		s.Behind, s.Why = true, "a commit or a hash is not known yet"
	case len(found) == 0 && len(silent) == 0:
		s.Why = "its places name no version: move it by hand"
	}
	return s, nil
}

// unpinned reports whether the commit of a tag, or the hash of a file, is not known.
func unpinned(e versions.Entry) bool {
	for _, value := range e.Pins {
		if value == "" {
			return true
		}
	}
	for _, places := range e.Sources {
		if slices.ContainsFunc(places, func(p versions.Place) bool {
			return p.Git != nil && p.Git.Ref != "" || p.URL != "" && p.SHA256 == ""
		}) {
			return true
		}
	}
	return false
}
