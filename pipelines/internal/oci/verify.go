package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// Verify reads every blob once. It returns the manifests of the entries that are whole,
// and one line for each damage that it found. It changes nothing.
func (l *Layout) Verify(ctx context.Context) (whole []Manifest, lines []string, err error) {
	index, err := l.readIndex()
	switch {
	case IsDamage(err):
		lines = append(lines, fmt.Sprintf("%s is damaged: %v", ocispec.ImageIndexFile, err))
	case err != nil && l.lost(err):
		lines = append(lines, ocispec.ImageIndexFile+" is missing")
	case files.IgnoreMissing(err) != nil:
		return nil, nil, err
	}
	sizes, wrong, err := l.rehash(ctx)
	if err != nil {
		return nil, nil, err
	}
	lines = append(lines, wrong...)
	for _, d := range index.Manifests {
		tag := d.Annotations[ocispec.AnnotationRefName]
		m, what, err := l.verifyEntry(ctx, d, tag, sizes)
		if err != nil {
			return nil, nil, err
		}
		if len(what) == 0 {
			whole = append(whole, m)
		}
		for _, line := range what {
			lines = append(lines, fmt.Sprintf("entry %s %s", tag, line))
		}
	}
	return whole, lines, nil
}

// rehash hashes all blobs. It returns the sizes of the intact ones, and a line for each
// damaged one.
func (l *Layout) rehash(ctx context.Context) (sizes map[digest.Digest]int64, wrong []string, err error) {
	folder := filepath.Join(l.Root, ocispec.ImageBlobsDir, digest.SHA256.String())
	entries, err := os.ReadDir(folder)
	if files.IgnoreMissing(err) != nil {
		return nil, nil, fmt.Errorf("reading the store: %w", err)
	}
	sizes = map[digest.Digest]int64{}
	for _, entry := range entries {
		name := digest.NewDigestFromEncoded(digest.SHA256, entry.Name())
		if !entry.Type().IsRegular() || name.Validate() != nil {
			wrong = append(wrong, fmt.Sprintf("%s is not a blob", filepath.Join(folder, entry.Name())))
			continue
		}
		sum, size, err := files.Hash(ctx, filepath.Join(folder, entry.Name()))
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("reading a blob: %w", err)
		case sum != name.Encoded():
			wrong = append(wrong, fmt.Sprintf("blob %s of %d bytes hashes to sha256:%s", name, size, sum))
		default:
			sizes[name] = size
		}
	}
	return sizes, wrong, nil
}

// verifyEntry verifies one entry of the index, given the sizes of the intact blobs. Each
// line it returns continues a sentence whose subject is the entry.
func (l *Layout) verifyEntry(ctx context.Context, d ocispec.Descriptor, tag string, sizes map[digest.Digest]int64) (m Manifest, lines []string, err error) {
	verify := func(what string, d ocispec.Descriptor) {
		if size, found := sizes[d.Digest]; !found {
			lines = append(lines, fmt.Sprintf("has no whole %s %s (%s)", what, d.Digest, d.MediaType))
		} else if size != d.Size {
			lines = append(lines, fmt.Sprintf("has a %s %s of %d bytes, want %d", what, d.Digest, size, d.Size))
		}
	}
	if verify("manifest", d); len(lines) > 0 {
		return m, lines, nil
	}
	if m, err = l.manifest(ctx, d); err == nil {
		var name string
		if name, err = l.Name(m); err == nil && name != tag {
			err = Damaged("is the manifest of %s", name)
		}
	}
	if IsDamage(err) {
		return m, []string{err.Error()}, nil
	}
	for _, part := range m.Parts() {
		verify("part", part)
	}
	return m, lines, err
}

// doing is the operation in errors of reading blobs.
const doing = "reading a blob"

// download returns the download of a blob. The stage may be nil.
func (r *Repository) download(ctx context.Context, d ocispec.Descriptor, stage *progress.Stage) *web.Download {
	return &web.Download{
		Client: r.host, URL: r.url(ctx, "blobs/"+d.Digest.String()), SHA256: d.Digest.Encoded(), Size: d.Size,
		Stage: stage, What: doing + ": " + r.String(), Notes: r, Pace: r.client.options.Pace,
	}
}

// broken converts the error of a download: the registry's fault becomes *Damage or
// *Failure.
func (r *Repository) broken(ctx context.Context, d ocispec.Descriptor, err error) error {
	var other *web.Mismatch
	var gone *web.Unavailable
	switch {
	case errors.As(err, &other) && other.Size != d.Size:
		return Damaged("has the blob %s with %d bytes, want %d", d.Digest, other.Size, d.Size)
	case errors.As(err, &other):
		return Damaged("has a blob of %d bytes that hashes to sha256:%s, want %s", other.Size, other.SHA256, d.Digest)
	case ctx.Err() != nil:
		return r.failed(ctx, doing, err)
	case !errors.As(err, &gone):
		return err
	case gone.Response == nil:
		return r.failed(ctx, doing, gone.Err)
	case gone.Response.StatusCode == http.StatusNotFound:
		return Damaged("lacks the blob %s", d.Digest)
	}
	return r.failed(ctx, doing, answered(gone.Response))
}

// Fetch reads a blob into a buffer, a pipe or io.Discard, and checks its digest. It
// resumes after a lost connection. Wrong content is *Damage; a registry that stops
// serving it is *Failure.
func (r *Repository) Fetch(ctx context.Context, d ocispec.Descriptor, to io.Writer, stage *progress.Stage) error {
	return r.broken(ctx, d, r.download(ctx, d, stage).To(r.reading(ctx), to))
}

// Download is Fetch into a file; see web.Download.File.
func (r *Repository) Download(ctx context.Context, d ocispec.Descriptor, path, partial string, stage *progress.Stage) error {
	return r.broken(ctx, d, r.download(ctx, d, stage).File(r.reading(ctx), path, partial, 0o444))
}

// shown is the size of the smallest blob whose transfer is reported, in bytes.
const shown = 1 << 20

func (c *Client) stage(subject, name string, d ocispec.Descriptor) *progress.Stage {
	if d.Size < shown || subject == "" {
		return nil
	}
	return c.options.Report.Stage(subject, name)
}

// Verify reads a blob and discards it. The error is *Damage if the blob does not match
// its digest.
func (r *Repository) Verify(ctx context.Context, d ocispec.Descriptor, subject string) error {
	stage := r.client.stage(subject, "verify", d)
	err := r.Fetch(ctx, d, io.Discard, stage)
	stage.End(err, "verified")
	return err
}

// Reader returns the bytes of a blob. Its last Read fails if they do not match the digest.
func (r *Repository) Reader(ctx context.Context, d ocispec.Descriptor) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(r.Fetch(ctx, d, writer, nil)) }()
	return reader
}
