// Package oci reads and writes OCI content: repositories of a registry, image
// layouts on disk, and archives of one image. It is the only importer of
// oras-go.
//
// The one idea: the name of a blob is its digest, and the blob is checked against it
// whenever it moves. So a transfer can stop anywhere and resume there, in both
// directions, and no source of a blob needs to be trusted.
//
// Oras-go logs in, reads the credentials of the docker config, and handles manifests,
// tags, and referrers with their fallback tag. This package adds what neither it nor
// go-containerregistry does: downloads that resume from a partial file, even another
// process's, and uploads that resume from the offset that the registry names; lookups
// of manifests and blobs in registries that omit the length or the digest of an answer;
// a layout that any number of processes share, whose index is replaced by rename and
// rebuilt when it is damaged (content/oci reads every manifest when it opens a layout,
// and writes index.json in place); and archives that are reproducible to the byte.
package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// ErrNotFound is the error for a tag, manifest or blob that does not exist.
var ErrNotFound = errdef.ErrNotFound

// Limits in bytes. Registries accept manifests up to the first. A descriptor of a blob
// larger than the last is damage: no machine could hold it.
const (
	MaxManifest = 4 << 20
	MaxDocument = 64 << 20
	maxBlob     = 1 << 42
)

// Damage is the error of content that does not match its name. Its text continues a
// sentence whose subject is the content: "it has lost its config".
type Damage struct{ What string }

func (d *Damage) Error() string { return d.What }

// Damaged returns a Damage with a formatted text.
func Damaged(format string, args ...any) error { return &Damage{fmt.Sprintf(format, args...)} }

// IsDamage reports whether an error is a Damage.
func IsDamage(err error) bool {
	return errors.As(err, new(*Damage))
}

// Manifest is a manifest or an index, with its original bytes.
type Manifest struct {
	ocispec.Manifest
	// Data are the bytes; their digest is the manifest's name.
	Data []byte
	// Origin says where a layout has the manifest from, in words of the caller; "" is
	// unknown. It is kept in the index of the layout, and not in a registry.
	Origin string
}

// ParseManifest parses a manifest. The error is *Damage.
func ParseManifest(data []byte) (Manifest, error) {
	m := Manifest{Data: data}
	if len(data) > MaxManifest {
		return Manifest{}, Damaged("has a manifest of more than %d bytes", MaxManifest)
	}
	if err := json.Unmarshal(data, &m.Manifest); err != nil {
		return Manifest{}, Damaged("has a manifest that is not JSON: %v", err)
	}
	for _, part := range m.Parts() {
		if part.Digest.Validate() != nil || part.Digest.Algorithm() != digest.SHA256 || part.Size < 0 || part.Size > maxBlob {
			return Manifest{}, Damaged("names a part of %d bytes by %q, want a sha256 digest and at most %d bytes", part.Size, part.Digest, int64(maxBlob))
		}
	}
	return m, nil
}

// NewManifest encodes an image manifest.
func NewManifest(m ocispec.Manifest) (Manifest, error) {
	m.SchemaVersion, m.MediaType = 2, ocispec.MediaTypeImageManifest
	data, err := json.Marshal(m)
	if err != nil {
		return Manifest{}, fmt.Errorf("encoding a manifest: %w", err)
	}
	return Manifest{Manifest: m, Data: data}, nil
}

// Descriptor returns the descriptor of the manifest.
func (m Manifest) Descriptor() ocispec.Descriptor {
	d := content.NewDescriptorFromBytes(m.MediaType, m.Data)
	d.ArtifactType = m.ArtifactType
	return d
}

// Digest returns the digest of the manifest.
func (m Manifest) Digest() digest.Digest { return digest.FromBytes(m.Data) }

// Parts returns the config and the layers of a manifest. An index has none.
func (m Manifest) Parts() []ocispec.Descriptor {
	if m.Config.Digest == "" && len(m.Layers) == 0 {
		return nil
	}
	return append([]ocispec.Descriptor{m.Config}, m.Layers...)
}

// Bare returns a descriptor with only the fields that every reader knows.
func Bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// Total returns the size of some blobs in bytes, at most math.MaxInt64.
func Total(blobs []ocispec.Descriptor) (size int64) {
	for _, d := range blobs {
		if d.Size > math.MaxInt64-size {
			return math.MaxInt64
		}
		size += d.Size
	}
	return size
}

// IsNotFound reports whether an error is ErrNotFound.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

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
