package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// RegistryOptions say which registry to use and how.
type RegistryOptions struct {
	// Ref is HOST[:PORT]/PATH; the artifacts of an asset are in the repository
	// PATH/<asset>.
	Ref string
	// Username and Password are for that host; both empty means the docker
	// config and its credential helpers.
	Username, Password string
	// Note gets warnings, from one goroutine at a time; nil drops them.
	Note func(string)
	// Bytes is called when a tarball of an asset begins to be pulled or pushed:
	// progress then gets its bytes, end its outcome. It may be nil.
	Bytes func(asset string) (progress func(done, total int64), end func(err error, detail string))
	// Transport carries the requests; nil means one of the registry's own.
	Transport http.RoundTripper
}

// Registry is a registry of artifacts. It is safe for concurrent use.
type Registry struct {
	options RegistryOptions
	// ref is Options.Ref; plain is true where it is spoken to without TLS.
	ref    registry.Reference
	plain  bool
	client *auth.Client
	pace   pace

	mu    sync.Mutex
	noted map[string]bool
	// damaged are artifacts, and other entries, that could not be pulled though
	// their manifests answered.
	damaged map[Ref]bool
	// down is true once the registry is not asked any more.
	down bool
}

// OpenRegistry returns a registry; it connects to nothing. A host that is this
// machine's loopback is spoken to in plain HTTP, others with TLS.
func OpenRegistry(o RegistryOptions) (*Registry, error) {
	ref, err := registry.ParseReference(o.Ref)
	if err != nil || ref.Reference != "" {
		return nil, fmt.Errorf("registry %q: want HOST[:PORT]/PATH, in lower case, without https:// and without a tag", withoutUser(o.Ref))
	}
	if (o.Username == "") != (o.Password == "") {
		return nil, fmt.Errorf("registry %q: a user name and a password go together", o.Ref)
	}
	r := &Registry{options: o, ref: ref, plain: loopback(ref.Host()), pace: defaultPace, noted: map[string]bool{}, damaged: map[Ref]bool{}}
	r.client = r.newClient()
	return r, nil
}

// withoutUser leaves out what may be a user name and a password.
func withoutUser(ref string) string {
	if at := strings.LastIndexByte(ref, '@'); at >= 0 {
		return "..." + ref[at:]
	}
	return ref
}

func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

// Lookup returns the artifact of a key, without its recipe and record: it reads
// the manifest alone. A miss is ErrNotFound; so is, with a note, an artifact that
// is not what its tag says, and a registry that wants credentials.
func (r *Registry) Lookup(ctx context.Context, ref Ref) (Artifact, error) {
	if err := ref.validate(); err != nil {
		return Artifact{}, err
	}
	if r.ignored(ref) {
		return Artifact{}, r.miss(ref)
	}
	found, err := r.manifest(ctx, ref.Asset, ref.Tag())
	if err == nil {
		err = found.artifact.is(ref)
	}
	var damaged *damage
	switch {
	case errors.As(err, &damaged):
		r.tell(fmt.Sprintf("the artifact %s of %s in %s is ignored: it %v", ref.Tag(), ref.Asset, r, damaged))
		return Artifact{}, r.miss(ref)
	case IsNotFound(err):
		return Artifact{}, r.miss(ref)
	case refused(err):
		r.tellRefused(err)
		return Artifact{}, r.miss(ref)
	}
	return found.artifact, err
}

func (r *Registry) tellRefused(err error) {
	r.tell(fmt.Sprintf("%s does not let itself be read (%s): going on without; %s", r, reason(err), r.login()))
}

func (r *Registry) miss(ref Ref) error {
	return fmt.Errorf("artifact %s of %s in %s: %w", ref.Tag(), ref.Asset, r, ErrNotFound)
}

// Latest returns the artifact that a tag of an asset points at, with its recipe
// and without its record. A miss is ErrNotFound, as in Lookup; so is a registry
// that fails, which is noted and then not asked again.
func (r *Registry) Latest(ctx context.Context, asset, tag string) (Artifact, error) {
	miss := fmt.Errorf("tag %s of %s in %s: %w", tag, asset, r, ErrNotFound)
	if !validName.MatchString(asset) || r.ignored(Ref{}) {
		return Artifact{}, miss
	}
	found, err := r.manifest(ctx, asset, tag)
	if err == nil {
		found.artifact.Recipe, err = r.document(ctx, asset, found.parts.Config)
	}
	var damaged *damage
	var failed *failure
	switch {
	case errors.As(err, &damaged):
		r.tell(fmt.Sprintf("the tag %s of %s in %s is ignored: it %v", tag, asset, r, damaged))
		return Artifact{}, miss
	case IsNotFound(err):
		return Artifact{}, miss
	case refused(err):
		r.tellRefused(err)
		return Artifact{}, miss
	case errors.As(err, &failed):
		r.giveUp(failed)
		return Artifact{}, miss
	}
	return found.artifact, err
}

// Refs returns the keys under which the registry has something for an asset,
// sorted by arch and key, without looking at what that is: see Verify. A
// repository that is not there is empty.
func (r *Registry) Refs(ctx context.Context, asset string) ([]Ref, error) {
	tags, err := r.tags(ctx, asset)
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, tag := range tags {
		key, arch, _ := strings.Cut(tag, "-")
		if ref := (Ref{Asset: asset, Arch: arch, Key: key}); ref.validate() == nil {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, func(a, b Ref) int {
		return cmp.Or(strings.Compare(a.Arch, b.Arch), strings.Compare(a.Key, b.Key))
	})
	return refs, nil
}

// tags returns those of a repository; one that is not there has none.
func (r *Registry) tags(ctx context.Context, name string) (all []string, err error) {
	repository, err := r.repository(name)
	if err != nil {
		return nil, err
	}
	err = repository.Tags(ctx, "", func(tags []string) error {
		all = append(all, tags...)
		return nil
	})
	if status(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, r.hinted(r.failed(ctx, "listing "+name, err))
	}
	return all, nil
}

// listing is how many manifests List reads at once.
const listing = 8

// List returns the artifacts of an asset, without recipes and records, in the
// order of Refs. Only manifests are read; what is no artifact is noted and left
// out.
func (r *Registry) List(ctx context.Context, asset string) ([]Artifact, error) {
	refs, err := r.Refs(ctx, asset)
	if err != nil {
		return nil, err
	}
	found := make([]*Artifact, len(refs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listing)
	for i, ref := range refs {
		group.Go(func() error {
			artifact, err := r.Lookup(ctx, ref)
			if err == nil {
				found[i] = &artifact
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
	var artifacts []Artifact
	for _, artifact := range found {
		if artifact != nil {
			artifacts = append(artifacts, *artifact)
		}
	}
	return artifacts, nil
}

// found is a manifest that was read.
type found struct {
	artifact Artifact
	parts    ocispec.Manifest
	data     []byte
}

// descriptor returns that of the manifest.
func (f found) descriptor() ocispec.Descriptor {
	d := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, f.data)
	d.ArtifactType = artifactType
	return d
}

// blobs returns all that the manifest names, the tarball last: what is small
// comes first, so that a failure comes early.
func (f found) blobs() []ocispec.Descriptor {
	blobs := append([]ocispec.Descriptor{f.parts.Config}, f.parts.Layers[1:]...)
	return append(blobs, f.parts.Layers[0])
}

// manifest reads and checks a manifest, in one request: by tag or by digest. The
// error is ErrNotFound, *damage or *failure, or the context's.
func (r *Registry) manifest(ctx context.Context, asset, reference string) (found, error) {
	repository, err := r.repository(asset)
	if err != nil {
		return found{}, err
	}
	d, body, err := repository.Manifests().FetchReference(ctx, reference)
	if IsNotFound(err) {
		return found{}, err
	}
	if err != nil {
		return found{}, r.failed(ctx, "looking up "+asset, err)
	}
	data, err := io.ReadAll(io.LimitReader(body, maxManifest+1))
	err = errors.Join(err, body.Close())
	if err != nil {
		return found{}, r.failed(ctx, "looking up "+asset, err)
	}
	if len(data) > maxManifest {
		return found{}, &damage{fmt.Sprintf("has a manifest of more than %d bytes", maxManifest)}
	}
	// Tags are looked up by name: only a digest says what the answer must be.
	if sum := digest.FromBytes(data); sum != d.Digest || strings.Contains(reference, ":") && sum.String() != reference {
		return found{}, &damage{fmt.Sprintf("has a manifest that hashes to %s, want %s", sum, d.Digest)}
	}
	artifact, m, err := parse(data)
	return found{artifact, m, data}, err
}

// repository returns that of an asset.
func (r *Registry) repository(asset string) (*remote.Repository, error) {
	if !validName.MatchString(asset) {
		return nil, fmt.Errorf("asset name %q: want lower-case letters, digits and single . _ - between them", asset)
	}
	ref := registry.Reference{Registry: r.ref.Registry, Repository: r.ref.Repository + "/" + asset}
	return &remote.Repository{
		Client: r.client, Reference: ref, PlainHTTP: r.plain, MaxMetadataBytes: maxManifest, SkipReferrersGC: true,
		ManifestMediaTypes: []string{ocispec.MediaTypeImageManifest},
	}, nil
}

// String names the registry in messages.
func (r *Registry) String() string {
	return "the registry " + r.ref.Registry + "/" + r.ref.Repository
}
