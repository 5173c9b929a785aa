package store

import (
	"errors"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

func isFailure(err error) bool {
	return errors.As(err, new(*oci.Failure))
}

// miss returns the error for an entry that the registry lacks or cannot serve.
func (r *Registry) miss(e entry) error { return fmt.Errorf("%s in %s: %w", e, r, ErrNotFound) }

// absent converts the failure of a lookup or a pull to a warning and a miss, so that the
// build continues. A damaged entry is not looked up again. A registry that fails is not
// used again, unless the entry's manifest could be read: then it may serve other entries.
func (r *Registry) absent(e entry, err error) error {
	switch {
	case err == nil:
		return nil
	case IsNotFound(err):
	case IsDamage(err):
		r.condemn(e)
		r.client.Note(fmt.Sprintf("ignoring the %s in %s: it %v", e, r, err))
		return fmt.Errorf("%s in %s %w: %w", e, r, err, ErrNotFound)
	case trust.IsRefusal(err):
		r.refused.Store(e, true)
		r.client.Note(fmt.Sprintf("ignoring the %s in %s: it %v", e, r, err))
	case isFailure(err) && r.condemned(e):
		r.client.Note(fmt.Sprintf("%v: continuing without the %s", r.hinted(err), e))
	case oci.Refused(err):
		r.client.Note(fmt.Sprintf("%s denied access (%s): continuing without it; %s", r, oci.Reason(err), r.login()))
	case isFailure(err):
		if !r.down.Swap(true) {
			r.client.Note(fmt.Sprintf("%v: continuing without the registry", err))
		}
	default:
		return err
	}
	return r.miss(e)
}

// login says how to give credentials.
func (r *Registry) login() string {
	return fmt.Sprintf("set ARTEFACT_REGISTRY_USERNAME and ARTEFACT_REGISTRY_PASSWORD, or run docker login %s", r.base.Host())
}

// hinted adds a hint to the error of a registry that denies access.
func (r *Registry) hinted(err error) error {
	if oci.Refused(err) {
		return fmt.Errorf("%w: %s", err, r.login())
	}
	return err
}

// condemn excludes an entry from further lookups: it is damaged, or the registry failed
// although the manifest could be read.
func (r *Registry) condemn(e entry) { r.damaged.Store(e, true) }

func (r *Registry) condemned(e entry) bool {
	_, damaged := r.damaged.Load(e)
	return damaged
}

// ignored reports whether an entry is excluded from lookups.
func (r *Registry) ignored(e entry) bool {
	_, refused := r.refused.Load(e)
	return refused || r.down.Load() || r.condemned(e)
}

func ignoreMiss(err error) error {
	if IsNotFound(err) {
		return nil
	}
	return err
}
