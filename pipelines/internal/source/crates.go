package source

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/cargo"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

const (
	// atOnce is how many crates are downloaded at the same time: they are small, so most
	// of the time is spent waiting for the server.
	atOnce = 24
	// maxManifest limits a Cargo.toml and a Cargo.lock, in bytes.
	maxManifest = 16 << 20
	// cratesFolder is the folder of the crates in the file of a place.
	cratesFolder = "crates/"
)

// crates downloads the crates that a Cargo.lock names, and the crate that the lock is in,
// and packs their files as they are.
func (t *task) crates(ctx context.Context, place versions.Place) (Fetched, error) {
	d := newCrateDownload(t)
	defer d.client.CloseIdleConnections()
	all, err := d.locked(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	paths, err := d.all(ctx, all)
	if err != nil {
		return Fetched{}, err
	}
	what := "the archive of " + place.Holds() + " and its crates"
	return t.made(ctx, place, what, func(file *os.File) error { return packCrates(file, paths) })
}

type crateDownload struct {
	*task
	client     *http.Client
	registries map[string]*cargo.Registry

	mu     sync.Mutex
	done   int64
	yanked []string
}

func newCrateDownload(t *task) *crateDownload {
	return &crateDownload{task: t, client: t.client(), registries: map[string]*cargo.Registry{}}
}

// indexedCrates asks the index whether it has the crate of a place, or those of its lock.
func (t *task) indexedCrates(ctx context.Context, place versions.Place) error {
	d := newCrateDownload(t)
	defer d.client.CloseIdleConnections()
	if place.Cargo.Lock == "" {
		_, err := d.published(ctx, *place.Cargo)
		return err
	}
	all, err := d.ofTree(place.Cargo.Lock)
	if err != nil {
		return err
	}
	return d.each(ctx, all, func(context.Context, cargo.Crate) error { return nil })
}

// locked returns the crates of a place.
func (d *crateDownload) locked(ctx context.Context, place versions.Place) ([]cargo.Crate, error) {
	if place.Cargo.Lock != "" {
		return d.ofTree(place.Cargo.Lock)
	}
	main, err := d.published(ctx, *place.Cargo)
	if err != nil {
		return nil, err
	}
	path, err := d.crate(ctx, main)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lock, err := lockOf(file, main)
	return append(lock.Crates, main), err
}

// CheckLock reads the lock of the tree that a place names, if any.
func (f *Fetcher) CheckLock(place versions.Place) (err error) {
	switch {
	case place.Lock() == "":
	case place.Cargo != nil:
		_, err = f.ofTree(place.Cargo.Lock)
	default:
		_, _, err = (&task{Fetcher: f}).goSums(context.Background(), place)
	}
	return err
}

func (f *Fetcher) ofTree(path string) ([]cargo.Crate, error) {
	data, err := fs.ReadFile(f.Tree, path)
	if err != nil {
		return nil, fmt.Errorf("reading the lock of crates: %w", err)
	}
	lock, err := cargo.ParseLock(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return lock.Crates, nil
}

// published finds a crate in the index of the public registry, or its mirror, which has
// its checksum.
func (d *crateDownload) published(ctx context.Context, of versions.Cargo) (cargo.Crate, error) {
	registry, err := d.registry(ctx, cargo.CratesIO)
	if err != nil {
		return cargo.Crate{}, err
	}
	list, err := registry.Versions(ctx, of.Crate)
	if err != nil {
		return cargo.Crate{}, unavailable{err}
	}
	i := slices.IndexFunc(list, func(v cargo.Version) bool { return v.Version == of.Version })
	switch {
	case len(list) == 0:
		return cargo.Crate{}, unavailable{fmt.Errorf("the registry has no version of %s", of.Crate)}
	case i < 0:
		return cargo.Crate{}, unavailable{fmt.Errorf("the registry has no %s %s; the last version published there is %s", of.Crate, of.Version, list[len(list)-1].Version)}
	case list[i].Yanked:
		return cargo.Crate{}, unavailable{fmt.Errorf("%s %s was yanked: its authors withdrew it; pin another version", of.Crate, of.Version)}
	}
	return cargo.Crate{Name: of.Crate, Version: of.Version, Source: cargo.CratesIO, SHA256: list[i].SHA256}, nil
}

// registry returns the registry that has the crates of a source. Each is asked for its
// configuration once.
func (d *crateDownload) registry(ctx context.Context, source string) (*cargo.Registry, error) {
	if known := d.registries[source]; known != nil {
		return known, nil
	}
	registry, err := d.Cargo.Open(ctx, source, d.client)
	if err != nil {
		return nil, unavailable{fmt.Errorf("opening the registry of crates: %w", err)}
	}
	d.registries[source] = registry
	return registry, nil
}

// crate downloads the file of a crate into the cache, and returns its path.
func (d *crateDownload) crate(ctx context.Context, crate cargo.Crate) (string, error) {
	registry := d.registries[crate.Source]
	fetched, err := d.download(ctx, versions.Place{SHA256: crate.SHA256}, web.Download{Client: registry, URL: registry.URL(crate)},
		fmt.Sprintf("the crate %s %s of Cargo.lock", crate.Name, crate.Version))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done += fetched.Size
	d.stage.Bytes(d.done, 0)
	return fetched.Path, err
}

// all downloads crates, and returns the paths of their files by the names of these.
func (d *crateDownload) all(ctx context.Context, crates []cargo.Crate) (map[string]string, error) {
	paths := map[string]string{}
	return paths, d.each(ctx, crates, func(ctx context.Context, crate cargo.Crate) error {
		path, err := d.crate(ctx, crate)
		d.mu.Lock()
		defer d.mu.Unlock()
		paths[crate.String()+".crate"] = path
		return err
	})
}

// each does work for all crates, many at once, and looks them up in the index.
func (d *crateDownload) each(ctx context.Context, crates []cargo.Crate, work func(context.Context, cargo.Crate) error) error {
	for _, crate := range crates {
		if _, err := d.registry(ctx, crate.Source); err != nil {
			return err
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, crate := range crates {
		same := func(c cargo.Crate) bool { return c.Name == crate.Name && c.Source == crate.Source }
		if !slices.ContainsFunc(crates[:i], same) {
			group.Go(func() error { return d.lookUp(groupCtx, crate, crates) })
		}
		group.Go(func() error { return work(groupCtx, crate) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if len(d.yanked) > 0 {
		// Cargo takes them too: a registry keeps the files of yanked crates for locks.
		slices.Sort(d.yanked)
		d.note(fmt.Sprintf("%d of the %d crates were yanked, that is withdrawn by their authors: %s; the lock keeps them: look for a newer release that does not need them",
			len(d.yanked), len(crates), strings.Join(d.yanked, ", ")))
	}
	return nil
}

// lookUp looks for all locked versions of a crate in the index.
func (d *crateDownload) lookUp(ctx context.Context, of cargo.Crate, crates []cargo.Crate) error {
	list, err := d.registries[of.Source].Versions(ctx, of.Name)
	if err != nil {
		return unavailable{err}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, crate := range crates {
		if crate.Name != of.Name || crate.Source != of.Source {
			continue
		}
		i := slices.IndexFunc(list, func(v cargo.Version) bool { return v.Version == crate.Version })
		switch {
		case i < 0:
			return unavailable{fmt.Errorf("the registry has no %s %s, which Cargo.lock names", of.Name, crate.Version)}
		case list[i].Yanked:
			d.yanked = append(d.yanked, of.Name+" "+crate.Version)
		}
	}
	return nil
}

// Locked returns the crates that the Cargo.lock of a place of a source names. It fetches the
// file of the place if the lock is in there.
func (f *Fetcher) Locked(ctx context.Context, name string, place versions.Place) ([]cargo.Crate, error) {
	if place.Cargo.Lock != "" {
		return f.ofTree(place.Cargo.Lock)
	}
	fetched, err := f.Fetch(ctx, versions.Source{Name: name, Places: []versions.Place{place}}, f.Report.Stage(name, "source"))
	if err != nil {
		return nil, fmt.Errorf("fetching source %q: %w", name, err)
	}
	file, err := os.Open(fetched.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	main := cargo.Crate{Name: place.Cargo.Crate, Version: place.Cargo.Version}
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("looking for the crate %s in %s: %w", main, fetched.Path, err)
		}
		if header.Name != cratesFolder+main.String()+".crate" {
			continue
		}
		lock, err := lockOf(archive, main)
		return lock.Crates, err
	}
}

// lockOf returns the lock of a crate, which must be that of its manifest.
func lockOf(file io.Reader, crate cargo.Crate) (lock cargo.Lock, err error) {
	members, err := members(file, crate.String()+"/Cargo.toml", crate.String()+"/Cargo.lock")
	if err != nil {
		return lock, fmt.Errorf("reading the crate %s: %w", crate, err)
	}
	if lock, err = cargo.ParseLock(members[1]); err == nil {
		err = lock.Matches(members[0])
	}
	if err != nil {
		return lock, fmt.Errorf("reading Cargo.lock of the crate %s: %w", crate, err)
	}
	return lock, nil
}

// members returns the content of members of a crate, in the given order.
func members(file io.Reader, names ...string) ([][]byte, error) {
	plain, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	contents := make([][]byte, len(names))
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if i := slices.Index(names, header.Name); i >= 0 {
			if contents[i], err = io.ReadAll(io.LimitReader(archive, maxManifest)); err != nil {
				return nil, err
			}
		}
	}
	for i, content := range contents {
		if content == nil {
			return nil, fmt.Errorf("it has no %s", names[i])
		}
	}
	return contents, nil
}

// packCrates writes the tar of the files of crates, at the given paths.
func packCrates(w io.Writer, paths map[string]string) error {
	tarball := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if err := packFile(tarball, cratesFolder+name, paths[name]); err != nil {
			return fmt.Errorf("packing %s: %w", name, err)
		}
	}
	return tarball.Close()
}
