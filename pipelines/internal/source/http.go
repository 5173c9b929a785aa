package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// patience is how long a server may take to connect, and to begin an answer.
const patience = 10 * time.Second

// newClient returns a client without a limit for the whole of a download.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: patience}).DialContext,
		TLSHandshakeTimeout:   patience,
		ResponseHeaderTimeout: patience,
		ForceAttemptHTTP2:     true,
	}}
}

// dropped is a connection that broke while a body was under way.
type dropped struct{ error }

func (d dropped) Unwrap() error { return d.error }

var errStalled = errors.New("the server stopped sending")

// attempt asks once for what the partial lacks.
func (d *transfer) attempt(ctx context.Context, try int) error {
	offset, validator, err := d.resumable()
	if err != nil {
		return err
	}
	if offset > 0 && offset == d.place.Size {
		d.resumed = true
		return nil
	}
	stall := d.stall
	if stall == 0 {
		stall = defaultStall
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("%w for %s", errStalled, progress.Elapsed(stall))) })
	defer watch.Stop()
	response, err := d.ask(ctx, offset, validator)
	if err != nil {
		// A server that was there and broke off may be back in a moment.
		if ctx.Err() == nil && (try > 0 || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
			return dropped{reason(ctx, err)}
		}
		return unavailable{fmt.Errorf("%s: %w", d.what, reason(ctx, err))}
	}
	defer response.Body.Close()
	if offset, err = d.accept(response, offset); err != nil {
		return err
	}
	alive := func() { watch.Reset(stall) }
	return d.receive(ctx, response, offset, alive)
}

func (d *transfer) ask(ctx context.Context, offset int64, validator string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "kata-pipelines")
	// The hash is that of the file as it is: no compression on the way.
	request.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		request.Header.Set("If-Range", validator)
	}
	return d.client.Do(request)
}

// accept judges an answer's status and returns where its body begins.
func (d *transfer) accept(response *http.Response, offset int64) (int64, error) {
	switch {
	case response.StatusCode == http.StatusOK:
		return 0, nil
	case response.StatusCode == http.StatusPartialContent && offset > 0 &&
		strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)):
		d.resumed = true
		return offset, nil
	case offset > 0 && (response.StatusCode == http.StatusPartialContent || response.StatusCode == http.StatusRequestedRangeNotSatisfiable):
		if err := d.discard(); err != nil {
			return 0, err
		}
		return 0, dropped{fmt.Errorf("the server cannot resume: %s", response.Status)}
	}
	return 0, unavailable{fmt.Errorf("%s: the server answered %s", d.what, response.Status)}
}

// receive appends the body to the partial, which is on disk when it returns.
func (d *transfer) receive(ctx context.Context, response *http.Response, offset int64, alive func()) error {
	total := d.place.Size
	if response.ContentLength >= 0 {
		total = offset + response.ContentLength
	}
	if d.place.Size > 0 && total > d.place.Size {
		return errors.Join(d.wrong(d.what, fmt.Sprintf("%d bytes", total), fmt.Sprintf("a size of %d (sha256 %s)", d.place.Size, d.place.SHA256)), d.discard())
	}
	if err := checkDisk(filepath.Dir(d.partial), total-offset); err != nil {
		return err
	}
	file, err := os.OpenFile(d.partial, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("opening the partial download: %w", err)
	}
	defer file.Close()
	// Whatever lies beyond the offset is not of this answer.
	if err := file.Truncate(offset); err != nil {
		return fmt.Errorf("truncating the partial download: %w", err)
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("appending to the partial download: %w", err)
	}
	if offset == 0 {
		if err := d.remember(validatorOf(response)); err != nil {
			return err
		}
	}
	if err := d.copy(ctx, file, response.Body, offset, total, alive); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("syncing the download: %w", err)
	}
	return file.Close()
}

func (d *transfer) copy(ctx context.Context, file io.Writer, body io.Reader, done, total int64, alive func()) error {
	buffer := make([]byte, bufferSize)
	d.bytes(done, total)
	for {
		n, readErr := body.Read(buffer)
		if n > 0 {
			alive()
			if _, err := file.Write(buffer[:n]); err != nil {
				return fmt.Errorf("writing the download: %w", err)
			}
			done += int64(n)
			d.bytes(done, total)
		}
		switch {
		case d.place.Size > 0 && done > d.place.Size:
			return errors.Join(d.wrong(d.what, fmt.Sprintf("more than %d bytes", d.place.Size), fmt.Sprintf("that size (sha256 %s)", d.place.SHA256)), d.discard())
		case errors.Is(readErr, io.EOF) && done < total && total == d.place.Size:
			// Without a Content-Length, a break looks like an end.
			return dropped{io.ErrUnexpectedEOF}
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil && ctx.Err() != nil:
			return unavailable{fmt.Errorf("%s: %w", d.what, context.Cause(ctx))}
		case readErr != nil:
			return dropped{readErr}
		}
	}
}

// validatorOf returns what If-Range may carry: a weak ETag may not.
func validatorOf(response *http.Response) string {
	if etag := response.Header.Get("ETag"); etag != "" && !strings.HasPrefix(etag, "W/") {
		return etag
	}
	return response.Header.Get("Last-Modified")
}

// reason returns why a request failed, without the address, which may carry
// credentials, and naming a stall rather than the cancellation it caused.
func reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// shown returns an address without user, password and query.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address that cannot be parsed"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func hashText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// checkDisk refuses a download of need bytes that the disk has no room for.
func checkDisk(dir string, need int64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", dir, err)
	}
	// Bsize is of another type on each architecture.
	if free := int64(stat.Bavail * uint64(stat.Bsize)); free < need {
		return fmt.Errorf("%s has %s free and the download needs %s: free some space, or put the cache elsewhere with --cache-dir",
			dir, progress.Size(free), progress.Size(need))
	}
	return nil
}
