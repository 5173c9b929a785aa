package store

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// ItemKind is the kind of an entry.
type ItemKind string

// The kinds of entries.
const (
	KindArtifact ItemKind = "artifact"
	KindBuilder  ItemKind = "builder"
	KindSource   ItemKind = "source"
)

// Item is an entry as a collection sees it, with what refers to it.
type Item struct {
	Kind ItemKind
	// Name is the asset of an artifact, or the repository. Key is the key of an artifact, the
	// ID of a builder, or the declared hash of a source.
	Name, Arch, Key string
	Manifest        oci.Manifest
	// Artifact is set for artifacts.
	Artifact Artifact
	// Tags are all tags of a registry that name it.
	Tags []string
	// Blobs are everything that goes with it, as far as that is known.
	Blobs []ocispec.Descriptor
	// Used is the time of the last use in the local store. InUse says that a process uses it
	// now.
	Used  time.Time
	InUse bool
}

// itemOf returns the item of a manifest; ok is false for one that is not an entry.
func itemOf(name string, m oci.Manifest, tags []string) (item Item, ok bool) {
	item = Item{Name: name, Manifest: m, Tags: tags, Blobs: append(m.Parts(), m.Descriptor())}
	switch name {
	case builderRepository:
		image, err := builderOf(m)
		item.Kind, item.Key, item.Arch = KindBuilder, image.ID, image.Arch
		return item, err == nil
	case sourceRepository:
		for _, tag := range tags {
			if e := sourceOf(tag); e.validate() == nil && e.check(m) == nil {
				item.Kind, item.Key = KindSource, string(e)
				return item, true
			}
		}
		return item, false
	}
	ref, err := refOf(m)
	if err != nil || ref.Asset != name || ref.validate() != nil {
		return item, false
	}
	item.Kind, item.Arch, item.Key, item.Artifact = KindArtifact, ref.Arch, ref.Key, artifactOf(ref, m)
	return item, true
}

// use records the use of an entry of the store. It is false if the entry is being
// collected.
func (s *Local) use(e entry, m oci.Manifest) bool {
	name, _ := e.place()
	return s.layout(name).Use(m)
}

// Release ends the uses of entries by this process; its end does so, too.
func (s *Local) Release() {
	s.layouts.Range(func(_, l any) bool {
		l.(*oci.Layout).Release()
		return true
	})
}

// Items returns the entries of the store. Proofs and other referrers belong to their
// subjects.
func (s *Local) Items(ctx context.Context) (items []Item, err error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		all, err := s.layout(name).Held(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", name, err)
		}
		referrers := map[digest.Digest][]ocispec.Descriptor{}
		for _, h := range all {
			if h.Subject != nil {
				of := h.Subject.Digest
				referrers[of] = append(referrers[of], append(h.Parts(), h.Descriptor())...)
			}
		}
		for _, h := range all {
			if item, ok := itemOf(name, h.Manifest, nil); ok {
				item.Used, item.InUse = h.Used, h.InUse
				item.Blobs = append(item.Blobs, referrers[h.Digest()]...)
				items = append(items, item)
			}
		}
	}
	return items, nil
}

// unnamed is how long a blob that no manifest names stays: an entry that is being pulled
// may need it.
const unnamed = 24 * time.Hour

// Remove removes entries with their referrers, and the blobs that nothing names. It
// returns how many bytes it freed, and the entries that stayed because they are in use.
// Entries that were used after they were listed stay, too. With no entries, it removes
// only what killed processes left.
func (s *Local) Remove(ctx context.Context, items []Item) (freed int64, inUse []Item, err error) {
	names, err := s.names()
	if err != nil {
		return 0, nil, err
	}
	drop := map[string]map[digest.Digest]time.Time{}
	for _, item := range items {
		if drop[item.Name] == nil {
			drop[item.Name] = map[digest.Digest]time.Time{}
		}
		drop[item.Name][item.Manifest.Digest()] = item.Used
	}
	busy := map[digest.Digest]bool{}
	for _, name := range names {
		size, kept, err := s.layout(name).Collect(ctx, drop[name], time.Now().Add(-unnamed))
		freed += size
		if err != nil {
			return freed, nil, fmt.Errorf("removing from %s: %w", name, err)
		}
		for _, d := range kept {
			busy[d] = true
		}
	}
	for _, item := range items {
		if busy[item.Manifest.Digest()] {
			inUse = append(inUse, item)
		}
	}
	return freed, inUse, nil
}
