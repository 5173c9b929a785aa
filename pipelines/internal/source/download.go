package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// resumptions is how often a broken download is resumed.
const resumptions = 4

// fromURL downloads the file of a place. The url may carry credentials; what names the
// file in messages.
func (t *task) fromURL(ctx context.Context, place versions.Place, url, what string) (Fetched, error) {
	client := t.client()
	defer client.CloseIdleConnections()
	d := web.Download{Client: client, URL: url, Stage: t.stage}
	return t.download(ctx, place, d, what)
}

// download downloads a file, by the client and from the address of d, into the cache
// unless another process just did; what names the file in messages.
//
// A partial file may have bytes from several places: the hash of the whole file shows
// whether they belong together.
func (t *task) download(ctx context.Context, place versions.Place, d web.Download, what string) (Fetched, error) {
	unlock, err := t.lock(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	defer unlock()
	if fetched, err := t.cachedLocked(ctx, place); !isUnavailable(err) {
		return fetched, err
	}
	d.SHA256, d.Size, d.Impatient = place.SHA256, cmp.Or(place.Size, -1), true
	d.What, d.Notes, d.Pace = t.source.Name+": the download", t.stage, t.pace()
	d.Pace.Tries = resumptions + 1
	final := t.final(place.SHA256)
	if err = d.File(ctx, final, final+".partial", 0o644); err != nil {
		err = t.failed(place, what, err)
	}
	if err == nil || errors.As(err, new(*Mismatch)) || files.IsFull(err) {
		// The partial file of a pull from the registry is no longer needed.
		if removed := os.Remove(final + store.Pulling); !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	if err != nil {
		return Fetched{}, err
	}
	return Fetched{Name: t.source.Name, Path: final, Place: place.Name, From: FromPlace, SHA256: place.SHA256, Size: d.Done}, nil
}

// failed translates the error of a download: most mean that the next place is tried.
func (t *task) failed(place versions.Place, what string, err error) error {
	var gone *web.Unavailable
	var other *web.Mismatch
	switch {
	case errors.As(err, &gone):
		return unavailable{fmt.Errorf("%s: %w", what, gone)}
	case !errors.As(err, &other):
		return err
	case other.SHA256 == "":
		return t.wrong(what, fmt.Sprintf("%d bytes", other.Size), fmt.Sprintf("at most %d bytes (sha256 %s)", cmp.Or(place.Size, web.MaxUnsized), place.SHA256))
	}
	return t.wrong(what, fmt.Sprintf("sha256 %s (%d bytes)", other.SHA256, other.Size), "sha256 "+place.SHA256)
}
