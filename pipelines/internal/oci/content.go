package oci

import (
	"bytes"
	"io"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Content can be read from any offset on, so that a transfer can be resumed.
type Content interface {
	Open(offset int64) (io.ReadCloser, error)
}

// Blob is content under its digest.
type Blob struct {
	ocispec.Descriptor
	Content
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

// section is a part of an open file.
type section struct {
	file         *os.File
	offset, size int64
}

// Open returns the part.
func (s section) Open(offset int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.file, s.offset+offset, s.size-offset)), nil
}

// BytesBlob makes a blob of bytes.
func BytesBlob(mediaType string, data []byte) Blob {
	return Blob{content.NewDescriptorFromBytes(mediaType, data), Bytes(data)}
}
