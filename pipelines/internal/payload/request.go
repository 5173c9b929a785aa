package payload

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// What may go better another time.
var (
	errStalled = errors.New("nothing moved")
	// errAgain is for a transport that sends a body again, as after a login that has
	// run out: it is read.
	errAgain = errors.New("the login was renewed on the way")
)

// answer is what a registry said, without the body.
type answer struct {
	code   int
	header http.Header
	// asked is the address of the request.
	asked *url.URL
}

// location returns the address of the header of that name.
func (a answer) location() (*url.URL, error) {
	text := a.header.Get("Location")
	if text == "" {
		return nil, errors.New("there is no Location in its answer")
	}
	return a.asked.Parse(text)
}

// do performs a request without a content.
func (t *transfer) do(ctx context.Context, method, address string, codes ...int) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	return t.perform(request, codes...)
}

// perform performs a request and reads the answer to its end, unless its code is
// not wanted.
func (t *transfer) perform(request *http.Request, codes ...int) (answer, error) {
	response, err := t.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	if err := transport.CheckError(response, codes...); err != nil {
		if after := retryAfter(response.Header.Get("Retry-After"), time.Now()); after > 0 {
			err = &busy{err, after}
		}
		return answer{}, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	return answer{response.StatusCode, response.Header, response.Request.URL}, err
}

// busy is the answer of a registry that says when to come again.
type busy struct {
	error
	after time.Duration
}

// Unwrap returns the answer.
func (b *busy) Unwrap() error { return b.error }

func asked(err error) time.Duration {
	var b *busy
	if errors.As(err, &b) {
		return b.after
	}
	return 0
}

// watched is a content that is given up once nothing of it is read for long.
type watched struct {
	from     io.ReadCloser
	transfer *transfer
	done     int64
	watch    *time.Timer
	closed   atomic.Bool
}

// Read reads on.
func (w *watched) Read(p []byte) (int, error) {
	if w.closed.Load() {
		return 0, errAgain
	}
	t := w.transfer
	n, err := w.from.Read(p)
	w.done += int64(n)
	t.sent.Add(int64(n))
	patience := t.pace.stall
	if w.done >= t.blob.size {
		patience = 5 * t.pace.stall // Registries hash what they got before they answer.
	}
	w.watch.Reset(patience)
	if t.progress != nil && n > 0 {
		t.progress(w.done, t.blob.size)
	}
	return n, err
}

// Close closes what is read.
func (w *watched) Close() error {
	w.closed.Store(true)
	return w.from.Close()
}
