package store

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// Media types of an artifact and its parts.
const (
	artifactType = "application/vnd.kata-containers.asset.v1"
	recipeType   = "application/vnd.kata-containers.asset.recipe.v1+json"
	tarballType  = "application/vnd.kata-containers.asset.layer.v1.tar+zstd"
	recordType   = "application/vnd.kata-containers.asset.record.v1+json"
	outputType   = "application/vnd.kata-containers.asset.output.v1.tar+zstd"
)

// Annotations of a manifest: with the digest of the config they make its tag,
// so that an index can be rebuilt.
const (
	assetAnnotation = "io.katacontainers.asset.name"
	archAnnotation  = "io.katacontainers.asset.arch"
	// outputAnnotation is on the layer of a secondary output: its name.
	outputAnnotation = "io.katacontainers.asset.output"
)

// title is the file name of a tarball, by which other OCI clients save it.
func title(asset, output string) string {
	if output != "" {
		asset += "-" + output
	}
	return "kata-static-" + asset + ".tar.zst"
}

// artifactOf returns what a checked manifest says: an artifact without its recipe
// and record.
func artifactOf(m oci.Manifest) Artifact {
	artifact := Artifact{
		Ref:    Ref{Asset: m.Annotations[assetAnnotation], Arch: m.Annotations[archAnnotation], Key: m.Config.Digest.Encoded()},
		Digest: m.Layers[0].Digest.String(), Size: m.Layers[0].Size, Manifest: m.Digest().String(),
	}
	for _, layer := range m.Layers[2:] {
		artifact.Outputs = append(artifact.Outputs, Output{
			Name: layer.Annotations[outputAnnotation], Digest: layer.Digest.String(), Size: layer.Size,
		})
	}
	return artifact
}

// checkManifest makes sure that a manifest is one of an artifact. The error is
// *oci.Damage.
func checkManifest(m oci.Manifest) error {
	if m.MediaType != ocispec.MediaTypeImageManifest || m.ArtifactType != artifactType {
		return oci.Damaged("is a foreign manifest of type %q, artifactType %q", m.MediaType, m.ArtifactType)
	}
	all := append([]ocispec.Descriptor{m.Config}, m.Layers...)
	types := []string{recipeType, tarballType, recordType}
	if len(all) < len(types) {
		return oci.Damaged("has %d layers, want the tarball and the record", len(m.Layers))
	}
	last := ""
	for i, part := range all {
		want := outputType
		if i < len(types) {
			want = types[i]
		} else {
			name := part.Annotations[outputAnnotation]
			if !validName.MatchString(name) || name <= last {
				return oci.Damaged("has an output named %q after %q, want names in order", name, last)
			}
			last = name
		}
		if part.MediaType != want {
			return oci.Damaged("has a part of type %q, want %q", part.MediaType, want)
		}
	}
	return nil
}
