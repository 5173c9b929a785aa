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
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Content can be read from any offset, so that a transfer can be resumed.
type Content interface {
	Open(offset int64) (io.ReadCloser, error)
}

// Blob is content with its descriptor.
type Blob struct {
	ocispec.Descriptor
	Content
}

// Copy writes the content. The error is *Damage if it does not match its digest.
func (b Blob) Copy(ctx context.Context, to io.Writer) error {
	from, err := b.Open(0)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	hash := sha256.New()
	size, err := files.Copy(ctx, io.MultiWriter(to, hash), from)
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); size != b.Size || sum != b.Digest.Encoded() {
		return Damaged("has a blob of %d bytes that hashes to sha256:%s, want %d and %s", size, sum, b.Size, b.Digest)
	}
	return nil
}

// File is the content of the file at a path.
type File string

// Open opens the file.
func (f File) Open(offset int64) (io.ReadCloser, error) {
	file, err := files.Open(string(f))
	if err == nil {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		return nil, err
	}
	return file, nil
}

// Bytes is content in memory.
type Bytes []byte

// Open returns the bytes.
func (b Bytes) Open(offset int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b[min(offset, int64(len(b))):])), nil
}

// section is part of an open file.
type section struct {
	file         *os.File
	offset, size int64
}

func (s section) Open(offset int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.file, s.offset+offset, s.size-offset)), nil
}

// BytesBlob returns a blob of bytes.
func BytesBlob(mediaType string, data []byte) Blob {
	return Blob{content.NewDescriptorFromBytes(mediaType, data), Bytes(data)}
}

// body opens the part of the blob that the next request sends.
func (u *upload) body() (io.ReadCloser, error) {
	content, err := u.blob.Open(u.offset)
	if err != nil {
		return nil, err
	}
	b := &body{ReadCloser: content, upload: u, done: u.offset}
	if u.offset == 0 {
		b.hash = sha256.New()
	}
	return b, nil
}

// body is the body of a request that sends a blob. If it sends the whole blob, it
// checks the digest before the last byte, so that no registry accepts a damaged blob.
type body struct {
	io.ReadCloser
	upload *upload
	done   int64
	hash   hash.Hash
}

// Read reads from the blob. The error is *Damage if the blob does not match its digest.
func (b *body) Read(p []byte) (int, error) {
	u := b.upload
	n, err := b.ReadCloser.Read(p)
	b.done += int64(n)
	u.sent.Add(int64(n))
	u.stage.Bytes(b.done, u.blob.Size)
	if b.hash == nil {
		return n, err
	}
	b.hash.Write(p[:n])
	if b.done < u.blob.Size && !errors.Is(err, io.EOF) {
		return n, err
	}
	if sum := b.hash.Sum(nil); hex.EncodeToString(sum) != u.blob.Digest.Encoded() {
		u.damage.Store(&Damage{fmt.Sprintf("has a blob of %d bytes that hashes to sha256:%x, want %s", b.done, sum, u.blob.Digest)})
		return 0, u.damage.Load()
	}
	return n, err
}
