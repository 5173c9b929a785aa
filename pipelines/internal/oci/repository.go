package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Repository is a repository of a registry. It is safe for concurrent use.
type Repository struct {
	client *Client
	host   *host
	ref    registry.Reference
}

// String names it in messages: HOST[:PORT]/PATH.
func (r *Repository) String() string { return r.ref.Registry + "/" + r.ref.Repository }

// Host returns HOST[:PORT], Path the path.
func (r *Repository) Host() string { return r.ref.Registry }

// Path returns the path of the repository below its host.
func (r *Repository) Path() string { return r.ref.Repository }

// remote returns oras-go's view of the repository.
func (r *Repository) remote(ctx context.Context) *remote.Repository {
	return &remote.Repository{
		Client: r.host, Reference: r.ref, PlainHTTP: r.host.speaksPlain(ctx),
		MaxMetadataBytes: MaxManifest, SkipReferrersGC: true,
	}
}

// Manifest reads the manifest of a tag or a digest, in one request. The error is
// ErrNotFound, *Damage or *Failure, or the context's.
func (r *Repository) Manifest(ctx context.Context, reference string) (Manifest, error) {
	doing := "looking up " + reference
	response, err := r.ask(ctx, http.MethodGet, "manifests/"+reference)
	if err != nil {
		return Manifest{}, r.failed(ctx, doing, err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return Manifest{}, fmt.Errorf("%s in %s: %w", reference, r, ErrNotFound)
	default:
		return Manifest{}, r.failed(ctx, doing, answered(response))
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, MaxManifest+1))
	if err != nil {
		return Manifest{}, r.failed(ctx, doing, err)
	}
	// A digest in the reference counts; for a tag, the registry may send a digest.
	want := response.Header.Get("Docker-Content-Digest")
	if strings.Contains(reference, ":") {
		want = reference
	}
	if sum := digest.FromBytes(data).String(); len(data) <= MaxManifest && want != "" && sum != want {
		return Manifest{}, Damaged("has a manifest that hashes to %s, want %s", sum, want)
	}
	m, err := ParseManifest(data)
	if err == nil && m.MediaType == "" {
		m.MediaType, _, _ = strings.Cut(response.Header.Get("Content-Type"), ";")
	}
	return m, err
}

// manifestTypes are the accepted media types of manifests.
var manifestTypes = strings.Join([]string{
	ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex,
	"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
}, ", ")

func (r *Repository) ask(ctx context.Context, method, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(r.reading(ctx), method, r.url(ctx, path), http.NoBody)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(path, "manifests/") {
		request.Header.Set("Accept", manifestTypes)
	}
	return r.host.Do(request)
}

// reading returns a context for requests that only read.
func (r *Repository) reading(ctx context.Context) context.Context {
	return auth.AppendRepositoryScope(ctx, r.ref, auth.ActionPull)
}

func (r *Repository) url(ctx context.Context, path string) string {
	address := url.URL{Scheme: "https", Host: r.ref.Host()}
	if r.host.speaksPlain(ctx) {
		address.Scheme = "http"
	}
	return address.String() + "/v2/" + r.ref.Repository + "/" + path
}

// PutManifest pushes a manifest, whose parts the registry has, under a tag; if the tag is
// "", under its digest only. If the manifest has a subject, it becomes a referrer of
// that, by a fallback tag if the registry has no API for referrers.
func (r *Repository) PutManifest(ctx context.Context, m Manifest, tag string) error {
	d := m.Descriptor()
	doing := "pushing " + tag
	if tag == "" {
		tag, doing = d.Digest.String(), "pushing a manifest"
	}
	for attempt := 0; ; attempt++ {
		repository := r.remote(ctx)
		repository.Client = hiding{r.host, "/manifests/sha256-"}
		err := repository.PushReference(ctx, d, bytes.NewReader(m.Data), tag)
		// Registries answer 400, without a reason, if another client writes the same tag at
		// the same moment.
		if err == nil || Status(err) != http.StatusBadRequest || explained(err) || attempt+1 >= r.client.options.Pace.Tries {
			if err != nil {
				return r.failed(ctx, doing, err)
			}
			return nil
		}
		r.retrying(doing, err)
		if err := r.client.Rest(ctx, attempt+1); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
}

func (r *Repository) retrying(doing string, err error) {
	r.Note(fmt.Sprintf("%s: %s (%s): trying again", doing, r, Reason(err)))
}

// Note reports a warning about the registry.
func (r *Repository) Note(text string) { r.client.options.Report.Note("registry", text) }

// Has reports whether the repository has a blob.
func (r *Repository) Has(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	response, err := r.ask(ctx, http.MethodHead, "blobs/"+d.Digest.String())
	if err != nil {
		return false, r.failed(ctx, "looking for a blob", err)
	}
	_ = response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		// Some registries do not send the length.
		return response.ContentLength < 0 || response.ContentLength == d.Size, nil
	case http.StatusNotFound:
		return false, nil
	}
	return false, r.failed(ctx, "looking for a blob", answered(response))
}

// hiding is a client for a registry that may deny access to what it lacks: if it denies
// a GET of a path that contains part, it counts as lacking that.
type hiding struct {
	*host
	part string
}

func (h hiding) Do(request *http.Request) (*http.Response, error) {
	response, err := h.host.Do(request)
	if request.Method != http.MethodGet || !strings.Contains(request.URL.Path, h.part) {
		return response, err
	}
	if err == nil && refusal(response.StatusCode) {
		err = answered(response)
		_ = response.Body.Close()
	}
	if Refused(err) {
		return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: request}, nil
	}
	return response, err
}

// Limits of a list, whatever the registry sends.
const maxPages, maxListed = 1000, 100_000

var errEndless = errors.New("the list does not end")

// pages is a client for one list. It counts pages, since oras-go hides empty ones.
type pages struct {
	hiding
	asked int
}

func (p *pages) Do(request *http.Request) (*http.Response, error) {
	if p.asked++; p.asked > maxPages {
		return nil, errEndless
	}
	return p.hiding.Do(request)
}

// listed returns oras-go's view of the repository for one list.
func (r *Repository) listed(ctx context.Context) *remote.Repository {
	repository := r.remote(ctx)
	repository.Client = &pages{hiding: hiding{r.host, "/referrers/"}}
	return repository
}

// Tags returns the tags of the repository. A repository that does not exist has none.
func (r *Repository) Tags(ctx context.Context) (all []string, err error) {
	err = r.listed(ctx).Tags(ctx, "", func(tags []string) error {
		if all = append(all, tags...); len(all) > maxListed {
			return errEndless
		}
		return nil
	})
	if Status(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, r.failed(ctx, "listing the tags", err)
	}
	return all, nil
}

// ListsReferrers reports whether the registry has an API for referrers.
func (r *Repository) ListsReferrers(ctx context.Context) (bool, error) {
	response, err := r.ask(ctx, http.MethodGet, "referrers/"+digest.FromString("").String())
	if err != nil {
		return false, r.failed(ctx, "looking for the referrers API", err)
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK, nil
}

var errEnough = errors.New("enough")

// Referrers returns at most limit referrers of a manifest, sorted by digest: those of an
// artifact type, and those that may be of it, because some registries list the type of
// the config instead; "" is any type.
func (r *Repository) Referrers(ctx context.Context, subject digest.Digest, artifactType string, limit int) (all []ocispec.Descriptor, err error) {
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: subject}
	err = r.listed(ctx).Referrers(ctx, d, "", func(page []ocispec.Descriptor) error {
		for _, d := range page {
			if artifactType == "" || d.ArtifactType == artifactType || d.ArtifactType == ocispec.MediaTypeEmptyJSON {
				all = append(all, d)
			}
		}
		if len(all) >= limit {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) && !errors.Is(err, errEndless) {
		return nil, r.failed(ctx, "listing the referrers of "+subject.String(), err)
	}
	slices.SortFunc(all, func(a, b ocispec.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return all[:min(len(all), limit)], nil
}

// Read reads a blob of at most limit bytes into memory.
func (r *Repository) Read(ctx context.Context, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, Damaged("has a document of %d bytes, more than %d", d.Size, limit)
	}
	if data := embeddedIn(d); data != nil {
		return data, nil
	}
	var data bytes.Buffer
	if err := r.Fetch(ctx, d, &data, nil); err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}
