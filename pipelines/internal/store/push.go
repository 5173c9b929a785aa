package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote"
)

// Push makes an artifact available in the registry, and the tags point at it: it
// sends the blobs that the registry lacks, then the manifest under the key, then
// the proofs, then the tags. Who comes first wins: a whole artifact that is there under the key,
// though it may be another build, stays, and the tags point at that. The store
// need not hold such an artifact. One that could not be read in a pull of this
// Registry is sent again, all of it, and then read: a registry may keep the damaged
// blob that it had, and then nothing is tagged. Of two that push at the very same moment the
// later wins, and what both sent is whole.
func (r *Registry) Push(ctx context.Context, ref Ref, from *Store, tags []string) error {
	if err := ref.validate(); err != nil {
		return err
	}
	repository, err := r.repository(ref.Asset)
	if err != nil {
		return err
	}
	p := &pushing{r, repository, from, ref}
	there, err := p.there(ctx)
	if err != nil {
		return r.hinted(err)
	}
	if there == nil {
		if there, err = p.send(ctx); err != nil {
			return r.hinted(err)
		}
	}
	if err := p.proofs(ctx, *there); err != nil {
		return r.hinted(err)
	}
	for _, tag := range tags {
		if err := p.tag(ctx, *there, tag); err != nil {
			return r.hinted(err)
		}
	}
	return nil
}

// pushing is one Push.
type pushing struct {
	*Registry
	repository *remote.Repository
	from       *Store
	ref        Ref
}

// there returns the manifest that the registry has under the key, if it and all
// that it names are there.
func (p *pushing) there(ctx context.Context) (*found, error) {
	if p.condemned(p.ref) {
		return nil, nil
	}
	f, err := p.manifest(ctx, p.ref.Asset, p.ref.Tag())
	if err == nil {
		err = f.artifact.is(p.ref)
	}
	var damaged *damage
	switch {
	case IsNotFound(err):
		return nil, nil
	case errors.As(err, &damaged):
		p.tell(fmt.Sprintf("the artifact %s of %s in %s is replaced: it %v", p.ref.Tag(), p.ref.Asset, p, damaged))
		return nil, nil
	case err != nil:
		return nil, err
	}
	lacks, err := p.lacks(ctx, f.blobs())
	if err != nil {
		return nil, err
	}
	if len(lacks) > 0 {
		p.tell(fmt.Sprintf("the artifact %s of %s in %s lacks %d %s", p.ref.Tag(), p.ref.Asset, p, len(lacks), plural("blob", len(lacks))))
		return nil, nil
	}
	local, err := p.from.Get(ctx, p.ref)
	if err != nil && !IsNotFound(err) {
		return nil, err
	}
	if err == nil && local.Manifest != f.artifact.Manifest {
		p.tell(fmt.Sprintf("%s has another build of %s under the key %s already: it stays", p, p.ref.Asset, p.ref.Key))
	}
	return &f, nil
}

// lacks returns those of some blobs that the registry does not have.
func (p *pushing) lacks(ctx context.Context, blobs []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if p.condemned(p.ref) {
		return blobs, nil
	}
	have := make([]bool, len(blobs))
	group, inGroup := errgroup.WithContext(ctx)
	for i, d := range blobs {
		group.Go(func() error {
			there, err := p.repository.Blobs().Resolve(inGroup, d.Digest.String())
			have[i] = err == nil && there.Size == d.Size
			if IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, p.failed(ctx, "pushing "+p.ref.Asset, err)
	}
	var lacks []ocispec.Descriptor
	for i, d := range blobs {
		if !have[i] {
			lacks = append(lacks, d)
		}
	}
	return lacks, nil
}

// send sends the store's artifact.
func (p *pushing) send(ctx context.Context) (*found, error) {
	artifact, err := p.from.Get(ctx, p.ref)
	if err != nil {
		return nil, err
	}
	l := p.from.layout(p.ref.Asset)
	data, err := os.ReadFile(l.path(digest.Digest(artifact.Manifest)))
	if err != nil {
		return nil, fmt.Errorf("reading a manifest of the store: %w", err)
	}
	parsed, parts, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("the manifest of %s in the store %w", p.ref.Asset, err)
	}
	f := found{parsed, parts, data}
	lacks, err := p.lacks(ctx, f.blobs())
	if err != nil {
		return nil, err
	}
	for _, d := range lacks {
		if err := p.blob(ctx, l, artifact, d); err != nil {
			return nil, err
		}
	}
	if p.condemned(p.ref) {
		if err := p.kept(ctx, p.ref.Asset, f.blobs()); err != nil {
			return nil, err
		}
	}
	if err := p.tag(ctx, f, p.ref.Tag()); err != nil {
		return nil, err
	}
	p.absolve(p.ref)
	return &f, nil
}

// blob sends one blob, from its start again where the registry was busy or a
// connection was lost.
func (p *pushing) blob(ctx context.Context, l *layout, artifact Artifact, d ocispec.Descriptor) (err error) {
	progress, end := p.watch(l.asset, d)
	defer func() { end(err, "pushed") }()
	doing := "pushing a blob of " + p.ref.Asset
	for attempt := 0; ; attempt++ {
		file, err := os.Open(l.path(d.Digest))
		if err != nil {
			return fmt.Errorf("reading a blob of the store: %w", err)
		}
		// The transport closes it, and may still read it when Push returns.
		err = p.repository.Blobs().Push(ctx, d, &source{file, d.Size, 0, progress})
		if err == nil {
			return nil
		}
		if status(err) == http.StatusBadRequest {
			if err := p.damaged(ctx, l, artifact, d); err != nil {
				return err
			}
		}
		if err := p.again(ctx, doing, attempt, err); err != nil {
			return err
		}
		if p.condemned(p.ref) {
			continue // What is there may be what is to be replaced.
		}
		if have, err := p.repository.Blobs().Exists(ctx, d); err == nil && have {
			return nil
		}
	}
}

// again waits before another try of what brings bytes, or returns the failure.
func (p *pushing) again(ctx context.Context, doing string, attempt int, err error) error {
	switch code := status(err); {
	case ctx.Err() != nil, attempt >= p.pace.tries:
		return p.failed(ctx, doing, err)
	case code == 0, code >= 500, code == http.StatusTooManyRequests, code == http.StatusNotFound:
	case code == http.StatusBadRequest:
		// What is sent is right: a registry says otherwise where another writes
		// the same tag at the same moment, or the bytes changed on the way.
	default:
		return p.failed(ctx, doing, err)
	}
	wait := p.pace.wait(attempt)
	var asked *busy
	if errors.As(err, &asked) {
		wait = asked.after
	}
	p.say(fmt.Sprintf("%s: %s (%s): trying again", doing, p, reason(err)))
	if err := sleep(ctx, wait); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// damaged finds out whether a blob that the registry does not take is damaged in
// the store, and then has the store forget it and returns that.
func (p *pushing) damaged(ctx context.Context, l *layout, artifact Artifact, d ocispec.Descriptor) error {
	file, err := os.Open(l.path(d.Digest))
	if err != nil {
		return fmt.Errorf("reading a blob of the store: %w", err)
	}
	defer file.Close()
	present, err := describe(ctx, file.Name())
	if err != nil {
		return fmt.Errorf("reading a blob of the store: %w", err)
	}
	for _, tarball := range append([]Output{artifact.main()}, artifact.Outputs...) {
		if tarball.Digest == d.Digest.String() && present.Digest != d.Digest {
			return l.forget(ctx, artifact, tarball, file, fmt.Sprintf("hashes to %s, want %s", present.Digest, d.Digest))
		}
	}
	return nil
}

// tag puts a manifest under a tag.
func (p *pushing) tag(ctx context.Context, f found, tag string) error {
	doing := fmt.Sprintf("pushing %s as %s", p.ref.Asset, tag)
	for attempt := 0; ; attempt++ {
		err := p.repository.Manifests().PushReference(ctx, f.descriptor(), bytes.NewReader(f.data), tag)
		if err == nil {
			return nil
		}
		if status(err) != http.StatusBadRequest {
			return p.failed(ctx, doing, err)
		}
		if err := p.again(ctx, doing, attempt, err); err != nil {
			return err
		}
	}
}

func plural(word string, count int) string {
	if count == 1 {
		return word
	}
	return word + "s"
}

// kept makes sure that the registry gives out the blobs that were sent, rather
// than damaged ones that it had.
func (r *Registry) kept(ctx context.Context, name string, blobs []ocispec.Descriptor) error {
	for _, d := range blobs {
		err := r.stream(ctx, name, d, &sink{to: toNobody{}, hash: sha256.New()})
		var damaged *damage
		if errors.As(err, &damaged) {
			return fmt.Errorf("pushing %s: %s took the blob %s and still %w: delete that blob from the registry's storage, and push again", name, r, d.Digest, damaged)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// source is a blob that is sent, and tells how far it is.
type source struct {
	file        *os.File
	total, done int64
	progress    func(done, total int64)
}

// Read reads on.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.file.Read(p)
	s.done += int64(n)
	if s.progress != nil && n > 0 {
		s.progress(s.done, s.total)
	}
	return n, err
}

// Close closes the file.
func (s *source) Close() error { return s.file.Close() }
