package bump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

type move struct {
	*Bumper
	entry    versions.Entry
	from, to version
}

// derived is the place of the new version, what its hash was checked against, and the file
// in the source cache.
type derived struct {
	place         versions.Place
	checked, path string
}

// MovedTagError is the error of a tag that is another commit than the lock says.
type MovedTagError struct{ Tag, URL, Locked, Today string }

func (m *MovedTagError) Error() string {
	return fmt.Sprintf("the tag %s of %s is commit %s today, and %s has %s: look at both, and correct the commit there if the change is intended",
		m.Tag, m.URL, m.Today, versions.LockFile, m.Locked)
}

// derive returns the place of the new version that is like one of the old version.
func (m *move) derive(ctx context.Context, name string, old versions.Place) (d derived, err error) {
	old.SHA256, old.Size, old.Unchecked = "", 0, false
	d.place = old
	switch {
	case old.Lock() != "":
		err = fmt.Errorf("it is what %s of the tree names: update that, then the hash here", old.Lock())
	case old.Debian != nil:
		return m.deriveDebian(ctx, name, old)
	case old.Git != nil:
		return m.deriveGit(ctx, name, old)
	case old.Go != nil:
		d.place.Go, err = m.deriveModule(old.Go)
	case old.GoProxy != nil:
		d.place.GoProxy, err = m.deriveModule(old.GoProxy)
	case old.Cargo != nil:
		version, ok := rewrite(old.Cargo.Version, m.from, m.to)
		if !ok {
			err = errFixed
		}
		d.place.Cargo = &versions.Cargo{Crate: old.Cargo.Crate, Version: version}
	default:
		return m.deriveURL(ctx, name, old)
	}
	if err != nil {
		return d, err
	}
	return m.learn(ctx, name, d.place)
}

func (m *move) deriveModule(old *versions.GoModule) (*versions.GoModule, error) {
	text, ok := rewrite(old.Version, m.from, m.to)
	if !ok {
		return nil, errFixed
	}
	return &versions.GoModule{Module: old.Module, Version: text}, nil
}

// deriveDebian takes the newest revision of a package, from the suite of the place or from
// another that the lock names. The hash is that of the signed index, which may list a file
// that is gone.
func (m *move) deriveDebian(ctx context.Context, name string, old versions.Place) (d derived, err error) {
	offers, err := m.debianOffers(ctx, old.Debian, m.from)
	for _, o := range offers {
		if o.version.compare(m.to) != 0 {
			continue
		}
		if d, err = m.packaged(ctx, name, *o.debian, old); err == nil || fatal(ctx, err) {
			return d, err
		}
	}
	return d, cmp.Or(err, fmt.Errorf("no suite of Debian that the lock names has %s %s", old.Debian.Package, m.to.spelled(".")))
}

// packaged returns the place of a package that is like an old one.
func (m *move) packaged(ctx context.Context, name string, pkg versions.Debian, old versions.Place) (d derived, err error) {
	files, err := m.Sources.Debian.Files(ctx, pkg.Package, pkg.Version, pkg.Suite)
	if err != nil {
		return d, err
	}
	i := slices.IndexFunc(files, func(a debian.Archive) bool { return sameRole(a.Name, pkg.Version, old.Debian) })
	if i < 0 {
		return d, fmt.Errorf("the Debian package %s %s has no file like %s", pkg.Package, pkg.Version, old.Debian.File)
	}
	pkg.File = files[i].Name
	d.place = versions.Place{Name: old.Name, Debian: &pkg, SHA256: files[i].SHA256, Size: files[i].Size, Line: old.Line}
	d, err = m.learn(ctx, name, d.place)
	d.checked = "Debian's signed index"
	return d, err
}

// sameRole reports whether a file of a package at a version is what another file is in the
// package of the old version: the archive of upstream, or Debian's changes.
func sameRole(file, version string, old *versions.Debian) bool {
	role := func(file, version string) string {
		whole := version[strings.IndexByte(version, ':')+1:]
		inFiles, _ := upstreamOf(version)
		for _, prefix := range []string{whole, inFiles} {
			if rest, ok := strings.CutPrefix(file, old.Package+"_"+prefix+"."); ok {
				role, _, _ := strings.Cut(rest, ".tar.")
				return role
			}
		}
		return ""
	}
	r := role(file, version)
	return r != "" && r == role(old.File, old.Version) && strings.Contains(file, ".tar.") && strings.HasSuffix(file, ".asc") == strings.HasSuffix(old.File, ".asc")
}

// deriveGit takes the commit of the tag, or of the submodule that the place has the
// commit of.
func (m *move) deriveGit(ctx context.Context, name string, old versions.Place) (d derived, err error) {
	d.place = old
	git := *old.Git
	d.place.Git = &git
	tags, err := m.tags(ctx, git.URL)
	if err != nil {
		return d, err
	}
	tag, _ := rewrite(cmp.Or(git.Ref, m.from.String()), m.from, m.to)
	locked, follows := tags[m.from.String()]
	switch {
	case git.Commit != "" && follows && locked != git.Commit:
		return d, &MovedTagError{m.from.String(), git.URL, git.Commit, locked}
	case git.Commit != "" && !follows:
		git.Commit, err = m.submodule(ctx, git.Commit)
	case tags[tag] == "":
		err = fmt.Errorf("%s has no tag %s", git.URL, tag)
	default:
		git.Commit, git.Ref = tags[tag], ""
	}
	if err != nil {
		return d, err
	}
	return m.learn(ctx, name, d.place)
}

// submodule returns the commit that a submodule has in the new version, of the one that
// has a given commit in the old version.
func (m *move) submodule(ctx context.Context, commit string) (string, error) {
	for _, url := range m.repositories() {
		tags, err := m.tags(ctx, url)
		from, to := tags[m.from.String()], tags[m.to.String()]
		if err != nil || from == "" || to == "" {
			continue // It does not answer, or is the repository of another project.
		}
		old, err := m.submodules(ctx, url, from)
		if err != nil {
			return "", err
		}
		links, err := m.submodules(ctx, url, to)
		if err != nil {
			return "", err
		}
		for _, path := range slices.Sorted(maps.Keys(old)) {
			if old[path] == commit && links[path] != "" {
				return links[path], nil
			}
		}
	}
	return "", fmt.Errorf("%w, and commit %s is not that of a submodule of the version: write the place of the new version by hand", errFixed, commit)
}

// repositories returns the addresses of the repositories among the places of the entry.
func (m *move) repositories() (urls []string) {
	for _, name := range slices.Sorted(maps.Keys(m.entry.Sources)) {
		for _, place := range m.entry.Sources[name] {
			if archive := githubArchive.FindStringSubmatch(place.URL); archive != nil {
				urls = append(urls, archive[1])
			} else if place.Git != nil {
				urls = append(urls, place.Git.URL)
			}
		}
	}
	return urls
}

func (m *move) submodules(ctx context.Context, url, commit string) (map[string]string, error) {
	return ask(m.Bumper, "submodules "+url+" "+commit, func() (map[string]string, error) { return m.Sources.Submodules(ctx, url, commit) })
}

// deriveURL writes the new version into an address, or the commit of a submodule.
func (m *move) deriveURL(ctx context.Context, name string, old versions.Place) (d derived, err error) {
	d.place = old
	url, ok := rewrite(old.URL, m.from, m.to)
	if commit := commitHex.FindString(old.URL); !ok && commit != "" {
		at, err := m.submodule(ctx, commit)
		if err != nil {
			return d, err
		}
		url, ok = strings.ReplaceAll(old.URL, commit, at), true
	}
	if !ok {
		return d, errFixed
	}
	d.place.URL = url
	p, err := m.published(ctx, url)
	d.place.SHA256 = p.sha256
	switch {
	case err != nil:
		return d, err
	case p.sha256 != "" && p.size > 0 && len(m.entry.Signers) == 0:
		d.place.Size, d.checked = p.size, p.where
		return d, nil // GitHub made the hash of the file that it has: downloading it would show no more.
	}
	if d, err = m.learn(ctx, name, d.place); err != nil {
		return d, err
	}
	d.checked, err = m.checkedBy(ctx, url, d.path, p)
	return d, err
}

// checkedBy returns what a file of upstream was checked against, "" for nothing: the hash and
// the signature that upstream publishes. Where the lock names signers, one of them must have signed
// the file or its hash.
func (m *move) checkedBy(ctx context.Context, url, path string, p publication) (string, error) {
	by, err := m.signature(ctx, url, path)
	switch {
	case err == nil:
		return strings.TrimPrefix(p.where+" and its signature by "+by, " and "), nil
	case errors.As(err, new(*SignatureError)):
		return "", fmt.Errorf("%s: %w", url, err)
	case len(m.entry.Signers) > 0 && !p.signed:
		return "", fmt.Errorf("%s: neither it nor a list of hashes is signed by %s, as the lock demands (%w); write the place by hand if upstream does not sign this version",
			url, strings.Join(m.entry.Signers, " or "), err)
	case p.where == "" && source.IsPage(path):
		return "", fmt.Errorf("%s: the server answered with a web page in place of the file", url)
	}
	return p.where, nil
}

// learn fetches the file of a place, and completes the place with its hash.
func (m *move) learn(ctx context.Context, name string, place versions.Place) (derived, error) {
	stage := m.Report.Stage(m.entry.Path+"."+name, "source")
	learned, err := m.Sources.Learn(ctx, name, place, stage)
	stage.End(err, place.Name)
	if place.Go != nil {
		place.Go.Sum = learned.Sum
	} else {
		place.SHA256, place.Size = learned.SHA256, learned.Size
	}
	if err == nil && place.Hash() == "sha256:" {
		err = errors.New("it has no hash")
	}
	return derived{place, learned.Checked, learned.Path}, err
}
