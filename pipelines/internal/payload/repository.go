package payload

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// RemoteOptions say how to reach registries.
type RemoteOptions struct {
	// Client sends the requests.
	Client *oci.Client
	// Report gets notes. It may be nil.
	Report *progress.Reporter
	// Parallel is how many layers are pushed at once; 0 is 3.
	Parallel int
	// MountFrom are further repositories of the same registry that may have layers:
	// those are mounted instead of sent.
	MountFrom []string
	// Signer signs what is pushed; nil signs nothing. Policy says whose images an index may
	// have; nil is anybody's.
	Signer *trust.Signer
	Policy *trust.Policy
}

// Repository is a repository that images are pushed to. It is safe for concurrent use.
type Repository struct {
	*oci.Repository
	options RemoteOptions
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
	r := &Repository{options: o}
	if r.Repository, err = o.Client.Repository(parsed.Name()); err != nil {
		return nil, malformed
	}
	for _, other := range o.MountFrom {
		from, err := name.NewRepository(other)
		if err != nil || from.RegistryStr() != r.Host() {
			return nil, fmt.Errorf("repository %q to mount layers from: want one of %s: a registry mounts only its own", other, r.Host())
		}
		r.mountFrom = append(r.mountFrom, from.RepositoryStr())
	}
	return r, nil
}

// Sibling returns the repository of another path of the same registry, with the same
// options. The path is relative to the folder of this one.
func (r *Repository) Sibling(name string) (*Repository, error) {
	return OpenRepository(r.Host()+"/"+path.Join(path.Dir(r.Path()), name), r.options)
}

// hinted adds a hint to the error of a registry that denies access.
func (r *Repository) hinted(err error) error {
	if oci.Refused(err) {
		return fmt.Errorf("%w; run docker login %s as a user who may push", err, r.Host())
	}
	return err
}

// Tagged is what a tag points to; the zero value is nothing.
type Tagged struct {
	// Digest is "sha256:...".
	Digest string
	// Version and Revision are the release and the commit in its labels, "" if they are
	// not there.
	Version, Revision string
}

// Resolve returns what a tag points to. It needs no permission to push. Some registries
// deny access where a tag is missing: see oci.Refused.
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

// tagged is Resolve for a push: a registry that denies access to the tag counts as
// lacking it. Once the image of the digest was pushed, the registry must at least show
// that image; otherwise nothing is known about the tag.
func (r *Repository) tagged(ctx context.Context, tag, digest string, pushed bool) (Tagged, error) {
	there, err := r.Resolve(ctx, tag)
	if !oci.Refused(err) {
		return there, err
	}
	if !pushed {
		return Tagged{}, nil
	}
	if _, hidden := r.Manifest(ctx, digest); hidden != nil {
		return Tagged{}, r.hinted(fmt.Errorf("%w: cannot tell whether %s is the tag of another image", err, tag))
	}
	return Tagged{}, nil
}

// Check refuses fixed tags that point to another image than that of the digest. Pushed
// is true if that one has been pushed. Check changes nothing.
func (r *Repository) Check(ctx context.Context, digest string, o PushOptions, pushed bool) error {
	var problems []error
	for _, tag := range o.Tags {
		if !validTag.MatchString(tag.Name) {
			problems = append(problems, fmt.Errorf("tag %q: want letters, digits, dots, dashes and underscores, at most 128", tag.Name))
			continue
		}
		if !tag.Fixed || o.Force {
			continue
		}
		there, err := r.tagged(ctx, tag.Name, digest, pushed)
		if err != nil {
			return err
		}
		if there.Digest != "" && there.Digest != digest {
			problems = append(problems, fmt.Errorf("%s:%s is %s already, not %s: a release is not replaced; replace it with --force", r, tag.Name, there.Digest, digest))
		}
	}
	return errors.Join(problems...)
}

// Tag tags what the repository has under a digest.
func (r *Repository) Tag(ctx context.Context, digest string, o PushOptions) (Pushed, error) {
	m, err := r.Manifest(ctx, digest)
	if err != nil {
		return Pushed{}, r.hinted(err)
	}
	return (&push{Repository: r}).finish(ctx, m, o)
}
