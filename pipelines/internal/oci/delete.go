package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// ErrMoved is the error of removing a tag that names another manifest now.
var ErrMoved = errors.New("was moved in the meantime")

// DeleteTag removes a tag that names the manifest of a digest, and fails with ErrMoved if
// it names another one. The manifest stays, with other tags that it has.
func (r *Repository) DeleteTag(ctx context.Context, tag string, of digest.Digest) error {
	m, err := r.Manifest(ctx, tag)
	switch {
	case IsNotFound(err):
		return nil // Another run removed it.
	case err != nil:
		return err
	case m.Digest() != of:
		return fmt.Errorf("the tag %s of %s %w", tag, r, ErrMoved)
	}
	return r.remove(ctx, tag)
}

// Delete removes a manifest, and with it all tags that name it. The registry collects the
// blobs that no other manifest names.
func (r *Repository) Delete(ctx context.Context, d digest.Digest) error {
	return r.remove(ctx, d.String())
}

func (r *Repository) remove(ctx context.Context, reference string) error {
	doing := "removing " + reference
	ctx = auth.AppendRepositoryScope(ctx, r.ref, auth.ActionPull, auth.ActionDelete)
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, r.url(ctx, "manifests/"+reference), http.NoBody)
	if err != nil {
		return err
	}
	response, err := r.host.Do(request)
	if err != nil {
		return r.failed(ctx, doing, err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusAccepted, http.StatusOK, http.StatusNoContent, http.StatusNotFound:
		return nil
	}
	err = r.failed(ctx, doing, answered(response))
	if hint := r.refusesRemoval(response.StatusCode); hint != "" {
		return fmt.Errorf("%w: %s", err, hint)
	}
	return err
}

// refusesRemoval says what to do about a registry that refuses to remove a manifest, ""
// if the status has another cause.
func (r *Repository) refusesRemoval(status int) string {
	switch {
	case status != http.StatusMethodNotAllowed && status != http.StatusForbidden && status != http.StatusBadRequest:
		return ""
	case r.Host() == "ghcr.io":
		return "ghcr.io removes packages only by GitHub's own API: remove the package versions with `gh api --method DELETE /orgs/OWNER/packages/container/NAME/versions/ID`, or on the package's page"
	case status == http.StatusForbidden:
		return "log in as a user who may delete there; Docker Hub also refuses manifests that have a tag: remove those on its website"
	}
	return "it does not allow removal by this API: enable it in the registry (storage.delete.enabled in the configuration of the distribution registry), or remove the listed tags by its own tools"
}
