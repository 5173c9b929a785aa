package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// chunk is how much is read from a connection at once, in bytes. With a mebibyte
// the kernel takes twice the time to find room in its page cache: see
// registry_bench_test.go.
const chunk = 128 << 10

// sink takes in a blob: it hashes what it writes, so that nothing is read twice
// and a lost connection costs only what was not read yet.
type sink struct {
	to   target
	hash hash.Hash
	done int64
	// pieced is true where the bytes came in more than one answer.
	pieced   bool
	progress func(done, total int64)
}

// target is where a sink writes: a file, memory, or nowhere.
type target interface {
	io.Writer
	// restart empties it.
	restart() error
}

type (
	toFile   struct{ *os.File }
	toMemory struct{ bytes.Buffer }
	toNobody struct{}
)

func (t toFile) restart() error {
	if err := t.Truncate(0); err != nil {
		return err
	}
	_, err := t.Seek(0, io.SeekStart)
	return err
}

func (t *toMemory) restart() error {
	t.Reset()
	return nil
}

func (toNobody) restart() error { return nil }

// Write drops what it gets.
func (toNobody) Write(p []byte) (int, error) { return len(p), nil }

// diskError is a failure of this machine, not of the registry.
type diskError struct{ error }

// Unwrap returns the cause.
func (d *diskError) Unwrap() error { return d.error }

// Write writes and hashes; the error is *diskError.
func (s *sink) Write(p []byte) (int, error) {
	if n, err := s.to.Write(p); err != nil {
		return n, &diskError{fmt.Errorf("writing to the store: %w", err)}
	}
	s.done += int64(len(p))
	return s.hash.Write(p)
}

// restart forgets what was taken in.
func (s *sink) restart() error {
	s.hash.Reset()
	s.done, s.pieced = 0, false
	if err := s.to.restart(); err != nil {
		return &diskError{fmt.Errorf("writing to the store: %w", err)}
	}
	return nil
}

// whole makes sure that the sink holds the blob; the error is *damage.
func (s *sink) whole(d ocispec.Descriptor) error {
	if sum := "sha256:" + hex.EncodeToString(s.hash.Sum(nil)); s.done != d.Size || sum != d.Digest.String() {
		return &damage{fmt.Sprintf("has a blob of %d bytes that hashes to %s, want %d and %s", s.done, sum, d.Size, d.Digest)}
	}
	return nil
}

// stream reads a blob into a sink, on from what is there, and checks it. A lost
// connection is taken up again; bytes that are wrong although no connection was
// lost are *damage, a registry that does not go on a *failure.
func (r *Registry) stream(ctx context.Context, asset string, d ocispec.Descriptor, to *sink) error {
	again, furthest := false, to.done
	for attempt := 0; ; {
		err := r.answer(ctx, asset, d, to)
		if err == nil {
			err = to.whole(d)
			if err == nil || !to.pieced || again {
				return err
			}
			// One of the pieces is wrong, and nothing says which.
			again = true
			if err := to.restart(); err != nil {
				return err
			}
			continue
		}
		var lost *lostError
		if !errors.As(err, &lost) {
			return err
		}
		if to.done-furthest >= chunk {
			attempt, furthest = 0, to.done
		}
		doing := "reading a blob of " + asset
		if attempt >= r.pace.tries {
			return r.failed(ctx, doing, lost.error)
		}
		wait := r.pace.wait(attempt)
		attempt++
		r.say(fmt.Sprintf("%s: %s broke off after %d of %d bytes (%s): resuming", doing, r, to.done, d.Size, reason(lost.error)))
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		to.pieced = true
	}
}

// lostError is a connection that ended early.
type lostError struct{ error }

// Unwrap returns the cause.
func (l *lostError) Unwrap() error { return l.error }

var (
	errStalled = errors.New("no bytes came")
	errShort   = errors.New("the answer ended")
)

// answer asks once for what the sink lacks of a blob, and takes it in.
func (r *Registry) answer(ctx context.Context, asset string, d ocispec.Descriptor, to *sink) error {
	if to.done == d.Size && d.Size > 0 {
		return nil
	}
	doing := "reading a blob of " + asset
	response, err := r.get(ctx, asset, d, to.done)
	if err != nil {
		if ctx.Err() == nil && (to.done > 0 || timedOut(err)) {
			return &lostError{err}
		}
		return r.failed(ctx, doing, err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := to.begin(response, d); err != nil {
		if status(err) != 0 {
			return r.failed(ctx, doing, err)
		}
		return err
	}
	if err := to.take(response.Body, d); err != nil {
		var lost *lostError
		if ctx.Err() != nil && errors.As(err, &lost) {
			return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
		}
		return err
	}
	return nil
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// get asks for a blob from an offset on. Oras-go could seek too, but only where
// the registry announces ranges, and not after a connection was lost.
func (r *Registry) get(ctx context.Context, asset string, d ocispec.Descriptor, offset int64) (*http.Response, error) {
	ref := r.ref
	ref.Repository += "/" + asset
	address := url.URL{Scheme: "https", Host: ref.Host(), Path: "/v2/" + ref.Repository + "/blobs/" + d.Digest.String()}
	if r.plain {
		address.Scheme = "http"
	}
	ctx = auth.AppendRepositoryScope(ctx, ref, auth.ActionPull)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, d.Size-1))
	}
	return r.client.Do(request)
}

// begin looks at the head of an answer. One from the start of the blob, though
// more was asked for, has the sink begin anew.
func (s *sink) begin(response *http.Response, d ocispec.Descriptor) error {
	switch response.StatusCode {
	case http.StatusOK:
		if length := response.ContentLength; length >= 0 && length != d.Size {
			return &damage{fmt.Sprintf("has the blob %s with %d bytes, want %d", d.Digest, length, d.Size)}
		}
		if s.done > 0 {
			return s.restart()
		}
		return nil
	case http.StatusPartialContent:
		want, size := fmt.Sprintf("bytes %d-", s.done), fmt.Sprintf("/%d", d.Size)
		if got := response.Header.Get("Content-Range"); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, size) && !strings.HasSuffix(got, "/*") {
			return &damage{fmt.Sprintf("has the blob %s in ranges like %q, want %q", d.Digest, got, want+"..."+size)}
		}
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		return errors.Join(s.restart(), &lostError{statusError{response.StatusCode}})
	case http.StatusNotFound:
		return &damage{fmt.Sprintf("lacks the blob %s", d.Digest)}
	}
	return statusError{response.StatusCode}
}

// take reads a body to the end of the blob.
func (s *sink) take(body io.Reader, d ocispec.Descriptor) error {
	buffer := make([]byte, min(chunk, max(d.Size-s.done, 1)))
	for s.done < d.Size {
		n, err := body.Read(buffer[:min(int64(len(buffer)), d.Size-s.done)])
		if _, err := s.Write(buffer[:n]); err != nil {
			return err
		}
		if s.progress != nil {
			s.progress(s.done, d.Size)
		}
		switch {
		case err == nil || s.done == d.Size:
		case errors.Is(err, io.EOF):
			return &lostError{errShort}
		default:
			return &lostError{err}
		}
	}
	return nil
}

// document reads a small blob into memory.
func (r *Registry) document(ctx context.Context, asset string, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > maxDocument {
		return nil, &damage{fmt.Sprintf("has a document of %d bytes, more than %d", d.Size, maxDocument)}
	}
	var data toMemory
	if err := r.stream(ctx, asset, d, &sink{to: &data, hash: sha256.New()}); err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}
