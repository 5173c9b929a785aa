package payload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
	if err := r.checkTags(ctx, image.Digest(), o); err != nil {
		return Pushed{}, err
	}
	p := &push{Repository: r}
	m, err := p.image(ctx, image)
	if err != nil {
		return Pushed{}, r.hinted(err)
	}
	return p.finish(ctx, m, o)
}

// push is one push.
type push struct {
	*Repository
	sent, mounted, there atomic.Int64
	changed              bool
}

// mountable are the repositories that may have a blob.
func (r *Repository) mountable(image *Image, digest v1.Hash) []string {
	from := slices.Clone(r.mountFrom)
	if o, ok := image.from[digest]; ok && o.registry == r.Host() {
		from = append(from, o.repository)
	}
	return slices.DeleteFunc(from, func(name string) bool { return name == r.Path() })
}

// image sends what is missing of an image, several layers at once and the
// configuration last, and returns its manifest.
func (p *push) image(ctx context.Context, image *Image) (oci.Manifest, error) {
	layers, err := image.image.Layers()
	if err != nil {
		return oci.Manifest{}, err
	}
	parallel := p.options.Parallel
	if parallel == 0 {
		parallel = 3
	}
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, l := range layers {
		hash, err := l.Digest()
		if err != nil {
			return oci.Manifest{}, err
		}
		title := image.layers[i].Title
		b := oci.Blob{Descriptor: ocispec.Descriptor{Digest: digest.Digest(hash.String()), Size: image.layers[i].Size}, Content: contentOf(l)}
		group.Go(func() error {
			return p.blob(inGroup, b, oci.Sending{Title: title, Subject: title, From: p.mountable(image, hash)})
		})
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("pushing to %s: %w", p, context.Cause(ctx))
		}
		return oci.Manifest{}, err
	}
	config, err1 := image.image.RawConfigFile()
	hash, err2 := image.image.ConfigName()
	manifest, err3 := image.image.RawManifest()
	if err := errors.Join(err1, err2, err3); err != nil {
		return oci.Manifest{}, err
	}
	if err := p.blob(ctx, oci.BytesBlob("", config), oci.Sending{Title: "the configuration", From: p.mountable(image, hash)}); err != nil {
		return oci.Manifest{}, err
	}
	return oci.ParseManifest(manifest)
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

// contentOf returns what reads a layer from an offset on.
func contentOf(l v1.Layer) oci.Content {
	if own, ok := l.(*layer); ok {
		return own
	}
	return skipping{l}
}

// skipping is a layer that can be read from its start only.
type skipping struct{ v1.Layer }

// Open reads from an offset on.
func (s skipping) Open(offset int64) (io.ReadCloser, error) {
	content, err := s.Compressed()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, content, offset); err != nil {
		return nil, errors.Join(err, content.Close())
	}
	return content, nil
}

// checkTags refuses a fixed tag that is another image's.
func (r *Repository) checkTags(ctx context.Context, digest string, o PushOptions) error {
	var problems []error
	for _, tag := range o.Tags {
		if !validTag.MatchString(tag.Name) {
			problems = append(problems, fmt.Errorf("tag %q: want letters, digits, dots, dashes and underscores, at most 128", tag.Name))
			continue
		}
		if !tag.Fixed || o.Force {
			continue
		}
		there, err := r.tagged(ctx, tag.Name)
		if err != nil {
			return err
		}
		if there.Digest != "" && there.Digest != digest {
			problems = append(problems, fmt.Errorf("%s:%s is %s already, not %s: a release is not replaced; replace it with --force", r, tag.Name, there.Digest, digest))
		}
	}
	return errors.Join(problems...)
}

// tagged is Resolve for who pushes: a registry that hides what is not there yet
// does not have it.
func (r *Repository) tagged(ctx context.Context, tag string) (Tagged, error) {
	there, err := r.Resolve(ctx, tag)
	if oci.Refused(err) {
		return Tagged{}, nil
	}
	return there, err
}

// finish puts a manifest, whose parts are there, and gives it its tags.
func (p *push) finish(ctx context.Context, m oci.Manifest, o PushOptions) (Pushed, error) {
	pushed := Pushed{Reference: p.String() + "@" + m.Digest().String(), Digest: m.Digest().String(), Tags: []string{}}
	if there, err := p.tagged(ctx, pushed.Digest); err != nil {
		return Pushed{}, err
	} else if there.Digest == "" {
		p.changed = true
		if err := p.PutManifest(ctx, m, ""); err != nil {
			return Pushed{}, p.hinted(err)
		}
	}
	// Examined once more: a release may have been pushed in the meantime.
	if err := p.checkTags(ctx, pushed.Digest, o); err != nil {
		return Pushed{}, err
	}
	for _, tag := range o.Tags {
		there, err := p.tagged(ctx, tag.Name)
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
