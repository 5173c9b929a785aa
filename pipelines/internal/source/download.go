package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// resumptions is how often a broken download is resumed.
const resumptions = 4

// fromURL downloads the file of a place. The url may carry credentials; what names the
// file in messages.
func (t *task) fromURL(ctx context.Context, place versions.Place, url, what string) (Fetched, error) {
	client := t.client()
	defer client.CloseIdleConnections()
	d := web.Download{Client: client, URL: url, Stage: t.stage}
	return t.download(ctx, place, d, what)
}

// download downloads a file, by the client and from the address of d, into the cache
// unless another process just did; what names the file in messages.
//
// A partial file may have bytes from several places: the hash of the whole file shows
// whether they belong together.
func (t *task) download(ctx context.Context, place versions.Place, d web.Download, what string) (Fetched, error) {
	return t.unlessCached(ctx, place, func() (Fetched, error) { return t.downloadLocked(ctx, place, d, what) })
}

func (t *task) downloadLocked(ctx context.Context, place versions.Place, d web.Download, what string) (Fetched, error) {
	d.SHA256, d.Size, d.Impatient = place.SHA256, cmp.Or(place.Size, -1), true
	d.What, d.Notes, d.Pace = t.source.Name+": the download", t.stage, t.pace()
	d.Pace.Tries = resumptions + 1
	final := t.final(place.SHA256)
	err := d.File(ctx, final, final+".partial", 0o644)
	if err != nil {
		err = t.failed(place, what, err)
	}
	if err == nil || errors.As(err, new(*Mismatch)) || files.IsFull(err) {
		// The partial file of a pull from the registry is no longer needed.
		if removed := os.Remove(final + store.Pulling); !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	if err != nil {
		return Fetched{}, err
	}
	return Fetched{Name: t.source.Name, Path: final, Place: place.Name, From: FromPlace, SHA256: place.SHA256, Size: d.Done}, nil
}

// failed translates the error of a download: most mean that the next place is tried.
func (t *task) failed(place versions.Place, what string, err error) error {
	var gone *web.Unavailable
	var other *web.Mismatch
	switch {
	case errors.As(err, &gone):
		return unavailable{fmt.Errorf("%s: %w", what, gone)}
	case !errors.As(err, &other):
		return err
	case other.SHA256 == "":
		return t.wrong(what, fmt.Sprintf("%d bytes", other.Size), fmt.Sprintf("at most %d bytes (sha256 %s)", cmp.Or(place.Size, web.MaxUnsized), place.SHA256))
	}
	return t.wrong(what, fmt.Sprintf("sha256 %s (%d bytes)", other.SHA256, other.Size), "sha256 "+place.SHA256)
}

func (t *task) layer(ctx context.Context, place versions.Place) (Fetched, error) {
	repository, layer, err := t.findLayer(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	place.SHA256 = layer.Digest.Encoded()
	return t.unlessCached(ctx, place, func() (Fetched, error) {
		final := t.final(place.SHA256)
		if err := repository.Download(ctx, layer, final, final+".partial", t.stage); err != nil {
			return Fetched{}, t.refused(place, err)
		}
		return Fetched{Name: t.source.Name, Path: final, Place: place.Name, From: FromPlace, SHA256: place.SHA256, Size: layer.Size}, nil
	})
}

func (t *task) findLayer(ctx context.Context, place versions.Place) (repository *oci.Repository, layer ocispec.Descriptor, err error) {
	if t.Registries == nil {
		return nil, layer, unavailable{errors.New("there is no client for registries here")}
	}
	if repository, err = t.Registries.Repository(place.OCI.Repository()); err != nil {
		return nil, layer, err
	}
	manifest, err := repository.Manifest(ctx, place.OCI.Digest())
	if err != nil {
		return nil, layer, t.refused(place, err)
	}
	if manifest.MediaType == ocispec.MediaTypeImageIndex || len(manifest.Layers) == 0 {
		return nil, layer, fmt.Errorf("%s is not a manifest with layers (%s): give the digest of the manifest of one architecture", place.OCI.Ref, manifest.MediaType)
	}
	named := func(d ocispec.Descriptor) bool {
		if place.OCI.Title == "" {
			return d.Digest.Encoded() == place.SHA256
		}
		return d.Annotations[ocispec.AnnotationTitle] == place.OCI.Title
	}
	i := slices.IndexFunc(manifest.Layers, named)
	if i < 0 {
		return nil, layer, fmt.Errorf("%s has no layer %s; it has %s", place.OCI.Ref, wanted(place), strings.Join(titles(manifest), ", "))
	}
	if slices.ContainsFunc(manifest.Layers[i+1:], named) {
		return nil, layer, fmt.Errorf("%s has several layers %s: give the sha256 of the one that is meant, without a title", place.OCI.Ref, wanted(place))
	}
	layer = manifest.Layers[i]
	if place.SHA256 != "" && layer.Digest.Encoded() != place.SHA256 {
		return nil, layer, t.wrong(fmt.Sprintf("layer %s of %s", place.OCI.Title, place.OCI.Ref), "sha256 "+layer.Digest.Encoded(), "sha256 "+place.SHA256)
	}
	return repository, layer, nil
}

// wanted names the layer of a place.
func wanted(place versions.Place) string {
	if place.OCI.Title != "" {
		return fmt.Sprintf("with the title %q", place.OCI.Title)
	}
	return "sha256:" + place.SHA256
}

func titles(m oci.Manifest) []string {
	var list []string
	for _, layer := range m.Layers {
		list = append(list, strings.TrimPrefix(fmt.Sprintf("%s %s", layer.Annotations[ocispec.AnnotationTitle], layer.Digest), " "))
	}
	return list
}

// refused translates the error of a registry: one that does not serve the layer is
// unavailable, and one that serves other bytes is wrong.
func (t *task) refused(place versions.Place, err error) error {
	var failure *oci.Failure
	switch {
	case oci.Refused(err):
		host, _, _ := strings.Cut(place.OCI.Ref, "/")
		return unavailable{fmt.Errorf("%w: run docker login %s if it needs credentials", err, host)}
	case errors.As(err, &failure), oci.IsNotFound(err):
		return unavailable{err}
	case oci.IsDamage(err):
		return fmt.Errorf("%s %w", place.OCI.Ref, err)
	}
	return err
}
