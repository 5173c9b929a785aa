package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// Shelf is what a repository of a registry has under its tags.
type Shelf struct {
	Items []Item
	// Foreign are the tags of manifests that are not entries.
	Foreign []string

	// Name is that of the repository.
	Name string
	// tags are the digests by tag.
	tags map[string]digest.Digest
	// fallbacks are the referrers that fallback tags list, by tag.
	fallbacks map[string][]ocispec.Descriptor
}

// Shelf lists the tags of an asset, of "builder" or of "sources". It reads each manifest
// once for each of its tags.
func (r *Registry) Shelf(ctx context.Context, name string) (Shelf, error) {
	repository, err := r.repository(movingRef{asset: name})
	if err != nil {
		return Shelf{}, err
	}
	tags, err := repository.Tags(ctx)
	if err != nil {
		return Shelf{}, r.hinted(err)
	}
	slices.Sort(tags)
	shelf := Shelf{Name: name, tags: map[string]digest.Digest{}, fallbacks: map[string][]ocispec.Descriptor{}}
	manifests, err := readTags(ctx, repository, tags)
	if err != nil {
		return Shelf{}, r.hinted(err)
	}
	named := map[digest.Digest][]string{}
	var order []oci.Manifest
	for i, tag := range tags {
		if len(manifests[i].Data) == 0 {
			continue // It was removed in the meantime, or is damaged.
		}
		d := manifests[i].Digest()
		shelf.tags[tag] = d
		if named[d] == nil {
			order = append(order, manifests[i])
		}
		named[d] = append(named[d], tag)
	}
	for _, m := range order {
		tag := named[m.Digest()][0]
		var index ocispec.Index
		if item, ok := itemOf(name, m, named[m.Digest()]); ok {
			shelf.Items = append(shelf.Items, item)
		} else if isFallback(tag) && json.Unmarshal(m.Data, &index) == nil {
			shelf.fallbacks[tag] = index.Manifests
		} else {
			shelf.Foreign = append(shelf.Foreign, named[m.Digest()]...)
		}
	}
	return shelf, nil
}

// readTags reads the manifests of tags; one that is missing or damaged is zero.
func readTags(ctx context.Context, repository *oci.Repository, tags []string) ([]oci.Manifest, error) {
	manifests := make([]oci.Manifest, len(tags))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listing)
	for i, tag := range tags {
		group.Go(func() error {
			m, err := repository.Manifest(ctx, tag)
			if IsNotFound(err) || IsDamage(err) {
				return nil
			}
			manifests[i] = m
			return err
		})
	}
	return manifests, group.Wait()
}

// Repositories are those that are not of an asset.
var Repositories = []string{builderRepository, sourceRepository}

// fallback is the tag that lists the referrers of a manifest in a registry without an API
// for them.
func fallback(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }

func isFallback(tag string) bool {
	return strings.HasPrefix(tag, "sha256-") && validKey.MatchString(strings.TrimPrefix(tag, "sha256-"))
}

// removing is how many entries are removed between two looks at the tags.
const removing = 500

// Remove removes entries of a shelf, with everything that refers to them, and what refers
// to entries that a killed run removed. The referrers go first: at any moment an entry
// is whole, whole without its proofs, or gone. It keeps an entry that got another tag since
// the shelf was listed, and returns those that it removed.
func (r *Registry) Remove(ctx context.Context, shelf Shelf, items []Item) (removed []Item, err error) {
	repository, err := r.repository(movingRef{asset: shelf.Name})
	if err != nil {
		return nil, err
	}
	rm := remover{repository: repository, shelf: shelf}
	if rm.lists, err = repository.ListsReferrers(ctx); err != nil {
		return nil, r.hinted(err)
	}
	for chunk := range slices.Chunk(items, removing) {
		tagged, err := rm.tagged(ctx)
		if err != nil {
			return removed, err
		}
		chunk = slices.DeleteFunc(slices.Clone(chunk), func(item Item) bool { return tagged[item.Manifest.Digest()] })
		done, err := rm.items(ctx, chunk)
		removed = append(removed, done...)
		if err != nil {
			return removed, r.hinted(err)
		}
	}
	return removed, r.hinted(rm.orphans(ctx))
}

type remover struct {
	repository *oci.Repository
	shelf      Shelf
	// lists says that the registry has an API for referrers.
	lists bool
}

// tagged returns what the tags name that are new since the shelf was listed, or that move.
func (rm remover) tagged(ctx context.Context) (map[digest.Digest]bool, error) {
	tags, err := rm.repository.Tags(ctx)
	if err != nil {
		return nil, err
	}
	tags = slices.DeleteFunc(tags, func(tag string) bool {
		return rm.shelf.tags[tag] != "" && !strings.HasPrefix(tag, latestTag) && !strings.HasPrefix(tag, releaseTag)
	})
	manifests, err := readTags(ctx, rm.repository, tags)
	named := map[digest.Digest]bool{}
	for i, m := range manifests {
		if m.Data != nil && rm.shelf.tags[tags[i]] != m.Digest() {
			named[m.Digest()] = true
		}
	}
	return named, err
}

func (rm remover) items(ctx context.Context, items []Item) (removed []Item, err error) {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listing)
	for _, item := range items {
		group.Go(func() error {
			err := rm.tree(ctx, item.Manifest.Digest())
			if err == nil {
				mu.Lock()
				removed = append(removed, item)
				mu.Unlock()
			}
			return err
		})
	}
	return removed, group.Wait()
}

// tree removes a manifest after what refers to it.
func (rm remover) tree(ctx context.Context, d digest.Digest) error {
	if err := rm.referrers(ctx, d); err != nil {
		return err
	}
	return rm.repository.Delete(ctx, d)
}

func (rm remover) referrers(ctx context.Context, d digest.Digest) error {
	list := rm.shelf.fallbacks[fallback(d)]
	if rm.lists {
		more, err := rm.repository.Referrers(ctx, d, "", maxReferrers)
		if err != nil && !IsNotFound(err) {
			return err
		}
		list = append(more, list...)
	}
	for _, referrer := range list {
		if err := rm.tree(ctx, referrer.Digest); err != nil {
			return err
		}
	}
	if index := rm.shelf.tags[fallback(d)]; index != "" {
		return rm.repository.Delete(ctx, index)
	}
	return nil
}

// orphans removes the referrers of manifests that do not exist any more.
func (rm remover) orphans(ctx context.Context) error {
	var failed []error
	there := map[digest.Digest]bool{}
	for _, d := range rm.shelf.tags {
		there[d] = true
	}
	for tag := range rm.shelf.tags {
		subject := digest.Digest(strings.Replace(tag, "-", ":", 1))
		// The tag of a source looks the same.
		if !isFallback(tag) || there[subject] || rm.shelf.Name == sourceRepository {
			continue
		}
		_, err := rm.repository.Manifest(ctx, subject.String())
		if IsNotFound(err) {
			err = rm.referrers(ctx, subject)
		}
		if err != nil && !IsDamage(err) {
			failed = append(failed, fmt.Errorf("removing the referrers of %s: %w", subject, err))
		}
	}
	return errors.Join(failed...)
}
