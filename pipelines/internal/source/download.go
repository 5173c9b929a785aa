package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// maxUnsized is the largest file of a place that declares no size, in bytes.
const maxUnsized = 16 << 30

// resumptions is how often a broken download is resumed.
const resumptions = 4

// client returns the client of a download. A place that does not answer is given
// up soon: there may be another.
func (f *Fetcher) client() *http.Client {
	return web.NewClient(web.Options{Report: f.Report, Subject: "sources", Plain: true, Pace: f.pace()})
}

func (f *Fetcher) pace() web.Pace {
	pace := f.Pace
	if pace.Tries == 0 {
		pace.Tries = 4
	}
	if pace.Answer == 0 {
		pace.Answer = 10 * time.Second
	}
	return pace
}

// transfer is one file on its way into the cache. Its bytes so far are in a
// partial file, which a later process resumes. Nothing says where they are from:
// the hash of the whole tells whether the pieces belong together.
type transfer struct {
	*task
	place versions.Place
	// url may carry credentials; what names the file in messages.
	url, what string
	partial   string
	client    *http.Client
	// resumed is true if the partial has bytes of more than one answer.
	resumed bool
}

// broken is an answer that broke off.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

// download downloads a file into the cache unless another process just did.
func (t *task) download(ctx context.Context, place versions.Place, url, what string) (Fetched, error) {
	unlock, err := t.lock(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	defer unlock()
	if fetched, ok, err := t.cachedLocked(ctx, place); ok || err != nil {
		return fetched, err
	}
	final := t.final(place.SHA256)
	d := &transfer{task: t, place: place, url: url, what: what, partial: final + ".partial", client: t.client()}
	defer d.client.CloseIdleConnections()
	hash, size, err := d.whole(ctx)
	if err == nil && hash != place.SHA256 && d.resumed {
		// Perhaps the pieces do not belong together, so the place is not blamed yet.
		t.note("the pieces of the download do not fit together, starting again")
		if err = d.discard(); err == nil {
			hash, size, err = d.whole(ctx)
		}
	}
	if files.IsFull(err) {
		err = errors.Join(err, d.discard())
	}
	if err != nil {
		return Fetched{}, err
	}
	if hash != place.SHA256 {
		return Fetched{}, errors.Join(t.wrong(what, fmt.Sprintf("sha256 %s (%d bytes)", hash, size), "sha256 "+place.SHA256), d.discard())
	}
	if err := errors.Join(os.Chmod(d.partial, 0o644), os.Rename(d.partial, final), d.discard()); err != nil {
		return Fetched{}, fmt.Errorf("putting %s into the source cache: %w", t.source.Name, err)
	}
	return Fetched{Name: t.source.Name, Path: final, Place: place.Name, From: FromPlace, SHA256: hash, Size: size}, nil
}

// whole makes the partial complete and returns its hash and size.
func (d *transfer) whole(ctx context.Context) (string, int64, error) {
	for failures := 1; ; failures++ {
		err := d.attempt(ctx)
		if err == nil {
			return files.Hash(ctx, d.partial)
		}
		var off broken
		if ctx.Err() != nil || !errors.As(err, &off) {
			return "", 0, err
		}
		if failures > resumptions {
			return "", 0, unavailable{fmt.Errorf("%s: the connection dropped %d times: %w", d.what, failures, off.error)}
		}
		wait := d.pace().Backoff(failures)
		d.note(fmt.Sprintf("the connection dropped (%v), trying again in %s", off.error, progress.Elapsed(wait)))
		if err := d.pace().Rest(ctx, wait); err != nil {
			return "", 0, err
		}
	}
}

// attempt asks once for the bytes that the partial lacks.
func (d *transfer) attempt(ctx context.Context) error {
	offset, err := d.offset()
	if err != nil {
		return err
	}
	if offset > 0 && offset == d.place.Size {
		d.resumed = true
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return unavailable{fmt.Errorf("%s: %w", d.what, errAddress)}
	}
	// The hash is that of the file as it is.
	request.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	response, err := d.client.Do(request)
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), closeBody(response))
	}
	if err != nil {
		return unavailable{fmt.Errorf("%s: %w", d.what, web.Clean(err))}
	}
	defer response.Body.Close()
	switch begins := fmt.Sprintf("bytes %d-", offset); {
	case response.StatusCode == http.StatusOK:
		return d.receive(ctx, response, 0)
	case offset == 0:
		return unavailable{fmt.Errorf("%s: the server answered %s", d.what, web.StatusText(response.StatusCode))}
	case response.StatusCode == http.StatusPartialContent && strings.HasPrefix(response.Header.Get("Content-Range"), begins):
		d.resumed = true
		return d.receive(ctx, response, offset)
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		d.resumed = true // There are no bytes beyond those of the partial.
		return nil
	case response.StatusCode == http.StatusPartialContent:
		return errors.Join(broken{errors.New("the server sent another range")}, d.discard())
	}
	return unavailable{fmt.Errorf("%s: the server answered %s", d.what, web.StatusText(response.StatusCode))}
}

var errAddress = errors.New("invalid address")

func closeBody(response *http.Response) error {
	if response == nil {
		return nil
	}
	return response.Body.Close()
}

// offset returns how many bytes of an earlier answer can be kept.
func (d *transfer) offset() (int64, error) {
	info, err := os.Lstat(d.partial)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("examining the partial download: %w", err)
	case !info.Mode().IsRegular(), info.Size() > d.limit():
		return 0, d.discard()
	}
	return info.Size(), nil
}

// limit is how many bytes the file may have.
func (d *transfer) limit() int64 {
	if d.place.Size > 0 {
		return d.place.Size
	}
	return maxUnsized
}

// receive appends the body to the partial.
func (d *transfer) receive(ctx context.Context, response *http.Response, offset int64) error {
	total := d.place.Size
	if response.ContentLength >= 0 {
		total = offset + response.ContentLength
	}
	if d.place.Size > 0 && total > d.place.Size {
		return errors.Join(d.tooLong(fmt.Sprintf("%d bytes", total)), d.discard())
	}
	if err := files.Room(filepath.Dir(d.partial), total-offset); err != nil {
		return err
	}
	file, err := os.OpenFile(d.partial, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("opening the partial download: %w", err)
	}
	defer file.Close()
	// Bytes beyond the offset are not of this answer.
	if err := file.Truncate(offset); err != nil {
		return fmt.Errorf("truncating the partial download: %w", err)
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("appending to the partial download: %w", err)
	}
	if err := d.copy(ctx, file, response.Body, offset, total); err != nil {
		return errors.Join(err, file.Close())
	}
	return errors.Join(file.Sync(), file.Close())
}

func (d *transfer) copy(ctx context.Context, file io.Writer, body io.Reader, done, total int64) error {
	buffer := make([]byte, 256<<10)
	for {
		d.stage.Bytes(done, total)
		n, readErr := body.Read(buffer)
		if _, err := file.Write(buffer[:n]); err != nil {
			return fmt.Errorf("writing the download: %w", err)
		}
		done += int64(n)
		switch {
		case done > d.limit():
			return errors.Join(d.tooLong(fmt.Sprintf("more than %d bytes", d.limit())), d.discard())
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case readErr == nil:
		case errors.Is(readErr, io.EOF) && done < d.place.Size && total == d.place.Size:
			// Without a Content-Length, a break looks like an end.
			return broken{io.ErrUnexpectedEOF}
		case errors.Is(readErr, io.EOF):
			d.stage.Bytes(done, total)
			return nil
		case errors.Is(readErr, web.ErrStalled):
			return unavailable{fmt.Errorf("%s: %w", d.what, readErr)}
		default:
			return broken{web.Clean(readErr)}
		}
	}
}

func (d *transfer) tooLong(got string) error {
	size := fmt.Sprintf("a size of %d", d.place.Size)
	if d.place.Size == 0 {
		size = "no size"
	}
	return d.wrong(d.what, got, size+" (sha256 "+d.place.SHA256+")")
}

// discard removes partial files, also that of a pull from a registry.
func (d *transfer) discard() error {
	for _, path := range []string{d.partial, d.final(d.place.SHA256) + store.Pulling} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("discarding a partial download: %w", err)
		}
	}
	return nil
}
