package store

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// Push makes an artifact available in the registry, and the tags point at it: it
// sends the blobs that the registry lacks, then the manifest under the key, then
// the proofs, then the tags. Who comes first wins: a whole artifact that is there
// under the key, though it may be another build, stays, and the tags point at that.
// Another build than the store's is read and vetted for that, so that a hostile one is
// replaced. The store need not hold an artifact that is there. One that could not be
// read in a pull of this Registry is sent again, all of it, and then read: a registry
// may keep the damaged blob that it had, and then nothing is tagged. Of two that push
// at the very same moment the later wins, and what both sent is whole.
func (r *Registry) Push(ctx context.Context, ref Ref, from *Local, tags []string) error {
	there, stays, err := r.whole(ctx, ref)
	if err == nil && stays {
		stays, err = r.stays(ctx, ref, there, from)
	}
	if err == nil && !stays {
		there, err = r.sendArtifact(ctx, ref, from)
	}
	if err == nil {
		err = r.sendProofs(ctx, there, ref.Asset, from)
	}
	if err == nil {
		err = r.tag(ctx, movingRef{asset: ref.Asset}, there, tags)
	}
	return r.hinted(err)
}

// stays tells whether the build of an artifact that the registry has stays there. Where
// the store has another, two honest builds may differ in what is not reproducible: then
// the first stays. One that is damaged or hostile does not.
func (r *Registry) stays(ctx context.Context, ref Ref, there oci.Manifest, from *Local) (bool, error) {
	own, err := from.find(ctx, ref)
	if err != nil || own.Digest() == there.Digest() {
		return true, ignoreMiss(err)
	}
	err = r.examine(ctx, ref, there, from)
	if IsDamage(err) {
		r.client.Note(fmt.Sprintf("replacing the build %s of %s in %s under the key %s by %s: it %v", there.Digest(), ref.Asset, r, ref.Key, own.Digest(), err))
		return false, nil
	}
	if err == nil {
		r.client.Note(fmt.Sprintf("%s already has another build of %s under the key %s: it stays (%s there, %s here)", r, ref.Asset, ref.Key, there.Digest(), own.Digest()))
	}
	return true, err
}

// sendArtifact sends the one of a store. A tarball that turns out to be damaged is
// removed from the store.
func (r *Registry) sendArtifact(ctx context.Context, ref Ref, from *Local) (oci.Manifest, error) {
	m, err := from.find(ctx, ref)
	if err != nil {
		return m, err
	}
	err = r.send(ctx, ref, m, from.blobs(ref.Asset, m))
	if !IsDamage(err) {
		return m, err
	}
	local, artifact := Tiered{Local: from}, artifactOf(ref, m)
	for _, output := range append([]Output{{}}, artifact.Outputs...) {
		if _, err := local.Blob(ctx, artifact, output.Name); err != nil {
			return m, err
		}
	}
	return m, fmt.Errorf("the stored %s %w", ref, err)
}

// blobs returns what a manifest of a layout names.
func (s *Local) blobs(name string, m oci.Manifest) []oci.Blob {
	return oci.SmallFirst(s.layout(name).Blobs(m))
}

// tag points tags at a manifest: not those that point there already, since some
// registries refuse to be told twice.
func (r *Registry) tag(ctx context.Context, e entry, m oci.Manifest, tags []string) error {
	repository, err := r.repository(e)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if there, err := repository.Manifest(ctx, tag); err == nil && there.Digest() == m.Digest() {
			continue
		}
		if err := repository.PutManifest(ctx, m, tag); err != nil {
			return err
		}
	}
	return nil
}

// publish sends an entry, unless the registry has a whole one.
func (r *Registry) publish(ctx context.Context, e entry, m oci.Manifest, blobs []oci.Blob) (pushed bool, err error) {
	_, whole, err := r.whole(ctx, e)
	if err != nil || whole {
		return false, err
	}
	return true, r.send(ctx, e, m, blobs)
}

// whole returns what the registry has of an entry, and whether that and all that it
// names are there. A registry that hides what is not there yet does not have it.
func (r *Registry) whole(ctx context.Context, e entry) (oci.Manifest, bool, error) {
	if r.condemned(e) {
		return oci.Manifest{}, false, nil
	}
	m, err := r.read(ctx, e)
	switch {
	case IsNotFound(err), oci.Refused(err):
		return oci.Manifest{}, false, nil
	case IsDamage(err):
		r.client.Note(fmt.Sprintf("replacing the %s in %s: it %v", e, r, err))
		return oci.Manifest{}, false, nil
	case err != nil:
		return oci.Manifest{}, false, err
	}
	repository, err := r.repository(e)
	if err != nil {
		return oci.Manifest{}, false, err
	}
	var lacks atomic.Int64
	group, inGroup := errgroup.WithContext(ctx)
	for _, part := range m.Parts() {
		group.Go(func() error {
			there, err := repository.Has(inGroup, part)
			if !there {
				lacks.Add(1)
			}
			return err
		})
	}
	err = group.Wait()
	if err == nil && lacks.Load() > 0 {
		r.client.Note(fmt.Sprintf("the %s in %s lacks %d of %d blobs", e, r, lacks.Load(), len(m.Parts())))
	}
	return m, err == nil && lacks.Load() == 0, err
}

// send sends what the registry lacks of an entry, and its manifest. One that could
// not be read is sent again, all of it, and then read.
func (r *Registry) send(ctx context.Context, e entry, m oci.Manifest, blobs []oci.Blob) error {
	name, tag := e.place()
	repository, err := r.repository(e)
	if err != nil {
		return err
	}
	again, sent := r.condemned(e), map[digest.Digest]bool{}
	for _, b := range blobs {
		if sent[b.Digest] {
			continue
		}
		sent[b.Digest] = true
		if _, err := repository.Push(ctx, b, oci.Sending{Title: "a blob of " + name, Known: again, Subject: name}); err != nil {
			return err
		}
	}
	if again {
		for _, d := range m.Parts() {
			err := repository.Verify(ctx, d, "")
			if IsDamage(err) {
				return fmt.Errorf("pushing %s: %s took the blob %s and still %s: delete that blob from the registry's storage, and push again", name, r, d.Digest, err.Error())
			}
			if err != nil {
				return err
			}
		}
	}
	if err := repository.PutManifest(ctx, m, tag); err != nil {
		return err
	}
	r.damaged.Delete(e)
	return nil
}
