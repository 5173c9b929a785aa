package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// chunk is how much is read from a connection at once, in bytes. A mebibyte takes the
// kernel twice the time: see registry_bench_test.go.
const chunk = 128 << 10

// MaxUnsized is the largest content whose size is not declared, in bytes.
const MaxUnsized = 4 << 30

// Download reads content of a known hash. It hashes the content while it writes it, and
// resumes after a lost connection.
type Download struct {
	Client Client
	// URL is the address of the content. It may contain credentials.
	URL string
	// SHA256 is the hash of the content, Size its length in bytes, or -1 if unknown. Most
	// limits content of unknown size; 0 is MaxUnsized.
	SHA256     string
	Size, Most int64
	// Stage shows the progress of the download, What names it in notes.
	Stage *progress.Stage
	What  string
	Notes interface{ Note(text string) }
	// Pace has the waits between attempts; Tries limits the attempts without progress.
	Pace Pace
	// Impatient gives up a server that stalls at once: the caller may have another.
	Impatient bool

	// Done is how many bytes were received.
	Done int64

	to   io.Writer
	hash hash.Hash
	// pieced is true if the bytes came in more than one response.
	pieced bool
}

// Mismatch is the error of content other than the declared.
type Mismatch struct {
	Size int64
	// SHA256 is "" if the size is already wrong.
	SHA256 string
}

func (m *Mismatch) Error() string {
	return fmt.Sprintf("got %d bytes with sha256 %q", m.Size, m.SHA256)
}

// lost is the error of a connection that ended early.
type lost struct{ error }

// File writes the content to path, which appears once it is whole. An unfinished download
// stays in the file partial, and the next call, of any process, resumes it; calls must
// not overlap. After a full disk, or wrong content, File removes partial.
func (d *Download) File(ctx context.Context, path, partial string, mode fs.FileMode) error {
	file, err := d.open(ctx, partial)
	if err != nil {
		return err
	}
	if err = errors.Join(d.run(ctx), file.Close()); err != nil {
		if files.IsFull(err) || errors.As(err, new(*Mismatch)) || d.Done == 0 {
			err = errors.Join(err, os.Remove(partial))
		}
		return err
	}
	if err := errors.Join(os.Chmod(partial, mode), os.MkdirAll(filepath.Dir(path), 0o755), os.Rename(partial, path)); err != nil {
		return fmt.Errorf("finishing a download: %w", err)
	}
	return nil
}

// open opens a partial file and hashes its content. It replaces one that is not a regular
// file, and empties one that is too long.
func (d *Download) open(ctx context.Context, path string) (*os.File, error) {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if info, statErr := os.Lstat(path); statErr == nil && !info.Mode().IsRegular() {
		err = os.Remove(path)
	}
	var file *os.File
	if err == nil {
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("creating a download: %w", err)
	}
	d.to, d.hash = file, sha256.New()
	d.Done, err = io.Copy(d.hash, files.Reader(ctx, file))
	d.pieced = d.Done > 0
	if err == nil && d.Done > d.limit() {
		err = d.restart()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading a partial download: %w", err), file.Close())
	}
	return file, nil
}

func (d *Download) limit() int64 {
	if d.Size < 0 {
		return cmp.Or(d.Most, MaxUnsized)
	}
	return d.Size
}

// To writes the content to a buffer, a pipe, or io.Discard.
func (d *Download) To(ctx context.Context, to io.Writer) error {
	d.to, d.hash = to, sha256.New()
	return d.run(ctx)
}

// restart discards what was received.
func (d *Download) restart() (err error) {
	d.hash.Reset()
	d.Done, d.pieced = 0, false
	switch to := d.to.(type) {
	case *os.File:
		if err = to.Truncate(0); err == nil {
			_, err = to.Seek(0, io.SeekStart)
		}
	case *bytes.Buffer:
		to.Reset()
	case *io.PipeWriter:
		err = errors.New("cannot start again: the reader has received data already")
	}
	return err
}

// again discards what was received, for a reason that may be temporary.
func (d *Download) again(why error) error {
	if err := d.restart(); err != nil {
		return err
	}
	return lost{why}
}

// run downloads the missing content and checks the hash. If the content came in pieces
// and is wrong, no one knows which piece is: run downloads everything again.
func (d *Download) run(ctx context.Context) error {
	err := d.complete(ctx)
	if other, ok := errors.AsType[*Mismatch](err); d.pieced && ok && other.SHA256 != "" {
		d.Stage.Note(d.What + ": the pieces do not fit together, starting again")
		if err = d.restart(); err == nil {
			err = d.complete(ctx)
		}
	}
	return err
}

// complete resumes after lost connections until the content is whole.
func (d *Download) complete(ctx context.Context) error {
	for failures, furthest := 0, d.Done; ; {
		err := d.attempt(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			if sum := hex.EncodeToString(d.hash.Sum(nil)); sum != d.SHA256 {
				return &Mismatch{d.Done, sum}
			}
			return nil
		}
		var off lost
		if !errors.As(err, &off) {
			return err
		}
		if d.Done-furthest >= chunk {
			failures, furthest = 0, d.Done
		}
		if failures++; failures >= d.Pace.Tries || d.Impatient && errors.Is(off.error, ErrStalled) {
			return &Unavailable{Err: off.error}
		}
		of := ""
		if d.Size >= 0 {
			of = fmt.Sprintf(" of %d", d.Size)
		}
		d.Notes.Note(fmt.Sprintf("%s broke off after %d%s bytes (%s): resuming", d.What, d.Done, of, Reason(off.error)))
		if err := d.Pace.Rest(ctx, d.Pace.Backoff(failures)); err != nil {
			return err
		}
		d.pieced = d.Done > 0
	}
}

func (d *Download) attempt(ctx context.Context) error {
	if d.Done == d.Size && d.Done > 0 {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, http.NoBody)
	if err != nil {
		return &Unavailable{Err: errors.New("invalid address")}
	}
	request.Header.Set("Accept-Encoding", "identity")
	if d.Done > 0 {
		rest := fmt.Sprintf("bytes=%d-", d.Done)
		if d.Size > 0 {
			rest += fmt.Sprint(d.Size - 1)
		}
		request.Header.Set("Range", rest)
	}
	response, err := d.Client.Do(request)
	if err != nil {
		return &Unavailable{Err: err}
	}
	defer func() { _ = response.Body.Close() }()
	ranged := strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.Done))
	switch code := response.StatusCode; {
	case code == http.StatusOK:
		return d.take(response, d.Done) // The server does not support ranges, or a cache has the whole content.
	case code == http.StatusPartialContent && ranged:
		return d.take(response, 0)
	case code == http.StatusRequestedRangeNotSatisfiable && d.Done > 0 && d.Size < 0:
		return nil // The content ends where the file does.
	case code == http.StatusRequestedRangeNotSatisfiable, code == http.StatusPartialContent:
		return d.again(fmt.Errorf("%s for the range from %d", StatusText(code), d.Done))
	default:
		return &Unavailable{fmt.Errorf("the server answered %s", StatusText(code)), response}
	}
}

// take reads the body of a response to the end of the content, and skips as many bytes of
// it as were received before.
func (d *Download) take(response *http.Response, skip int64) error {
	total := d.Size
	if response.ContentLength >= 0 {
		total = d.Done - skip + response.ContentLength
	}
	if total > d.limit() {
		return &Mismatch{Size: total}
	}
	if _, err := io.CopyN(io.Discard, response.Body, skip); errors.Is(err, io.EOF) {
		return d.again(err) // The response is shorter than what was received before.
	} else if err != nil {
		return lost{err}
	}
	if file, ok := d.to.(*os.File); ok {
		if err := files.Room(filepath.Dir(file.Name()), total-d.Done); err != nil {
			return err
		}
	}
	for buffer := make([]byte, min(chunk, max(d.limit()-d.Done, 1))); d.Done < d.limit(); {
		n, err := response.Body.Read(buffer[:min(int64(len(buffer)), d.limit()-d.Done)])
		if _, err := d.to.Write(buffer[:n]); err != nil {
			return fmt.Errorf("writing a download: %w", err)
		}
		d.hash.Write(buffer[:n])
		d.Done += int64(n)
		d.Stage.Bytes(d.Done, max(total, 0))
		switch {
		case err == nil || d.Done == d.Size:
		case !errors.Is(err, io.EOF):
			return lost{err}
		case d.Done < d.Size && total == d.Size:
			// Without a declared length, a lost connection looks like the end.
			return lost{io.ErrUnexpectedEOF}
		default:
			return nil
		}
	}
	if d.Size < 0 {
		return &Mismatch{Size: d.Done}
	}
	return nil
}
