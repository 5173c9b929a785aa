package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
)

// entry is what a registry holds beside artifacts: a manifest under a tag of a
// repository of its own.
type entry struct {
	ocispec.Manifest
	data []byte
}

// parseEntry reads a manifest, whose parts can then be looked for. The error is
// *damage.
func parseEntry(data []byte) (entry, error) {
	e := entry{data: data}
	if err := json.Unmarshal(data, &e.Manifest); err != nil {
		return entry{}, &damage{fmt.Sprintf("has a manifest that is not JSON: %v", err)}
	}
	for _, part := range e.parts() {
		if err := part.Digest.Validate(); err != nil || part.Digest.Algorithm() != digest.SHA256 || part.Size < 0 {
			return entry{}, &damage{fmt.Sprintf("names a part of %d bytes by %q, want a sha256 digest", part.Size, part.Digest)}
		}
	}
	return e, nil
}

// descriptor returns that of the manifest.
func (e entry) descriptor() ocispec.Descriptor {
	d := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, e.data)
	d.ArtifactType = e.ArtifactType
	return d
}

// parts are what the manifest names.
func (e entry) parts() []ocispec.Descriptor {
	return append([]ocispec.Descriptor{e.Config}, e.Layers...)
}

// entry reads the manifest of a tag, in one request. The error is ErrNotFound,
// *damage or *failure, or the context's.
func (r *Registry) entry(ctx context.Context, name, tag string) (entry, error) {
	repository, err := r.repository(name)
	if err != nil {
		return entry{}, err
	}
	d, body, err := repository.Manifests().FetchReference(ctx, tag)
	if IsNotFound(err) {
		return entry{}, err
	}
	if err != nil {
		return entry{}, r.failed(ctx, "looking into "+name, err)
	}
	data, err := io.ReadAll(io.LimitReader(body, maxManifest+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return entry{}, r.failed(ctx, "looking into "+name, err)
	}
	if sum := digest.FromBytes(data); len(data) > maxManifest || sum != d.Digest {
		return entry{}, &damage{fmt.Sprintf("has a manifest of %d bytes that hashes to %s, want %s", len(data), sum, d.Digest)}
	}
	return parseEntry(data)
}

// shared names an entry of a repository of no asset: no artifact has such a name.
func shared(repository, tag string) Ref { return Ref{Asset: repository, Key: tag} }

// unread is absent for an entry whose manifest answered: where the registry fails
// now, it may have the others.
func (r *Registry) unread(ref Ref, what string, err error) error {
	var failed *failure
	if errors.As(err, &failed) {
		r.condemn(ref)
		r.tell(fmt.Sprintf("%v: going on without %s%s", failed, what, r.loginHint(err)))
		return fmt.Errorf("%s in %s: %w", what, r, ErrNotFound)
	}
	return r.absent(ref, what, err)
}

// absent makes a miss of whatever keeps a cache from giving something: the build
// goes on without. What is wrong is noted. What is damaged is not offered again.
func (r *Registry) absent(ref Ref, what string, err error) error {
	var damaged *damage
	var failed *failure
	switch {
	case IsNotFound(err):
	case errors.As(err, &damaged):
		r.condemn(ref)
		r.tell(fmt.Sprintf("%s in %s is ignored: it %v", what, r, damaged))
	case refused(err):
		r.tell(fmt.Sprintf("%s does not let itself be read (%s): going on without; %s", r, reason(err), r.login()))
	case errors.As(err, &failed):
		r.giveUp(failed)
	default:
		return err
	}
	return fmt.Errorf("%s in %s: %w", what, r, ErrNotFound)
}

// publish puts a manifest under a tag, and before it what the registry lacks of
// the blobs that it names. Who comes first wins: a whole entry that is there and
// that check likes stays. One that could not be read is sent again, all of it,
// and then read: a registry may keep what it had.
func (r *Registry) publish(ctx context.Context, name, tag string, e entry, check func(entry) error, blobs []blob) (pushed bool, err error) {
	repository, err := r.repository(name)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			err = r.hinted(err)
		}
	}()
	ref, have := shared(name, tag), map[digest.Digest]bool{}
	again := r.condemned(ref)
	if !again {
		whole, err := r.whole(ctx, repository, name, tag, check)
		if err != nil || whole {
			return false, err
		}
		if have, err = r.have(ctx, repository, e.parts()); err != nil {
			return false, err
		}
	}
	for _, b := range blobs {
		if have[b.Digest] {
			continue
		}
		if err := r.upload(ctx, repository, name, b); err != nil {
			return false, err
		}
		have[b.Digest] = true
	}
	if again {
		if err := r.kept(ctx, name, e.parts()); err != nil {
			return false, err
		}
	}
	if err := repository.Manifests().PushReference(ctx, e.descriptor(), bytes.NewReader(e.data), tag); err != nil {
		return false, r.failed(ctx, fmt.Sprintf("pushing %s as %s", name, tag), err)
	}
	r.absolve(ref)
	return true, nil
}

// whole tells whether there is an entry under a tag with all that it names.
func (r *Registry) whole(ctx context.Context, repository *remote.Repository, name, tag string, check func(entry) error) (bool, error) {
	there, err := r.entry(ctx, name, tag)
	if err == nil {
		err = check(there)
	}
	var damaged *damage
	switch {
	case IsNotFound(err):
		return false, nil
	case errors.As(err, &damaged):
		r.tell(fmt.Sprintf("%s of %s in %s is replaced: it %v", tag, name, r, damaged))
		return false, nil
	case err != nil:
		return false, err
	}
	have, err := r.have(ctx, repository, there.parts())
	if err != nil {
		return false, err
	}
	for _, part := range there.parts() {
		if !have[part.Digest] {
			return false, nil
		}
	}
	return true, nil
}

// have returns those of some blobs that the registry has.
func (r *Registry) have(ctx context.Context, repository *remote.Repository, parts []ocispec.Descriptor) (map[digest.Digest]bool, error) {
	exists := make([]bool, len(parts))
	group, inGroup := errgroup.WithContext(ctx)
	for i, part := range parts {
		group.Go(func() (err error) {
			exists[i], err = repository.Blobs().Exists(inGroup, part)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, r.failed(ctx, "looking for what to push", err)
	}
	have := map[digest.Digest]bool{}
	for i, part := range parts {
		if exists[i] {
			have[part.Digest] = true
		}
	}
	return have, nil
}

// upload sends a blob, from its start again where the registry was busy or a
// connection was lost.
func (r *Registry) upload(ctx context.Context, repository *remote.Repository, name string, b blob) (err error) {
	doing := "pushing a blob to " + name
	progress, end := r.transfer(name, b.Descriptor)
	defer func() { end(err, "pushed") }()
	for attempt := 0; ; attempt++ {
		body, err := b.open()
		if err != nil {
			return fmt.Errorf("reading what to push: %w", err)
		}
		// The transport closes it, and may still read it when Push returns.
		err = repository.Blobs().Push(ctx, b.Descriptor, &watched{ReadCloser: body, total: b.Size, progress: progress})
		if err == nil {
			return nil
		}
		code := status(err)
		if ctx.Err() != nil || attempt >= r.pace.tries || code != 0 && code < 500 && code != http.StatusTooManyRequests && code != http.StatusNotFound {
			return r.failed(ctx, doing, err)
		}
		wait := r.pace.wait(attempt)
		var asked *busy
		if errors.As(err, &asked) {
			wait = asked.after
		}
		r.say(fmt.Sprintf("%s: %s (%s): trying again", doing, r, reason(err)))
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
}

// watched tells how far the reading is.
type watched struct {
	io.ReadCloser
	done, total int64
	progress    func(done, total int64)
}

// Read reads on.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.done += int64(n)
	if w.progress != nil && n > 0 {
		w.progress(w.done, w.total)
	}
	return n, err
}

// small is the size in bytes of a blob whose transfer is not shown.
const small = 1 << 20

// transfer begins the progress of a blob.
func (r *Registry) transfer(name string, d ocispec.Descriptor) (progress func(done, total int64), end func(error, string)) {
	if r.options.Bytes == nil || d.Size < small {
		return nil, func(error, string) {}
	}
	return r.options.Bytes(name)
}
