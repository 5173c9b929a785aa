package store

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// Push pushes an artifact: the blobs that the registry lacks, then the manifest under the
// key, then the proofs and signatures, then the tags. The first push of a key wins: if the registry has a
// whole artifact under the key, even another build, that stays, and the tags point at it.
// Push reads and vets another build first, so that it replaces a hostile one. The store
// need not have an artifact that the registry has. An artifact that this Registry failed
// to pull is sent again as a whole, and then read: if the registry keeps a damaged blob
// that it had, the push fails, and tags nothing. Of two pushes at the same moment, the
// later wins, and both artifacts are whole.
func (r *Registry) Push(ctx context.Context, ref Ref, from *Local, tags []string) error {
	there, stays, err := r.whole(ctx, ref)
	if err == nil && stays {
		stays, err = r.stays(ctx, ref, there, from)
	}
	if err == nil && !stays {
		there, err = r.sendArtifact(ctx, ref, from)
	}
	if err == nil {
		err = r.sendReferrers(ctx, there, ref.Asset, from)
	}
	if err == nil {
		err = r.sealArtifact(ctx, ref, there, from)
	}
	if err == nil {
		err = r.tag(ctx, movingRef{asset: ref.Asset}, there, tags)
	}
	if err == nil && stays && len(tags) > 0 {
		// A collection that had not seen the tags may have removed it.
		if _, gone := r.read(ctx, ref); IsNotFound(gone) {
			return r.Push(ctx, ref, from, tags)
		}
	}
	return r.hinted(err)
}

// stays reports whether the registry's build of an artifact stays there although the
// store has another. Two honest builds may differ where a build is not reproducible: then
// the first stays. A damaged or hostile build does not, nor one that the policy refuses.
func (r *Registry) stays(ctx context.Context, ref Ref, there oci.Manifest, from *Local) (bool, error) {
	own, err := from.find(ctx, ref)
	if err != nil || own.Digest() == there.Digest() {
		return true, ignoreMiss(err)
	}
	_, err = r.judge(ctx, ref, there)
	if err == nil {
		err = r.examine(ctx, ref, there, from)
	}
	if IsDamage(err) || trust.IsRefusal(err) {
		r.client.Note(fmt.Sprintf("replacing the build %s of %s in %s under the key %s by %s: it %v", there.Digest(), ref.Asset, r, ref.Key, own.Digest(), err))
		return false, nil
	}
	if err == nil {
		r.client.Note(fmt.Sprintf("%s already has another build of %s under the key %s: it stays (%s there, %s here)", r, ref.Asset, ref.Key, there.Digest(), own.Digest()))
	}
	return true, err
}

// sendArtifact pushes an artifact of a store. If a tarball turns out to be damaged, it
// is removed from the store.
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

// blobs returns the blobs that a manifest of a layout names, in the order to push them.
func (s *Local) blobs(name string, m oci.Manifest) []oci.Blob {
	return oci.SmallFirst(s.layout(name).Blobs(m))
}

// tag points tags at a manifest. It skips those that already do, because some registries
// refuse to set a tag again.
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

// publish pushes an entry, unless the registry has a whole one, and lists it if it is a
// referrer: a push may have ended before the registry listed its manifest.
func (r *Registry) publish(ctx context.Context, e entry, m oci.Manifest, blobs []oci.Blob) (pushed bool, err error) {
	_, whole, err := r.whole(ctx, e)
	if err == nil && whole && m.Subject != nil {
		whole, err = r.lists(ctx, e, m)
	}
	if err != nil || whole {
		return false, err
	}
	return true, r.send(ctx, e, m, blobs)
}

// lists reports whether the registry lists a manifest as a referrer of its subject. A
// registry that denies access to the list counts as lacking it.
func (r *Registry) lists(ctx context.Context, e entry, m oci.Manifest) (bool, error) {
	repository, err := r.repository(e)
	if err != nil {
		return false, err
	}
	referrers, err := repository.Referrers(ctx, m.Subject.Digest, m.ArtifactType, maxReferrers+1)
	if oci.Refused(err) {
		return false, nil
	}
	return slices.ContainsFunc(referrers, func(d ocispec.Descriptor) bool { return d.Digest == m.Digest() }), err
}

// whole returns the registry's manifest of an entry, and whether the registry has
// everything that it names. A registry that denies access to the entry counts as
// lacking it.
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

// send pushes the blobs that the registry lacks, and the manifest of an entry. If the
// entry was condemned, it sends all blobs again, and then reads them.
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
				return fmt.Errorf("pushing %s: %s accepted the blob %s but still %s: delete that blob from the registry's storage, and push again", name, r, d.Digest, err.Error())
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
