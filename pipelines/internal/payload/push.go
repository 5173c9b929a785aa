package payload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// PushOptions say what an image is called.
type PushOptions struct {
	Tags []Tag
	// Force has a fixed tag moved all the same.
	Force bool
	// Digest, where it is not "", is what the image must be: "sha256:...".
	Digest string
}

// Pushed is what a repository has now.
type Pushed struct {
	// Reference is that by digest: NAME@sha256:...
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	// Tags point at it.
	Tags []string `json:"tags"`
	// Sent are the bytes of layers and configurations that went out, also those that
	// a lost connection took; Mounted those that the registry took from another
	// repository, There those that it had.
	Sent    int64 `json:"sent"`
	Mounted int64 `json:"mounted"`
	There   int64 `json:"there"`
	// Changed is false where everything was there already, tags and all.
	Changed bool `json:"changed"`
}

// Push sends what the repository lacks of an image, and then gives it its tags, so
// that nobody sees half of it. Pushed again, also after it was killed, it sends what
// is still missing. A tag that is fixed, and another image's, is an error before
// anything is sent.
func (r *Repository) Push(ctx context.Context, image *Image, o PushOptions) (Pushed, error) {
	if o.Digest != "" && o.Digest != image.Digest() {
		return Pushed{}, fmt.Errorf("the image is %s, and was to be %s: something that it is made of is another", image.Digest(), o.Digest)
	}
	client, err := r.login(ctx, r.sources(image))
	if err != nil {
		return Pushed{}, err
	}
	p := &push{Repository: r, client: client}
	if err := p.checkTags(ctx, image.digest, o); err != nil {
		return Pushed{}, err
	}
	if err := p.blobs(ctx, image); err != nil {
		return Pushed{}, err
	}
	return p.finish(ctx, image.image, image.digest, o)
}

// push is one push.
type push struct {
	*Repository
	client *http.Client

	sent, mounted, there atomic.Int64
	changed              bool
}

// sources are the repositories that layers of an image may be taken from.
func (r *Repository) sources(image *Image) []string {
	from := slices.Clone(r.mountFrom)
	for _, l := range image.layers {
		from = append(from, r.mountable(image, l.Digest)...)
	}
	slices.Sort(from)
	return slices.Compact(from)
}

// mountable are the repositories that may have a layer.
func (r *Repository) mountable(image *Image, digest string) []string {
	from := slices.Clone(r.mountFrom)
	for hash, o := range image.from {
		if hash.String() == digest && o.registry == r.repository.RegistryStr() {
			from = append(from, o.repository)
		}
	}
	return slices.DeleteFunc(from, func(name string) bool { return name == r.repository.RepositoryStr() })
}

// blobs sends what is missing, several at once, and the configuration last.
func (p *push) blobs(ctx context.Context, image *Image) error {
	layers, err := image.image.Layers()
	if err != nil {
		return err
	}
	parallel := p.options.Parallel
	if parallel == 0 {
		parallel = 3
	}
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, l := range layers {
		info := image.layers[i]
		digest, err := l.Digest()
		if err != nil {
			return err
		}
		b := blob{digest: digest, size: info.Size, title: info.Title, open: opener(l), from: p.mountable(image, info.Digest)}
		group.Go(func() error { return p.blob(inGroup, b) })
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("pushing to %s: %w", p, context.Cause(ctx))
		}
		return err
	}
	config, err := image.image.RawConfigFile()
	if err != nil {
		return err
	}
	digest, err := image.image.ConfigName()
	if err != nil {
		return err
	}
	return p.blob(ctx, blob{digest: digest, size: int64(len(config)), title: "the configuration", from: p.mountable(image, digest.String()), open: func(offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(config[offset:])), nil
	}})
}

// opener returns what reads a layer from an offset on.
func opener(l v1.Layer) func(int64) (io.ReadCloser, error) {
	if own, ok := l.(*layer); ok {
		return func(offset int64) (io.ReadCloser, error) { return own.open(offset), nil }
	}
	return func(offset int64) (io.ReadCloser, error) {
		content, err := l.Compressed()
		if err != nil {
			return nil, failure{err}
		}
		if _, err := io.CopyN(io.Discard, content, offset); err != nil {
			_ = content.Close()
			return nil, failure{err}
		}
		return content, nil
	}
}

// shown is the size in bytes from which on the progress of a blob is shown.
const shown = 1 << 20

// blob has the repository hold a blob.
func (p *push) blob(ctx context.Context, b blob) error {
	doing := "pushing " + b.title
	t := &transfer{Repository: p.Repository, client: p.client, blob: b, sent: &p.sent}
	there, err := t.has(ctx)
	if err != nil {
		return p.failed(doing, err)
	}
	if there {
		p.there.Add(b.size)
		return nil
	}
	mounted, err := t.mount(ctx)
	if err != nil {
		return p.failed(doing, err)
	}
	if mounted {
		p.mounted.Add(b.size)
		return nil
	}
	end := func(error, string) {}
	if p.options.Bytes != nil && b.size >= shown {
		t.progress, end = p.options.Bytes(b.title)
	}
	err = t.send(ctx)
	end(err, "pushed")
	if err != nil {
		return p.failed(doing, err)
	}
	return nil
}
