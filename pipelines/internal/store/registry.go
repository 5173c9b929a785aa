package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// RegistryOptions say which registry to use and how.
type RegistryOptions struct {
	// Ref is HOST[:PORT]/PATH; the artifacts of an asset are in the repository
	// PATH/<asset>.
	Ref string
	// Username and Password are for that host; both empty means the docker
	// config and its credential helpers.
	Username, Password string
	// Report gets warnings and the progress of tarballs. It may be nil.
	Report *progress.Reporter
	// Transport carries the requests; nil means one of package web. Pace is how
	// patient it is; the zero value is the default.
	Transport http.RoundTripper
	Pace      web.Pace
}

// Registry is a registry of artifacts, builders and sources. It is safe for
// concurrent use.
type Registry struct {
	client *oci.Client
	report *progress.Reporter
	host   string
	// base is the repository that those of the entries are below.
	base string

	mu sync.Mutex
	// damaged are entries that could not be pulled though their manifests answered.
	damaged map[string]bool
	// seen are the manifests that lookups have read, by digest: a pull does not ask
	// for them again.
	seen map[string]oci.Manifest
	// down is true once the registry is not asked any more.
	down bool
}

// OpenRegistry returns a registry; it connects to nothing.
func OpenRegistry(o RegistryOptions) (*Registry, error) {
	host, _, _ := strings.Cut(o.Ref, "/")
	client := oci.NewClient(oci.Options{
		Registry: host, Username: o.Username, Password: o.Password, Report: o.Report, Transport: o.Transport, Pace: o.Pace,
	})
	base, err := client.Repository(o.Ref)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if (o.Username == "") != (o.Password == "") {
		return nil, fmt.Errorf("registry %q: a user name and a password go together", o.Ref)
	}
	return &Registry{client: client, report: o.Report, host: base.Host(), base: base.String(), damaged: map[string]bool{}, seen: map[string]oci.Manifest{}}, nil
}

// String names the registry in messages.
func (r *Registry) String() string { return "the registry " + r.base }

// repository returns the one of a name.
func (r *Registry) repository(name string) (*oci.Repository, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("asset name %q: want lower-case letters, digits and single . _ - between them", name)
	}
	return r.client.Repository(r.base + "/" + name)
}

// read reads the manifest of an entry, in one request. The error is ErrNotFound,
// *oci.Damage or *oci.Failure, or the context's.
func (r *Registry) read(ctx context.Context, e entry) (oci.Manifest, error) {
	name, tag := e.place()
	repository, err := r.repository(name)
	if err != nil {
		return oci.Manifest{}, err
	}
	m, err := repository.Manifest(ctx, tag)
	if err == nil {
		err = e.check(m)
	}
	if err != nil {
		return oci.Manifest{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[m.Digest().String()] = m
	return m, nil
}

// lookup is read that makes a miss of whatever keeps a cache from giving something.
func (r *Registry) lookup(ctx context.Context, e entry) (oci.Manifest, error) {
	if r.ignored(e) {
		return oci.Manifest{}, r.miss(e)
	}
	m, err := r.read(ctx, e)
	if isFailure(err) && oci.Status(err) == 0 && r.client.Rest(ctx) == nil {
		// A registry is not given up for one connection that failed.
		m, err = r.read(ctx, e)
	}
	if err != nil {
		return oci.Manifest{}, r.absent(e, err)
	}
	return m, nil
}

// Lookup returns the artifact of a key, without its recipe and record: it reads
// the manifest only. A miss is ErrNotFound; so is, with a warning, an artifact that
// is not what its tag says, and a registry that fails or wants credentials.
func (r *Registry) Lookup(ctx context.Context, ref Ref) (Artifact, error) {
	if err := ref.validate(); err != nil {
		return Artifact{}, err
	}
	m, err := r.lookup(ctx, ref)
	if err != nil {
		return Artifact{}, err
	}
	return artifactOf(m), nil
}

// Latest returns the artifact that a tag of an asset points at, with its recipe
// and without its record. A miss is ErrNotFound, as in Lookup; so is a registry
// that fails, which is a warning and then not asked again.
func (r *Registry) Latest(ctx context.Context, asset, tag string) (Artifact, error) {
	e := movingRef{asset, tag}
	m, err := r.lookup(ctx, e)
	if err != nil {
		return Artifact{}, err
	}
	repository, err := r.repository(asset)
	if err != nil {
		return Artifact{}, err
	}
	artifact := artifactOf(m)
	if artifact.Recipe, err = repository.Read(ctx, m.Config, oci.MaxDocument); err != nil {
		return Artifact{}, r.absent(e, err)
	}
	return artifact, nil
}

// entries returns what a repository has, sorted by tag, without looking at what
// that is. A repository that is not there is empty.
func (r *Registry) entries(ctx context.Context, name string) ([]entry, error) {
	repository, err := r.repository(name)
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

// List returns the artifacts of an asset, without recipes and records, sorted by
// arch and key. Only manifests are read; what is not an artifact is reported and
// left out.
func (r *Registry) List(ctx context.Context, asset string) ([]Artifact, error) {
	entries, err := r.entries(ctx, asset)
	if err != nil {
		return nil, err
	}
	found := make([]Artifact, len(entries))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listing)
	for i, e := range entries {
		group.Go(func() error {
			ref, ok := e.(Ref)
			if !ok {
				return nil
			}
			artifact, err := r.Lookup(ctx, ref)
			if err == nil {
				found[i] = artifact
			}
			if IsNotFound(err) {
				return nil
			}
			return err
		})
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
func (r *Registry) Pull(ctx context.Context, ref Ref, into *Store) (Artifact, error) {
	if err := ref.validate(); err != nil {
		return Artifact{}, err
	}
	m, err := r.read(ctx, ref)
	if err == nil {
		err = r.pull(ctx, ref, m, into)
	}
	if err != nil {
		if isFailure(err) {
			return Artifact{}, r.hinted(err)
		}
		return Artifact{}, r.absent(ref, err)
	}
	return into.Get(ctx, ref)
}

// Verify reads every blob of an artifact and hashes it. A miss is ErrNotFound;
// damage is another error, which says what is wrong.
func (r *Registry) Verify(ctx context.Context, ref Ref) error {
	if err := ref.validate(); err != nil {
		return err
	}
	return r.verify(ctx, ref)
}

func (r *Registry) verify(ctx context.Context, e entry) error {
	name, _ := e.place()
	m, err := r.read(ctx, e)
	if IsNotFound(err) {
		return r.miss(e)
	}
	repository, openErr := r.repository(name)
	err = errors.Join(err, openErr)
	for _, part := range m.Parts() {
		if err == nil {
			err = repository.Verify(ctx, part, name)
		}
	}
	if IsDamage(err) {
		return fmt.Errorf("%s: %s %w", e, r, err)
	}
	return r.hinted(err)
}

// VerifyAll reads every blob of the artifacts of some assets, of the builders and
// of the sources, hashes it, and returns the damage that it found, a line each. The
// error is that of a registry that fails. Foreign tags are left out.
func (r *Registry) VerifyAll(ctx context.Context, assets []string) (damage []string, err error) {
	for _, name := range append(slices.Clone(assets), builderRepository, sourceRepository) {
		entries, err := r.entries(ctx, name)
		if err != nil {
			return damage, err
		}
		for _, e := range entries {
			switch err := r.verify(ctx, e); {
			case IsDamage(err):
				damage = append(damage, err.Error())
			case IsNotFound(err): // It went away since it was listed.
			case err != nil:
				return damage, fmt.Errorf("verifying %s: %w", e, err)
			}
		}
	}
	return damage, nil
}
