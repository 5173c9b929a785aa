package payload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// blob is something that a manifest names.
type blob struct {
	digest v1.Hash
	size   int64
	title  string
	// open returns the bytes from an offset on.
	open func(offset int64) (io.ReadCloser, error)
	// from are repositories of the same registry that may have it.
	from []string
}

// transfer is the sending of one blob.
type transfer struct {
	*Repository
	client *http.Client
	blob   blob
	// location is where the registry takes it, "" before it said so; offset is how
	// much of it is there.
	location string
	offset   int64
	// sent are the bytes that went out, also those in vain.
	sent *atomic.Int64
	// progress is nil where nobody looks.
	progress func(done, total int64)
}

// has asks for a blob.
func (t *transfer) has(ctx context.Context) (bool, error) {
	response, err := t.do(ctx, http.MethodHead, t.url("blobs/"+t.blob.digest.String(), nil), http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	return response.code == http.StatusOK, nil
}

// mount has the registry take the blob from another of its repositories.
func (t *transfer) mount(ctx context.Context) (bool, error) {
	for _, from := range t.blob.from {
		query := url.Values{"mount": {t.blob.digest.String()}, "from": {from}}
		response, err := t.do(ctx, http.MethodPost, t.url("blobs/uploads/", query), http.StatusCreated, http.StatusAccepted)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil:
			continue // One that it may not see, say: then the blob is sent.
		case response.code == http.StatusCreated:
			return true, nil
		}
		// Not there: the registry has begun an upload instead, which serves as well.
		if err := t.moved(response); err != nil {
			return false, err
		}
	}
	return false, nil
}

// send sends the blob. What fails for now is tried again: from where it was lost if
// the registry can say where that is, else from its start.
func (t *transfer) send(ctx context.Context) error {
	for failures := 0; ; failures++ {
		err := t.try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// 404 and 416 are for an upload that the registry has forgotten, once there was
		// one: before that, 404 is for a repository that it does not have.
		forgotten := t.location != "" && (status(err) == http.StatusNotFound || status(err) == http.StatusRequestedRangeNotSatisfiable)
		if failures >= t.pace.tries || !passes(err) && !forgotten {
			return err
		}
		wait := t.pace.wait(failures, asked(err))
		t.options.say(fmt.Sprintf("pushing %s: %s (%s): trying again", t.blob.title, t.repository.RegistryStr(), reason(err)))
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		before := t.offset
		done, err := t.resume(ctx)
		if err != nil || done {
			return err
		}
		if t.offset > before {
			failures = -1 // It is slow going, but it goes.
		}
	}
}

// try sends what the registry has not.
func (t *transfer) try(ctx context.Context) error {
	if t.location == "" {
		response, err := t.do(ctx, http.MethodPost, t.url("blobs/uploads/", nil), http.StatusAccepted)
		if err != nil {
			return err
		}
		if err := t.moved(response); err != nil {
			return err
		}
		t.offset = 0
	}
	if t.offset < t.blob.size {
		if err := t.patch(ctx); err != nil {
			return err
		}
	}
	end, err := url.Parse(t.location)
	if err != nil {
		return err
	}
	values := end.Query()
	values.Set("digest", t.blob.digest.String())
	end.RawQuery = values.Encode()
	_, err = t.do(ctx, http.MethodPut, end.String(), http.StatusCreated)
	return err
}

// patch sends the rest in one request.
func (t *transfer) patch(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	content, err := t.blob.open(t.offset)
	if err != nil {
		return err
	}
	body := &watched{from: content, transfer: t, done: t.offset}
	body.watch = time.AfterFunc(t.pace.stall, func() { cancel(errStalled) })
	defer body.watch.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, t.location, body)
	if err != nil {
		return errors.Join(err, content.Close())
	}
	request.ContentLength = t.blob.size - t.offset
	request.Header.Set("Content-Type", "application/octet-stream")
	if t.offset > 0 {
		request.Header.Set("Content-Range", fmt.Sprintf("%d-%d", t.offset, t.blob.size-1))
	}
	response, err := t.perform(request, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return err
	}
	t.offset = t.blob.size
	return t.moved(response)
}

// resume asks how much the registry has; one that cannot say is sent everything
// again. The blob is done where only the last answer was lost.
func (t *transfer) resume(ctx context.Context) (done bool, err error) {
	if there, err := t.has(ctx); err == nil && there {
		return true, nil
	}
	location := t.location
	t.location, t.offset = "", 0
	if location == "" {
		return false, nil
	}
	response, err := t.do(ctx, http.MethodGet, location, http.StatusNoContent)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	// Not everybody keeps half an upload, and can say how much that is.
	if end := lastByte(response.header.Get("Range")); err == nil && end > 0 && end < t.blob.size {
		t.offset, t.location = end+1, location
		if response.header.Get("Location") != "" {
			return false, t.moved(response)
		}
	}
	return false, nil
}

// lastByte reads a header such as "0-1023"; "0-0" is what an empty upload has.
func lastByte(header string) int64 {
	_, last, _ := strings.Cut(header, "-")
	end, err := strconv.ParseInt(last, 10, 64)
	if err != nil {
		return 0
	}
	return end
}

// moved takes over where the registry wants the next request.
func (t *transfer) moved(response answer) error {
	location, err := response.location()
	if err != nil {
		return fmt.Errorf("the registry does not say where to send a layer: %w", err)
	}
	t.location = location.String()
	return nil
}

func (t *transfer) url(path string, query url.Values) string {
	address := url.URL{Scheme: "https", Host: t.repository.RegistryStr(), Path: "/v2/" + t.repository.RepositoryStr() + "/" + path, RawQuery: query.Encode()}
	return address.String()
}
