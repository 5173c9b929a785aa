package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// Answers asks a place whether it has its file today, without downloading it and whatever
// the caches have: a HEAD request, a fresh Debian index, the commit without its files, the
// metadata of a Go module. The error is a *Mismatch if the hash or the size that the place
// names differs from the declared one; any other says why the place did not answer.
func (f *Fetcher) Answers(ctx context.Context, s versions.Source, place versions.Place) error {
	err := (&task{Fetcher: f, source: s}).answers(ctx, place)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (t *task) answers(ctx context.Context, place versions.Place) error {
	switch {
	case place.Debian != nil:
		if t.Debian != nil {
			if err := t.Debian.Refresh(ctx, place.Debian.Suite); err != nil {
				return err
			}
		}
		archive, _, err := t.indexed(ctx, place)
		if err != nil {
			return err
		}
		return t.head(ctx, archive.URL, archive.Size) // The index may list a file that is gone.
	case place.Git != nil && place.Git.Ref != "":
		_, err := t.commitOf(ctx, place.Git.URL, place.Git.Ref)
		return err
	case place.OCI != nil:
		_, _, err := t.findLayer(ctx, place)
		return err
	case place.URL != "":
		return t.head(ctx, place.URL, place.Size)
	case place.Cargo != nil:
		return t.indexedCrates(ctx, place)
	}
	// A cache of git or of the go command must not answer.
	scratch, remove, err := t.scratch()
	if err != nil {
		return err
	}
	defer remove()
	if place.Git != nil {
		g := gitRepository{t.Fetcher, scratch}
		if err := g.prepare(ctx); err != nil {
			return err
		}
		return g.fetch(ctx, place.Git.URL, place.Git.Commit, "--filter=tree:0") // Without the files.
	}
	modules := []string{cmp.Or(place.Go, place.GoProxy).String()}
	if place.Lock() != "" {
		sums, _, err := t.goSums(ctx, place)
		if err != nil {
			return err
		}
		modules = slices.DeleteFunc(slices.Sorted(maps.Keys(sums)), func(name string) bool { return strings.HasSuffix(name, "/go.mod") })
	}
	asking := &task{Fetcher: &Fetcher{Dir: t.Dir, ModCache: filepath.Join(scratch, "modules")}}
	_, err = asking.askGo(ctx, []string{"GONOSUMDB=*"}, append([]string{"list", "-m", "-json"}, modules...)...)
	return err
}

// head asks for the header of a file, whose size may be 0 for unknown.
func (t *task) head(ctx context.Context, url string, declared int64) error {
	client := t.client()
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, http.NoBody)
	if err != nil {
		return errors.New("invalid address")
	}
	response, err := client.Do(request)
	if err == nil && response.StatusCode == http.StatusMethodNotAllowed {
		_ = response.Body.Close()
		request.Method = http.MethodGet // The body is not read.
		response, err = client.Do(request)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", web.Shown(url), web.Clean(err))
	}
	_ = response.Body.Close()
	size := response.ContentLength
	switch {
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: the server answered %s", web.Shown(url), web.StatusText(response.StatusCode))
	case declared > 0 && size >= 0 && size != declared:
		return t.wrong(web.Shown(url), fmt.Sprintf("%d bytes", size), fmt.Sprintf("%d bytes", declared))
	}
	return nil
}

// client returns one that soon gives up on a place that does not answer: there may be
// another.
func (f *Fetcher) client() *http.Client {
	return web.NewClient(web.Options{Report: f.Report, Subject: "sources", Plain: true, Pace: f.pace()})
}

func (f *Fetcher) pace() web.Pace {
	pace := f.Pace
	pace.Tries, pace.Answer = cmp.Or(pace.Tries, 4), cmp.Or(pace.Answer, 10*time.Second)
	return pace
}

// State is what the local caches hold for one place.
type State struct {
	// Cached says that the file is there, Size its length in bytes.
	Cached bool
	Size   int64
	// Damage says how the file is damaged, "" if it is not.
	Damage string
}

// Has reports whether the local caches have the file of a place, without reading it.
func (f *Fetcher) Has(ctx context.Context, place versions.Place) (State, error) {
	if f.hasCommit(ctx, place) {
		return State{Cached: true}, nil
	}
	if place.Cacheable() {
		info, err := os.Lstat(f.path(place))
		if err == nil && info.Mode().IsRegular() {
			return State{Cached: true, Size: info.Size()}, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return State{}, fmt.Errorf("looking into the source cache: %w", err)
		}
	}
	return state((&task{Fetcher: f}).moduleOffline(ctx, place))
}

// Check is Has, but hashes the file. It changes nothing.
func (f *Fetcher) Check(ctx context.Context, place versions.Place) (State, error) {
	t := &task{Fetcher: f}
	fetched, err := t.inspect(ctx, place)
	if isUnavailable(err) {
		fetched, err = t.moduleOffline(ctx, place)
	}
	return state(fetched, err)
}

// state translates the result of a lookup in the local caches.
func state(fetched Fetched, err error) (State, error) {
	var other *Mismatch
	switch {
	case errors.As(err, &other):
		return State{Cached: true, Damage: other.What + " has " + other.Got}, nil
	case isUnavailable(err):
		return State{}, nil
	case err != nil:
		return State{}, err
	}
	return State{Cached: true, Size: fetched.Size}, nil
}
