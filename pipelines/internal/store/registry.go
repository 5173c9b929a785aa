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
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// Registry is a registry of artifacts, builders and sources. It is safe for
// concurrent use.
type Registry struct {
	client *oci.Client
	// base is the parent of the entries' repositories.
	base *oci.Repository

	// Guard decides which entries are used. Signer signs what is pushed; nil signs nothing.
	Guard  Guard
	Signer *trust.Signer

	// damaged are the entries that could not be pulled although their manifests could.
	damaged sync.Map
	// refused are the entries that the policy refused, judged the signatures that were
	// checked.
	refused, judged sync.Map
	// down is true once the registry has failed and is not used any more.
	down atomic.Bool
}

// OpenRegistry returns the registry HOST[:PORT]/PATH, where the artifacts of an asset are
// in the repository PATH/<asset>. It opens no connection. The user of the options is for
// that host.
func OpenRegistry(ref string, o oci.Options) (*Registry, error) {
	o.Registry, _, _ = strings.Cut(ref, "/")
	client := oci.NewClient(o)
	base, err := client.Repository(ref)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if (o.Username == "") != (o.Password == "") {
		return nil, fmt.Errorf("registry %q: want both a user name and a password, or neither", ref)
	}
	return &Registry{client: client, base: base}, nil
}

// String names the registry in messages.
func (r *Registry) String() string { return "the registry " + r.base.String() }

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

// lookup is read with failures of the registry as misses; see absent.
func (r *Registry) lookup(ctx context.Context, e entry) (oci.Manifest, error) {
	if r.ignored(e) {
		return oci.Manifest{}, r.miss(e)
	}
	m, err := r.read(ctx, e)
	if isFailure(err) && oci.Status(err) == 0 && !web.Temporary(err) && r.client.Rest(ctx, 1) == nil {
		// One failed connection is not enough to give up a registry. Package web has retried
		// temporary failures.
		m, err = r.read(ctx, e)
	}
	if err == nil {
		_, err = r.judge(ctx, e, m)
	}
	return m, r.absent(e, err)
}

// document reads a small part of an entry. Its errors are those of lookup.
func (r *Registry) document(ctx context.Context, e entry, part ocispec.Descriptor) ([]byte, error) {
	repository, err := r.repository(e)
	if err != nil {
		return nil, err
	}
	data, err := repository.Read(ctx, part, oci.MaxDocument)
	return data, r.absent(e, err)
}

// Lookup returns the artifact of a key, without its recipe. It reads the manifest only. A
// miss is ErrNotFound. It warns of an artifact that does not match its tag, and of a
// registry that fails or denies access, and treats both as misses.
func (r *Registry) Lookup(ctx context.Context, ref Ref) (Artifact, error) {
	m, err := r.lookup(ctx, ref)
	if err != nil {
		return Artifact{}, err
	}
	return artifactOf(ref, m), nil
}

// Latest returns the artifact that a tag of an asset points at, with its recipe. Misses
// are those of Lookup.
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
	if _, err := r.judge(ctx, ref, m); err != nil {
		return artifact, r.absent(ref, err)
	}
	artifact = artifactOf(ref, m)
	artifact.Recipe, err = r.document(ctx, e, m.Config)
	return artifact, err
}

// entries returns the entries of a repository by their tags, sorted, without reading them.
// A repository that does not exist has none.
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
// It reads only manifests. It reports and skips those that are not artifacts.
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

// Pull pulls an artifact into a store, and replaces an earlier one of the same key. If
// the artifact is missing or damaged, the error is ErrNotFound; a damaged one is reported
// and not looked up again.
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

// pull pulls everything that the manifest of an entry names into a store, and vets it. If
// it fails, only this entry is condemned: the registry may serve others.
func (r *Registry) pull(ctx context.Context, e entry, m oci.Manifest, into *Local) error {
	name, _ := e.place()
	l := into.layout(name)
	need := oci.Total(l.Missing(m.Parts()))
	signed, err := r.judge(ctx, e, m)
	if err != nil {
		return err
	}
	repository, err := r.repository(e)
	if err == nil {
		err = l.Receive(ctx, repository, m, name)
	}
	if err == nil {
		err = into.vet(ctx, name, m)
	}
	if err == nil {
		err = r.admit(ctx, e, m, signed, into)
	}
	if err == nil {
		into.use(e, m)
	}
	switch {
	case isFailure(err), IsDamage(err):
		r.condemn(e)
	case files.IsFull(err):
		err = fmt.Errorf("%s needs room for %s: free some space, or move the cache with --cache-dir: %w", into.dir, progress.Size(need), err)
	}
	return err
}

// examine reads and hashes everything that the manifest of an entry names, and vets the
// tarballs, which it keeps in the scratch store for that time. The error is *oci.Damage,
// *oci.Failure or the context's, or that of a full disk.
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

// Verify reads and hashes every blob of the artifacts of some assets, of the builders and
// of the sources, and vets the tarballs, which it keeps in the scratch store for that
// time. It returns how many entries it verified, and one line for each damage. The error
// is that of a registry that fails. Verify skips foreign tags.
func (r *Registry) Verify(ctx context.Context, assets []string, scratch *Local) (verified int, damage []string, err error) {
	for _, name := range append(slices.Clone(assets), builderRepository, sourceRepository) {
		entries, err := r.entries(ctx, name)
		if err != nil {
			return verified, damage, err
		}
		for _, e := range entries {
			switch err := r.verify(ctx, e, scratch); {
			case IsDamage(err):
				damage = append(damage, err.Error())
			case IsNotFound(err): // It was removed after it was listed.
				continue
			case err != nil:
				return verified, damage, fmt.Errorf("verifying %s: %w", e, err)
			}
			verified++
		}
	}
	return verified, damage, nil
}
