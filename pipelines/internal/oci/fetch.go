package oci

import (
	"context"
	"errors"
	"io"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

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
