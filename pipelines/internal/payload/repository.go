package payload

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// RemoteOptions say how to speak to registries.
type RemoteOptions struct {
	// Client speaks to them; nil means one with the credentials of the docker config.
	Client *oci.Client
	// Report gets remarks. It may be nil.
	Report *progress.Reporter
	// Parallel is how many layers are pushed at once; 0 is 3.
	Parallel int
	// MountFrom are further repositories of the same registry that may have layers:
	// they are taken from there, in place of being sent.
	MountFrom []string
}

func (o RemoteOptions) client() *oci.Client {
	if o.Client == nil {
		return oci.NewClient(oci.Options{Report: o.Report})
	}
	return o.Client
}

// Repository is one that images are pushed to. It is safe for concurrent use.
type Repository struct {
	*oci.Repository
	options RemoteOptions
	client  *oci.Client
	// mountFrom are paths of repositories of the same registry.
	mountFrom []string
}

// OpenRepository returns a repository, [HOST[:PORT]/]PATH; it connects to nothing.
func OpenRepository(ref string, o RemoteOptions) (*Repository, error) {
	malformed := fmt.Errorf("repository %q: want HOST[:PORT]/PATH, without a tag and without https://", ref)
	parsed, err := name.NewRepository(ref)
	if err != nil || strings.Contains(ref, "//") {
		return nil, malformed
	}
	r := &Repository{options: o, client: o.client()}
	if r.Repository, err = r.client.Repository(parsed.Name()); err != nil {
		return nil, malformed
	}
	for _, other := range o.MountFrom {
		from, err := name.NewRepository(other)
		if err != nil || from.RegistryStr() != r.Host() {
			return nil, fmt.Errorf("repository %q to take layers from: want one of %s: a registry takes none from elsewhere", other, r.Host())
		}
		r.mountFrom = append(r.mountFrom, from.RepositoryStr())
	}
	return r, nil
}

// hinted adds to the error of a registry that refuses what helps.
func (r *Repository) hinted(err error) error {
	if oci.Refused(err) {
		return fmt.Errorf("%w; run docker login %s as a user who may push", err, r.Host())
	}
	return err
}

// Tagged is what a tag points at; the zero value is nothing.
type Tagged struct {
	// Digest is "sha256:...".
	Digest string
	// Version and Revision are the release and the commit that Labels gave it, ""
	// where it says none.
	Version, Revision string
}

// Resolve returns what a tag points at. It needs no right to push. Hidden tells
// whether an error is a registry's that does not show it to whoever asks.
func (r *Repository) Resolve(ctx context.Context, tag string) (Tagged, error) {
	m, err := r.Manifest(ctx, tag)
	if oci.IsNotFound(err) {
		return Tagged{}, nil
	}
	if err != nil {
		return Tagged{}, fmt.Errorf("reading %s:%s: %w", r, tag, err)
	}
	return Tagged{m.Digest().String(), m.Annotations[annotation+"version"], m.Annotations[annotation+"revision"]}, nil
}

// Hidden tells whether an error is the answer of a registry that wants to know who
// asks, or does not like who does. Some say so of a repository that is not there.
func Hidden(err error) bool { return oci.Refused(err) }

// Check refuses fixed tags that are another image's than that of a digest, as a push
// does. It changes nothing.
func (r *Repository) Check(ctx context.Context, digest string, o PushOptions) error {
	hash, err := v1.NewHash(digest)
	if err != nil {
		return fmt.Errorf("digest %q: %w", digest, err)
	}
	return r.checkTags(ctx, hash.String(), o)
}

// Tag gives tags to what the repository has under a digest.
func (r *Repository) Tag(ctx context.Context, digest string, o PushOptions) (Pushed, error) {
	m, err := r.Manifest(ctx, digest)
	if err != nil {
		return Pushed{}, r.hinted(err)
	}
	return (&push{Repository: r}).finish(ctx, m, o)
}

// stored is an image of a registry, as go-containerregistry takes it. That reads
// layers without a context, so this has the one of whoever asked for the image.
type stored struct {
	ctx        context.Context
	repository *oci.Repository
	manifest   oci.Manifest
	config     []byte
}

// readImage reads the manifest of one architecture and its configuration; the layers
// are read when they are needed. A digest may be that of an index.
func readImage(ctx context.Context, repository *oci.Repository, reference, goarch string) (*stored, error) {
	m, err := repository.Manifest(ctx, reference)
	if err != nil {
		return nil, err
	}
	if isIndex(m) && goarch != "" {
		var index v1.IndexManifest
		if err := json.Unmarshal(m.Data, &index); err != nil {
			return nil, fmt.Errorf("%s is not an index: %w", reference, err)
		}
		i := slices.IndexFunc(index.Manifests, func(d v1.Descriptor) bool {
			return d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == goarch
		})
		if i < 0 {
			return nil, fmt.Errorf("it has no image for linux/%s", goarch)
		}
		if m, err = repository.Manifest(ctx, index.Manifests[i].Digest.String()); err != nil {
			return nil, err
		}
	}
	if isIndex(m) || len(m.Parts()) == 0 {
		return nil, fmt.Errorf("it is of type %s: want the image of one architecture", m.MediaType)
	}
	s := &stored{ctx: ctx, repository: repository, manifest: m}
	s.config, err = repository.Read(ctx, m.Config, oci.MaxManifest)
	return s, err
}

func isIndex(m oci.Manifest) bool { return types.MediaType(m.MediaType).IsIndex() }

// RawManifest returns the bytes of the manifest.
func (s *stored) RawManifest() ([]byte, error) { return s.manifest.Data, nil }

// RawConfigFile returns the bytes of the configuration.
func (s *stored) RawConfigFile() ([]byte, error) { return s.config, nil }

// MediaType returns the one of the manifest.
func (s *stored) MediaType() (types.MediaType, error) {
	return types.MediaType(s.manifest.MediaType), nil
}

// LayerByDigest returns a layer.
func (s *stored) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range s.manifest.Layers {
		if d.Digest.String() == digest.String() {
			return storedLayer{s, d}, nil
		}
	}
	return nil, fmt.Errorf("no layer %s", digest)
}

// storedLayer is a layer of a registry.
type storedLayer struct {
	*stored
	descriptor ocispec.Descriptor
}

// Digest returns that of the blob.
func (l storedLayer) Digest() (v1.Hash, error) { return v1.NewHash(l.descriptor.Digest.String()) }

// Size returns that of the blob.
func (l storedLayer) Size() (int64, error) { return l.descriptor.Size, nil }

// MediaType returns the type of the layer.
func (l storedLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.descriptor.MediaType), nil
}

// Compressed returns the bytes of the blob.
func (l storedLayer) Compressed() (io.ReadCloser, error) {
	return l.repository.Reader(l.ctx, l.descriptor), nil
}
