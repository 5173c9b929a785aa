package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

const (
	bufferSize   = 256 << 10
	defaultStall = 30 * time.Second
	defaultPause = 500 * time.Millisecond
	// retries is how often a connection may drop, the waits doubling.
	retries = 4
)

// transfer is one file on its way into the cache.
type transfer struct {
	*task
	client *http.Client
	place  versions.Place
	// url may carry credentials, what is its name in messages.
	url, what string
	partial   string
	// resumed says that the partial has bytes of more than one answer.
	resumed bool
}

// download brings a file into the cache unless another process just did.
func (t *task) download(ctx context.Context, place versions.Place, url, what string) (Fetched, error) {
	unlock, err := t.lock(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	defer unlock()
	if fetched, ok, err := t.cachedLocked(ctx, place); ok || err != nil {
		return fetched, err
	}
	client := t.Client
	if client == nil {
		client = newClient()
		defer client.CloseIdleConnections()
	}
	d := &transfer{task: t, client: client, place: place, url: url, what: what, partial: t.final(place.SHA256) + ".partial"}
	hash, size, err := d.whole(ctx)
	if err != nil {
		return Fetched{}, err
	}
	if hash != place.SHA256 && d.resumed {
		// Perhaps the pieces do not belong together, so the place is not blamed yet.
		t.note(fmt.Sprintf("%s: the pieces of the download do not fit, fetching it anew", t.source.Name))
		if err := d.discard(); err != nil {
			return Fetched{}, err
		}
		if hash, size, err = d.whole(ctx); err != nil {
			return Fetched{}, err
		}
	}
	if hash != place.SHA256 {
		return Fetched{}, errors.Join(t.wrong(what, fmt.Sprintf("sha256 %s (%d bytes)", hash, size), "sha256 "+place.SHA256), d.discard())
	}
	if err := d.publish(); err != nil {
		return Fetched{}, fmt.Errorf("putting %s into the source cache: %w", t.source.Name, err)
	}
	return Fetched{Name: t.source.Name, Path: t.final(hash), Place: place.Name, From: FromPlace, SHA256: hash, Size: size}, nil
}

// whole makes the partial complete and returns its hash and size.
func (d *transfer) whole(ctx context.Context) (string, int64, error) {
	pause := d.pause
	if pause == 0 {
		pause = defaultPause
	}
	for try := 0; ; try++ {
		err := d.attempt(ctx, try)
		if err == nil {
			return hashFile(ctx, d.partial)
		}
		var drop dropped
		if ctx.Err() != nil || !errors.As(err, &drop) {
			return "", 0, err
		}
		if try == retries {
			return "", 0, unavailable{fmt.Errorf("%s: the connection dropped %d times: %w", d.what, try+1, drop.error)}
		}
		d.note(fmt.Sprintf("%s: the connection dropped (%v), trying again in %s", d.source.Name, drop.error, progress.Elapsed(pause)))
		select {
		case <-ctx.Done():
			return "", 0, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// origin says which answer of which server the bytes of a partial are of.
type origin struct {
	// URL is the SHA-256 of the address, which may carry credentials.
	URL string `json:"url"`
	// Validator is a strong ETag or a modification time, for If-Range.
	Validator string `json:"validator"`
}

func (d *transfer) originPath() string { return d.final(d.place.SHA256) + ".from" }

// resumable returns how many bytes of an earlier answer can be kept and the
// validator of that answer; 0 where the download begins anew.
func (d *transfer) resumable() (int64, string, error) {
	data, err := os.ReadFile(d.originPath())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("reading where the partial download is from: %w", err)
	}
	validator, ok := d.validator(data)
	if !ok {
		return 0, "", nil
	}
	info, err := os.Stat(d.partial)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("looking at the partial download: %w", err)
	}
	if d.place.Size > 0 && info.Size() > d.place.Size {
		return 0, "", nil
	}
	return info.Size(), validator, nil
}

// validator returns that of a remembered origin, unless it is of another
// address, or what a crash left half written.
func (d *transfer) validator(data []byte) (string, bool) {
	var from origin
	err := json.Unmarshal(data, &from)
	return from.Validator, err == nil && from.URL == hashText(d.url) && from.Validator != ""
}

// remember writes the origin of a partial that was just begun.
func (d *transfer) remember(validator string) error {
	data, err := json.Marshal(origin{URL: hashText(d.url), Validator: validator})
	if err != nil {
		return fmt.Errorf("encoding where the download is from: %w", err)
	}
	if err := os.WriteFile(d.originPath(), data, 0o600); err != nil {
		return fmt.Errorf("noting where the download is from: %w", err)
	}
	return nil
}

func (d *transfer) discard() error {
	for _, path := range []string{d.originPath(), d.partial, d.final(d.place.SHA256) + store.Pulling} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("discarding a partial download: %w", err)
		}
	}
	return nil
}

// publish gives the checked file, which is on disk, its final name.
func (d *transfer) publish() error {
	path := d.final(d.place.SHA256)
	if err := os.Rename(d.partial, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return err
	}
	return d.discard()
}
