package store

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// verdicts are next to the store in the cache: merges use them, too.
func (s *Store) verdicts() archive.Verdicts {
	return archive.Verdicts{Dir: filepath.Join(filepath.Dir(s.dir), "vetted")}
}

// vet vets the tarballs of an artifact whose blobs are in a layout. One that must not
// be used is *oci.Damage.
func (s *Store) vet(ctx context.Context, name string, m oci.Manifest) error {
	for _, part := range m.Layers {
		if part.MediaType != tarballType && part.MediaType != outputType {
			continue
		}
		err := s.verdicts().Vet(ctx, s.layout(name).Path(part.Digest), part.Digest.Encoded())
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return oci.Damaged("has a %s that must not be used: %v", partName(part), err)
		}
	}
	return nil
}

// admit vets a tarball that may be in the store since before tarballs were vetted as
// they enter. One that must not be used is forgotten.
func (s *Store) admit(ctx context.Context, artifact Artifact, tarball Output, path string) error {
	err := s.verdicts().Vet(ctx, path, strings.TrimPrefix(tarball.Digest, "sha256:"))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		// Its bytes are those of its digest: only the entry goes.
		tarball.Digest = ""
		return s.forget(ctx, artifact, tarball, fmt.Sprintf("must not be used: %v", err))
	}
	return nil
}
