package payload

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Tagged is what a tag points at; the zero value is nothing.
type Tagged struct {
	// Digest is "sha256:...".
	Digest string
	// Version and Revision are the release and the commit that Labels gave it, ""
	// where it says none.
	Version, Revision string
}

// Resolve returns what a tag points at. It needs no right to push. Hidden tells
// whether an error is a registry's that does not show it to whoever asks.
func (r *Repository) Resolve(ctx context.Context, tag string) (Tagged, error) {
	client, err := r.reader(ctx)
	if err != nil {
		return Tagged{}, err
	}
	return r.read(ctx, client, tag)
}

// Hidden tells whether an error is the answer of a registry that wants to know who
// asks, or does not like who does. Some say so of a repository that is not there.
func Hidden(err error) bool {
	return status(err) == http.StatusUnauthorized || status(err) == http.StatusForbidden
}

// Check refuses fixed tags that are another image's than that of a digest, as a push
// does. It changes nothing.
func (r *Repository) Check(ctx context.Context, digest string, o PushOptions) error {
	hash, err := v1.NewHash(digest)
	if err != nil {
		return fmt.Errorf("digest %q: %w", digest, err)
	}
	client, err := r.login(ctx, nil)
	if err != nil {
		return err
	}
	return (&push{Repository: r, client: client}).checkTags(ctx, hash, o)
}

// Tag gives tags to what the repository has under a digest.
func (r *Repository) Tag(ctx context.Context, digest string, o PushOptions) (Pushed, error) {
	client, err := r.login(ctx, nil)
	if err != nil {
		return Pushed{}, err
	}
	p := &push{Repository: r, client: client}
	descriptor, err := remote.Get(r.repository.Digest(digest), remote.WithContext(ctx), remote.WithTransport(client.Transport))
	if err != nil {
		return Pushed{}, p.failed("looking up "+digest, interrupted(ctx, err))
	}
	return p.finish(ctx, descriptor, descriptor.Digest, o)
}

// reader returns a client that may pull. It gives up soon: nothing is done yet that
// would be lost.
func (r *Repository) reader(ctx context.Context) (*http.Client, error) {
	pace := basePace
	if r.options.pace.tries > 0 {
		pace = r.options.pace
	}
	return r.connected(ctx, pace, r.repository.Scope(transport.PullScope))
}

// read reads what a tag points at.
func (r *Repository) read(ctx context.Context, client *http.Client, tag string) (Tagged, error) {
	descriptor, err := remote.Get(r.repository.Tag(tag), remote.WithContext(ctx), remote.WithTransport(client.Transport))
	switch {
	case ctx.Err() != nil:
		return Tagged{}, context.Cause(ctx)
	case status(err) == http.StatusNotFound:
		return Tagged{}, nil
	case err != nil:
		return Tagged{}, r.failed("looking up the tag "+tag, err)
	}
	var manifest struct{ Annotations map[string]string }
	if err := json.Unmarshal(descriptor.Manifest, &manifest); err != nil {
		return Tagged{}, r.failed("reading what the tag "+tag+" points at", err)
	}
	return Tagged{descriptor.Digest.String(), manifest.Annotations[oci+"version"], manifest.Annotations[oci+"revision"]}, nil
}

// tagged returns the digest that a tag points at; the zero value is nothing.
func (r *Repository) tagged(ctx context.Context, client *http.Client, tag string) (v1.Hash, error) {
	descriptor, err := remote.Head(r.repository.Tag(tag), remote.WithContext(ctx), remote.WithTransport(client.Transport))
	switch {
	case ctx.Err() != nil:
		return v1.Hash{}, context.Cause(ctx)
	case status(err) == http.StatusNotFound:
		return v1.Hash{}, nil
	case err != nil:
		return v1.Hash{}, r.failed("looking up the tag "+tag, err)
	}
	return descriptor.Digest, nil
}
