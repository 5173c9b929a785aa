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

// PushOptions say what an image is called.
type PushOptions struct {
	Tags []Tag
	// Force has a fixed tag moved anyway.
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
// that half of it is never visible. Pushed again, also after it was killed, it sends what
// is still missing. A tag that is fixed, and another image's, is an error before
// anything is sent.
func (r *Repository) Push(ctx context.Context, image *Image, o PushOptions) (Pushed, error) {
	if o.Digest != "" && o.Digest != image.Digest() {
		return Pushed{}, fmt.Errorf("the image is %s, and was to be %s: something that it is made of is another", image.Digest(), o.Digest)
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

// image sends what is missing of an image, several layers at once and the
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

// mountable are the repositories that may have a blob: those of the options, and where
// it was found, if that is not nil.
func (r *Repository) mountable(home *oci.Repository) []string {
	from := slices.Clone(r.mountFrom)
	if home != nil && home.Host() == r.Host() {
		from = append(from, home.Path())
	}
	return slices.DeleteFunc(from, func(name string) bool { return name == r.Path() })
}

// blob has the repository hold a blob.
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

// finish puts a manifest, whose parts are there, and gives it its tags.
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
	// Examined once more: a release may have been pushed in the meantime.
	if err := p.Check(ctx, pushed.Digest, o, true); err != nil {
		return Pushed{}, err
	}
	for _, tag := range o.Tags {
		there, err := p.tagged(ctx, tag.Name, pushed.Digest, tag.Release != "" && !o.Force)
		if err != nil {
			return Pushed{}, err
		}
		if tag.Release != "" && semver.Newer(there.Version, tag.Release) {
			p.options.Report.Note("payload", fmt.Sprintf("%s:%s is the newer release %s: it stays", p, tag.Name, there.Version))
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
