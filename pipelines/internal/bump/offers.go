package bump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

type offer struct {
	version version
	// place is the name of the place that has it.
	place string
	// debian is the package of a Debian place, without the name of a file.
	debian *versions.Debian
}

// errFixed is the error of a place that names no version, such as a commit: it does not
// show which versions there are.
var errFixed = errors.New("it names no version")

// surveyed returns the versions that the places of an entry have, without pre-releases
// unless the entry has one, and the places that did not answer.
func (b *Bumper) surveyed(ctx context.Context, e versions.Entry, current version) (all []offer, silent []Silent, err error) {
	silent = []Silent{}
	for _, name := range slices.Sorted(maps.Keys(e.Sources)) {
		for _, place := range e.Sources[name] {
			offers, err := b.offers(ctx, place, current)
			if ctx.Err() != nil {
				return nil, nil, context.Cause(ctx)
			}
			if err != nil && !errors.Is(err, errFixed) {
				silent = append(silent, Silent{name, place.Name, err.Error()})
			}
			for _, o := range offers {
				if o.version.pre == "" || current.pre != "" {
					o.place = place.Name
					all = append(all, o)
				}
			}
		}
	}
	return all, silent, nil
}

var (
	githubFile    = regexp.MustCompile(`^https://github\.com/([^/]+/[^/]+)/releases/download/([^/]+)/([^/]+)$`)
	githubArchive = regexp.MustCompile(`^(https://github\.com/[^/]+/[^/]+)/archive/refs/tags/(.+)\.(?:tar\.gz|zip)$`)
	fileName      = regexp.MustCompile(`[A-Za-z0-9][A-Za-z0-9._+~-]*`)
)

func (b *Bumper) offers(ctx context.Context, place versions.Place, current version) ([]offer, error) {
	switch {
	case place.Lock() != "":
		return nil, errFixed
	case place.Debian != nil:
		return b.debianOffers(ctx, place.Debian, current)
	case place.Git != nil:
		tags, err := b.tags(ctx, place.Git.URL)
		if _, follows := tags[current.String()]; !follows && err == nil {
			return nil, errFixed
		}
		return offersOf(slices.Collect(maps.Keys(tags)), reader(current.String(), current)), err
	case place.Go != nil:
		return b.moduleOffers(ctx, place.Go, current)
	case place.GoProxy != nil:
		return b.moduleOffers(ctx, place.GoProxy, current)
	case place.Cargo != nil:
		list, err := ask(b, "crate "+place.Cargo.Crate, func() ([]string, error) { return b.Sources.Crates(ctx, place.Cargo.Crate) })
		return offersOf(list, reader(place.Cargo.Version, current)), err
	}
	return b.addressOffers(ctx, place.URL, current)
}

// addressOffers asks GitHub for its releases or tags, and another server for the list of
// the folder.
func (b *Bumper) addressOffers(ctx context.Context, url string, current version) ([]offer, error) {
	if _, _, found := current.find(url); !found {
		return nil, errFixed
	}
	if m := githubFile.FindStringSubmatch(url); m != nil {
		releases, err := b.releases(ctx, m[1])
		var tags []string
		for _, r := range releases {
			if !r.Draft && (!r.Prerelease || current.pre != "") {
				tags = append(tags, r.Tag)
			}
		}
		return offersOf(tags, reader(m[2], current)), err
	}
	if m := githubArchive.FindStringSubmatch(url); m != nil {
		tags, err := b.tags(ctx, m[1])
		return offersOf(slices.Collect(maps.Keys(tags)), reader(m[2], current)), err
	}
	slash := strings.LastIndexByte(url, '/') + 1
	if _, _, found := current.find(url[slash:]); !found {
		return nil, errFixed
	}
	if _, _, found := current.find(url[:slash]); found {
		return nil, fmt.Errorf("%s is the folder of one version, so it does not list others", url[:slash])
	}
	list, err := ask(b, "list "+url[:slash], func() (string, error) { return b.Sources.Text(ctx, url[:slash]) })
	return offersOf(fileName.FindAllString(list, -1), reader(url[slash:], current)), err
}

// offersOf returns the versions in names of files or tags.
func offersOf(names []string, read func(string) (version, bool)) (list []offer) {
	seen := map[string]bool{}
	for _, name := range names {
		if v, ok := read(name); ok && !seen[v.String()] {
			seen[v.String()] = true
			list = append(list, offer{version: v})
		}
	}
	return list
}

func (b *Bumper) moduleOffers(ctx context.Context, m *versions.GoModule, current version) ([]offer, error) {
	list, err := ask(b, "module "+m.Module, func() ([]string, error) { return b.Sources.Modules(ctx, m.Module) })
	return offersOf(list, reader(m.Version, current)), err
}

// debianOffers asks the suite of a place, then the other suites that the lock names: an
// older suite stays with its version.
func (b *Bumper) debianOffers(ctx context.Context, d *versions.Debian, current version) (list []offer, err error) {
	if b.Sources.Debian == nil {
		return nil, errors.New("there is no Debian index here")
	}
	for _, suite := range b.suites(d.Suite) {
		found, suiteErr := ask(b, "debian "+d.Package+" "+suite, func() ([]string, error) {
			if err := b.Sources.Debian.Refresh(ctx, suite); err != nil {
				return nil, err
			}
			return b.Sources.Debian.Versions(ctx, d.Package, suite)
		})
		if suite == d.Suite {
			err = suiteErr
		}
		for _, text := range slices.Backward(found) { // The newest revision comes first.
			_, plain := upstreamOf(text)
			if v, ok := parse(plain); ok && v.before == "" {
				list = append(list, offer{version: v.like(current), debian: &versions.Debian{Package: d.Package, Version: text, Suite: suite}})
			}
		}
	}
	return list, err
}

// suites returns those that the lock names, with one in front.
func (b *Bumper) suites(first string) []string {
	others := map[string]bool{}
	for _, e := range b.pins.Entries() {
		for _, places := range e.Sources {
			for _, place := range places {
				if place.Debian != nil && place.Debian.Suite != first {
					others[place.Debian.Suite] = true
				}
			}
		}
	}
	return append([]string{first}, slices.Sorted(maps.Keys(others))...)
}

func (b *Bumper) tags(ctx context.Context, url string) (map[string]string, error) {
	return ask(b, "tags "+url, func() (map[string]string, error) { return b.Sources.Tags(ctx, url) })
}

func (b *Bumper) releases(ctx context.Context, repository string) ([]github.Release, error) {
	return ask(b, "releases "+repository, func() ([]github.Release, error) {
		client, err := b.client(repository)
		if err != nil {
			return nil, err
		}
		return client.Releases(ctx)
	})
}

// client returns a client of a repository that soon gives up: there may be another place.
func (b *Bumper) client(repository string) (*github.Client, error) {
	o := b.GitHub
	o.Repository, o.Report = repository, b.Report
	o.Pace.Tries = cmp.Or(o.Pace.Tries, 2)
	return github.New(o)
}
