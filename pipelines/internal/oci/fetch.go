package oci

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
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// chunk is how much is read from a connection at once, in bytes. With a mebibyte
// the kernel takes twice the time to find room in its page cache: see
// registry_bench_test.go.
const chunk = 128 << 10

// Sink takes in a blob: it hashes what it writes, so that nothing is read twice
// and a lost connection costs only what was not read yet.
type Sink struct {
	to    io.Writer
	hash  hash.Hash
	done  int64
	stage *progress.Stage
	// pieced is true where the bytes came in more than one answer.
	pieced bool
}

// NewSink returns a sink that writes to a file, a buffer, or io.Discard. The
// stage, which may be nil, shows how far it is.
func NewSink(to io.Writer, stage *progress.Stage) *Sink {
	return &Sink{to: to, hash: sha256.New(), stage: stage}
}

// Write writes and hashes.
func (s *Sink) Write(p []byte) (int, error) {
	if n, err := s.to.Write(p); err != nil {
		return n, fmt.Errorf("writing a blob: %w", err)
	}
	s.done += int64(len(p))
	return s.hash.Write(p)
}

// restart forgets what was taken in.
func (s *Sink) restart() (err error) {
	s.hash.Reset()
	s.done, s.pieced = 0, false
	switch to := s.to.(type) {
	case *os.File:
		if err = to.Truncate(0); err == nil {
			_, err = to.Seek(0, io.SeekStart)
		}
	case *bytes.Buffer:
		to.Reset()
	case *io.PipeWriter:
		err = errors.New("what was read cannot be taken back")
	}
	if err != nil {
		return fmt.Errorf("writing a blob: %w", err)
	}
	return nil
}

// whole makes sure that the sink holds the blob; the error is *Damage.
func (s *Sink) whole(d ocispec.Descriptor) error {
	if sum := "sha256:" + hex.EncodeToString(s.hash.Sum(nil)); s.done != d.Size || sum != d.Digest.String() {
		return Damaged("has a blob of %d bytes that hashes to %s, want %d and %s", s.done, sum, d.Size, d.Digest)
	}
	return nil
}

// Fetch reads a blob into a sink, on from what is there, and checks it. A lost
// connection is taken up again; bytes that are wrong although no connection was
// lost are *Damage, a registry that does not go on a *Failure.
func (r *Repository) Fetch(ctx context.Context, d ocispec.Descriptor, to *Sink) error {
	const doing = "reading a blob"
	again, furthest := false, to.done
	for attempt := 0; ; {
		err := r.answer(ctx, d, to)
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
		if attempt++; attempt >= r.client.tries() {
			return r.failed(ctx, doing, lost.error)
		}
		r.client.options.Report.Note("registry", fmt.Sprintf("%s: %s broke off after %d of %d bytes (%s): resuming", doing, r, to.done, d.Size, Reason(lost.error)))
		if err := r.client.rest(ctx, attempt, lost.error); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		to.pieced = true
	}
}

// lostError is a connection that ended early.
type lostError struct{ error }

// Unwrap returns the cause.
func (l *lostError) Unwrap() error { return l.error }

var errShort = errors.New("the answer ended")

// answer asks once for what the sink lacks of a blob, and takes it in.
func (r *Repository) answer(ctx context.Context, d ocispec.Descriptor, to *Sink) error {
	if to.done == d.Size && d.Size > 0 {
		return nil
	}
	const doing = "reading a blob"
	// Oras-go could seek, but only where the registry announces ranges.
	ranged := ""
	if to.done > 0 {
		ranged = fmt.Sprintf("bytes=%d-%d", to.done, d.Size-1)
	}
	response, err := r.ask(ctx, http.MethodGet, "blobs/"+d.Digest.String(), ranged)
	if err != nil {
		return r.failed(ctx, doing, err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := to.begin(response, d); err != nil {
		if Status(err) != 0 {
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

// begin looks at the head of an answer. One from the start of the blob, though
// more was asked for, has the sink begin again.
func (s *Sink) begin(response *http.Response, d ocispec.Descriptor) error {
	switch response.StatusCode {
	case http.StatusOK:
		if length := response.ContentLength; length >= 0 && length != d.Size {
			return Damaged("has the blob %s with %d bytes, want %d", d.Digest, length, d.Size)
		}
		if s.done > 0 {
			return s.restart()
		}
		return nil
	case http.StatusPartialContent:
		want, size := fmt.Sprintf("bytes %d-", s.done), fmt.Sprintf("/%d", d.Size)
		if got := response.Header.Get("Content-Range"); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, size) && !strings.HasSuffix(got, "/*") {
			return Damaged("has the blob %s in ranges like %q, want %q", d.Digest, got, want+"..."+size)
		}
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		return errors.Join(s.restart(), &lostError{answered(response)})
	case http.StatusNotFound:
		return Damaged("lacks the blob %s", d.Digest)
	}
	return answered(response)
}

// take reads a body to the end of the blob.
func (s *Sink) take(body io.Reader, d ocispec.Descriptor) error {
	buffer := make([]byte, min(chunk, max(d.Size-s.done, 1)))
	for s.done < d.Size {
		n, err := body.Read(buffer[:min(int64(len(buffer)), d.Size-s.done)])
		if _, err := s.Write(buffer[:n]); err != nil {
			return err
		}
		s.stage.Bytes(s.done, d.Size)
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

// shown is the size in bytes from which on the transfer of a blob is shown.
const shown = 1 << 20

// stage begins the report of a transfer.
func (c *Client) stage(subject, name string, d ocispec.Descriptor) *progress.Stage {
	if d.Size < shown || subject == "" {
		return nil
	}
	return c.options.Report.Stage(subject, name)
}

// Verify reads a blob and drops it: the error is *Damage where it is not what its
// digest says.
func (r *Repository) Verify(ctx context.Context, d ocispec.Descriptor, subject string) error {
	stage := r.client.stage(subject, "verify", d)
	err := r.Fetch(ctx, d, NewSink(io.Discard, stage))
	stage.End(err, "verified")
	return err
}

// Download reads a blob into the file at path, which appears where it is whole.
// What is under way is in the file partial, and resumed by the next call, of any
// process: the caller sees to it that there is one at a time. A disk that is full,
// and bytes that are wrong, leave nothing.
func (r *Repository) Download(ctx context.Context, d ocispec.Descriptor, path, partial string, stage *progress.Stage) error {
	to, file, err := resume(ctx, partial, d)
	if err != nil {
		return err
	}
	to.stage = stage
	if err = files.Room(filepath.Dir(partial), d.Size-to.done); err == nil {
		err = r.Fetch(ctx, d, to)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		if files.IsFull(err) || IsDamage(err) || to.done == 0 {
			err = errors.Join(err, os.Remove(partial))
		}
		return err
	}
	if err := errors.Join(os.Chmod(partial, 0o444), os.MkdirAll(filepath.Dir(path), 0o755), os.Rename(partial, path)); err != nil {
		return fmt.Errorf("finishing a blob: %w", err)
	}
	return nil
}

// resume opens a partial blob, takes in what is there already and returns the
// sink for the rest.
func resume(ctx context.Context, path string, d ocispec.Descriptor) (*Sink, *os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, fmt.Errorf("making a folder for a blob: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("creating a blob: %w", err)
	}
	to := NewSink(file, nil)
	to.done, err = io.Copy(to.hash, files.Reader(ctx, file))
	to.pieced = to.done > 0
	if err == nil && to.done > d.Size {
		err = to.restart()
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("reading what there is of a blob: %w", err), file.Close())
	}
	return to, file, nil
}

// Reader returns the bytes of a blob, which are checked by the time that it ends.
func (r *Repository) Reader(ctx context.Context, d ocispec.Descriptor) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(r.Fetch(ctx, d, NewSink(writer, nil))) }()
	return reader
}
