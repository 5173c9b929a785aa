package payload

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// PushOptions say how an image is tagged.
type PushOptions struct {
	Tags []Tag
	// Force moves fixed tags too.
	Force bool
	// Digest is the digest that the image must have, "" for any: "sha256:...".
	Digest string
}

// Pushed is the result of a push.
type Pushed struct {
	// Reference is the reference by digest: NAME@sha256:...
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	// Tags are those that point to it.
	Tags []string `json:"tags"`
	// Sent are the bytes of layers and configurations that were sent, including those
	// lost with a connection. Mounted are those that the registry took from another
	// repository, There those that it already had.
	Sent    int64 `json:"sent"`
	Mounted int64 `json:"mounted"`
	There   int64 `json:"there"`
	// Changed is false if everything was there already, including the tags.
	Changed bool `json:"changed"`
}

// Push sends what the repository lacks of an image, and then signs and tags it, so that
// a partial image is never visible. The next push after one that was killed sends what is still
// missing. A fixed tag of another image is an error before anything is sent.
func (r *Repository) Push(ctx context.Context, image *Image, o PushOptions) (Pushed, error) {
	if o.Digest != "" && o.Digest != image.Digest() {
		return Pushed{}, fmt.Errorf("the image is %s, want %s: one of its inputs differs", image.Digest(), o.Digest)
	}
	if err := r.Check(ctx, image.Digest(), o, false); err != nil {
		return Pushed{}, err
	}
	p := &push{Repository: r}
	if err := p.image(ctx, image); err != nil {
		return Pushed{}, err
	}
	return p.finish(ctx, image.manifest, o)
}

// push is one push.
type push struct {
	*Repository
	sent, mounted, there atomic.Int64
	changed              bool
}

// image sends the missing parts of an image, several layers at once and the
// configuration last.
func (p *push) image(ctx context.Context, image *Image) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(p.options.Parallel, 3))
	for _, l := range image.layers {
		group.Go(func() error {
			return p.blob(inGroup, l.blob(), oci.Sending{Title: l.Title, Subject: l.Title, From: p.mountable(l.home)})
		})
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("pushing to %s: %w", p, context.Cause(ctx))
		}
		return p.hinted(err)
	}
	return p.hinted(p.blob(ctx, oci.BytesBlob("", image.raw), oci.Sending{Title: "the configuration", From: p.mountable(image.home)}))
}

// mountable returns the repositories that a blob may be mounted from: those of the
// options, and the one that it was found in, nil for none.
func (r *Repository) mountable(home *oci.Repository) []string {
	from := slices.Clone(r.mountFrom)
	if home != nil && home.Host() == r.Host() {
		from = append(from, home.Path())
	}
	return slices.DeleteFunc(from, func(name string) bool { return name == r.Path() })
}

// blob pushes a blob that the repository lacks.
func (p *push) blob(ctx context.Context, b oci.Blob, how oci.Sending) error {
	sent, err := p.Repository.Repository.Push(ctx, b, how)
	p.sent.Add(sent.Bytes)
	switch {
	case sent.There:
		p.there.Add(b.Size)
	case sent.Mounted:
		p.mounted.Add(b.Size)
	}
	if oci.IsDamage(err) {
		return fmt.Errorf("pushing %s: it %w: something still writes to it", how.Title, err)
	}
	return err
}

// finish puts a manifest whose parts are there, and tags it.
func (p *push) finish(ctx context.Context, m oci.Manifest, o PushOptions) (Pushed, error) {
	pushed := Pushed{Reference: p.String() + "@" + m.Digest().String(), Digest: m.Digest().String(), Tags: []string{}}
	if there, err := p.tagged(ctx, pushed.Digest, pushed.Digest, false); err != nil {
		return Pushed{}, err
	} else if there.Digest == "" {
		p.changed = true
		if err := p.PutManifest(ctx, m, ""); err != nil {
			return Pushed{}, p.hinted(err)
		}
	}
	if err := p.seal(ctx, m); err != nil {
		return Pushed{}, p.hinted(err)
	}
	// Checked again: a release may have been pushed in the meantime.
	if err := p.Check(ctx, pushed.Digest, o, true); err != nil {
		return Pushed{}, err
	}
	for _, tag := range o.Tags {
		there, err := p.tagged(ctx, tag.Name, pushed.Digest, tag.Release != "" && !o.Force)
		if err != nil {
			return Pushed{}, err
		}
		if tag.Release != "" && semver.Newer(there.Version, tag.Release) {
			p.options.Report.Note("payload", fmt.Sprintf("%s:%s already points to the newer release %s: not moved", p, tag.Name, there.Version))
			continue
		}
		if there.Digest != pushed.Digest {
			p.changed = true
			if err := p.PutManifest(ctx, m, tag.Name); err != nil {
				return Pushed{}, p.hinted(err)
			}
		}
		if !slices.Contains(pushed.Tags, tag.Name) {
			pushed.Tags = append(pushed.Tags, tag.Name)
		}
	}
	pushed.Sent, pushed.Mounted, pushed.There = p.sent.Load(), p.mounted.Load(), p.there.Load()
	pushed.Changed = p.changed
	return pushed, nil
}
