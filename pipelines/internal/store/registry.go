package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// Registry is a registry of artifacts, builders and sources. It is safe for
// concurrent use.
type Registry struct {
	client *oci.Client
	// base is the repository that those of the entries are below.
	base *oci.Repository

	// damaged are entries that could not be pulled though their manifests answered.
	damaged sync.Map
	// down is true once the registry is not asked any more.
	down atomic.Bool
}

// OpenRegistry returns the registry HOST[:PORT]/PATH; the artifacts of an asset are in
// the repository PATH/<asset>. It connects to nothing. The options' user is for that
// host.
func OpenRegistry(ref string, o oci.Options) (*Registry, error) {
	o.Registry, _, _ = strings.Cut(ref, "/")
	client := oci.NewClient(o)
	base, err := client.Repository(ref)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if (o.Username == "") != (o.Password == "") {
		return nil, fmt.Errorf("registry %q: a user name and a password go together", ref)
	}
	return &Registry{client: client, base: base}, nil
}

// String names the registry in messages.
func (r *Registry) String() string { return "the registry " + r.base.String() }

// repository returns the one of an entry.
func (r *Registry) repository(e entry) (*oci.Repository, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	name, _ := e.place()
	return r.client.Repository(r.base.String() + "/" + name)
}

// read reads the manifest of an entry, in one request. The error is ErrNotFound,
// *oci.Damage or *oci.Failure, or the context's.
func (r *Registry) read(ctx context.Context, e entry) (oci.Manifest, error) {
	repository, err := r.repository(e)
	if err != nil {
		return oci.Manifest{}, err
	}
	_, tag := e.place()
	m, err := repository.Manifest(ctx, tag)
	if err == nil {
		err = e.check(m)
	}
	return m, err
}

// lookup is read that makes a miss of whatever keeps a cache from giving something.
func (r *Registry) lookup(ctx context.Context, e entry) (oci.Manifest, error) {
	if r.ignored(e) {
		return oci.Manifest{}, r.miss(e)
	}
	m, err := r.read(ctx, e)
	if isFailure(err) && oci.Status(err) == 0 && r.client.Rest(ctx, 1) == nil {
		// A registry is not given up for one connection that failed.
		m, err = r.read(ctx, e)
	}
	return m, r.absent(e, err)
}

// document reads a small part of an entry; errors are as in lookup.
func (r *Registry) document(ctx context.Context, e entry, part ocispec.Descriptor) ([]byte, error) {
	repository, err := r.repository(e)
	if err != nil {
		return nil, err
	}
	data, err := repository.Read(ctx, part, oci.MaxDocument)
	return data, r.absent(e, err)
}

// Lookup returns the artifact of a key, without its recipe: it reads the manifest
// only. A miss is ErrNotFound; so is, with a warning, an artifact that is not what
// its tag says, and a registry that fails or wants credentials.
func (r *Registry) Lookup(ctx context.Context, ref Ref) (Artifact, error) {
	m, err := r.lookup(ctx, ref)
	if err != nil {
		return Artifact{}, err
	}
	return artifactOf(ref, m), nil
}

// Latest returns the artifact that a tag of an asset points at, with its recipe. A
// miss is ErrNotFound, as in Lookup; so is a registry that fails, which is a warning
// and then not asked again.
func (r *Registry) Latest(ctx context.Context, asset, tag string) (artifact Artifact, err error) {
	e := movingRef{asset, tag}
	m, err := r.lookup(ctx, e)
	if err != nil {
		return artifact, err
	}
	ref, err := refOf(m)
	if err != nil {
		return artifact, err
	}
	artifact = artifactOf(ref, m)
	artifact.Recipe, err = r.document(ctx, e, m.Config)
	return artifact, err
}

// entries returns what a repository has, sorted by tag, without looking at what
// that is. A repository that is not there is empty.
func (r *Registry) entries(ctx context.Context, name string) ([]entry, error) {
	repository, err := r.repository(movingRef{asset: name})
	if err != nil {
		return nil, err
	}
	tags, err := repository.Tags(ctx)
	if err != nil {
		return nil, r.hinted(err)
	}
	slices.Sort(tags)
	var entries []entry
	for _, tag := range tags {
		if e, ok := entryOf(name, tag); ok {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// listing is how many manifests List reads at once.
const listing = 8

// List returns the artifacts of an asset, without recipes, sorted by arch and key.
// Only manifests are read; what is not an artifact is reported and left out.
func (r *Registry) List(ctx context.Context, asset string) ([]Artifact, error) {
	entries, err := r.entries(ctx, asset)
	if err != nil {
		return nil, err
	}
	found := make([]Artifact, len(entries))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listing)
	for i, e := range entries {
		if ref, ok := e.(Ref); ok {
			group.Go(func() (err error) {
				found[i], err = r.Lookup(ctx, ref)
				return ignoreMiss(err)
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(a Artifact) bool { return a.Key == "" })
	slices.SortFunc(found, func(a, b Artifact) int { return a.compare(b.Ref) })
	return found, nil
}

// Pull brings an artifact into a store, in place of an earlier one of the same
// key. An artifact that turns out to be damaged is reported, forgotten and not
// offered again, and the error is an ErrNotFound, as for one that is not there.
func (r *Registry) Pull(ctx context.Context, ref Ref, into *Local) (Artifact, error) {
	m, err := r.read(ctx, ref)
	if err == nil {
		err = r.pull(ctx, ref, m, into)
	}
	if isFailure(err) {
		return Artifact{}, r.hinted(err)
	}
	if err != nil {
		return Artifact{}, r.absent(ref, err)
	}
	return into.Get(ctx, ref)
}

// pull brings what the manifest of an entry names into a store, and vets it. A
// registry that fails now may have the other entries.
func (r *Registry) pull(ctx context.Context, e entry, m oci.Manifest, into *Local) error {
	name, _ := e.place()
	l := into.layout(name)
	need := oci.Total(l.Missing(m.Parts()))
	repository, err := r.repository(e)
	if err == nil {
		err = l.Receive(ctx, repository, m, name)
	}
	if err == nil {
		err = into.vet(ctx, name, m)
	}
	if err == nil {
		err = l.Add(ctx, e.local(), m, nil)
	}
	switch {
	case isFailure(err), IsDamage(err):
		r.condemn(e)
	case files.IsFull(err):
		err = fmt.Errorf("%s needs room for %s: free some space, or move the cache with --cache-dir: %w", into.dir, progress.Size(need), err)
	}
	return err
}

// examine reads everything that the manifest of an entry names, hashes it, and vets
// the tarballs; scratch is the store that keeps those for that long. The error is
// *oci.Damage, *oci.Failure or the context's, or that of a full disk.
func (r *Registry) examine(ctx context.Context, e entry, m oci.Manifest, scratch *Local) error {
	repository, err := r.repository(e)
	if err != nil {
		return err
	}
	name, _ := e.place()
	for _, part := range m.Parts() {
		if isTarball(part) {
			err = scratch.layout(name).Examine(ctx, repository, part, name, func(path string) error { return scratch.vetFile(ctx, part, path) })
		} else {
			err = repository.Verify(ctx, part, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) verify(ctx context.Context, e entry, scratch *Local) error {
	m, err := r.read(ctx, e)
	if IsNotFound(err) {
		return r.miss(e)
	}
	if err == nil {
		err = r.examine(ctx, e, m, scratch)
	}
	if IsDamage(err) {
		return fmt.Errorf("%s: %s %w", e, r, err)
	}
	return r.hinted(err)
}

// Verify reads every blob of the artifacts of some assets, of the builders and of the
// sources, hashes it, vets the tarballs, which it keeps in the scratch store for that
// long, and returns the damage that it found, a line each. The error is that of a
// registry that fails. Foreign tags are left out.
func (r *Registry) Verify(ctx context.Context, assets []string, scratch *Local) (damage []string, err error) {
	for _, name := range append(slices.Clone(assets), builderRepository, sourceRepository) {
		entries, err := r.entries(ctx, name)
		if err != nil {
			return damage, err
		}
		for _, e := range entries {
			switch err := r.verify(ctx, e, scratch); {
			case IsDamage(err):
				damage = append(damage, err.Error())
			case ignoreMiss(err) != nil: // What is missing went away since it was listed.
				return damage, fmt.Errorf("verifying %s: %w", e, err)
			}
		}
	}
	return damage, nil
}
