package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Opened is the file of a source, open for a reader that goes through it once. It is
// hashed on the way, by a goroutine of its own, so that a large file is not read twice.
type Opened struct {
	// Fetched says what is open.
	Fetched Fetched

	file   *os.File
	hash   hash.Hash
	pipe   *io.PipeWriter
	hashed chan struct{}
}

// Open is Fetch for a reader that goes through the file once: it does not hash a file
// that is in the cache, which Verify does.
func (f *Fetcher) Open(ctx context.Context, s versions.Source, stage *progress.Stage) (*Opened, error) {
	fetched, err := f.fetch(ctx, &task{Fetcher: f, source: s, stage: stage, readsOnce: true})
	if err != nil {
		return nil, err
	}
	return OpenFile(fetched)
}

// OpenFile opens a file with the hash that it must have.
func OpenFile(fetched Fetched) (*Opened, error) {
	file, err := files.OpenNamed(fetched.Path)
	if err != nil {
		return nil, err
	}
	reader, writer := io.Pipe()
	o := &Opened{Fetched: fetched, file: file, hash: sha256.New(), pipe: writer, hashed: make(chan struct{})}
	go func() {
		defer close(o.hashed)
		_, _ = io.Copy(o.hash, reader) // Neither fails.
	}()
	return o, nil
}

func (o *Opened) Read(p []byte) (int, error) {
	n, err := o.file.Read(p)
	_, _ = o.pipe.Write(p[:n]) // It fails only after Close.
	return n, err
}

// ReadAt reads anywhere, without hashing.
func (o *Opened) ReadAt(p []byte, offset int64) (int, error) { return o.file.ReadAt(p, offset) }

// Size returns the length of the file in bytes.
func (o *Opened) Size() int64 { return o.Fetched.Size }

// Verify reads to the end. The error is a *Mismatch if the file is not the declared one.
func (o *Opened) Verify(ctx context.Context) error {
	if _, err := files.Copy(ctx, io.Discard, o); err != nil {
		return fmt.Errorf("reading source %q: %w", o.Fetched.Name, err)
	}
	_ = o.pipe.Close()
	<-o.hashed
	if got := hex.EncodeToString(o.hash.Sum(nil)); got != o.Fetched.SHA256 {
		return &Mismatch{What: o.Fetched.Path, Source: o.Fetched.Name, Got: "sha256 " + got, Want: "sha256 " + o.Fetched.SHA256}
	}
	return nil
}

// Close closes the file.
func (o *Opened) Close() error { return errors.Join(o.pipe.Close(), o.file.Close()) }
