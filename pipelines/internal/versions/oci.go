package versions

import (
	"regexp"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// OCI is a layer of a manifest in a registry.
type OCI struct {
	// Ref is HOST[:PORT]/PATH[:TAG]@sha256:<hex>. The tag is for people: the digest is
	// that of the manifest.
	Ref string `yaml:"ref"`
	// Title is the layer's org.opencontainers.image.title, its file name. It may be empty
	// if the place has a sha256, which is that of the layer.
	Title string `yaml:"title,omitempty"`
}

var ociRef = regexp.MustCompile(`^[^/@\s.][^/@\s]*/[^@\s]+@sha256:[0-9a-f]{64}$`)

func (o OCI) check(at strictyaml.Node, source, sha256 string) {
	if !ociRef.MatchString(o.Ref) {
		at.At("ref").Problem("%s: the ref %q is not HOST/PATH@sha256:<64 hex digits>; a tag may move, so add the digest of the manifest that it has, as `oras resolve` prints it", source, o.Ref)
	}
	if o.Title == "" && sha256 == "" {
		at.Problem("%s: which layer of %s is meant; add its title, or its digest as sha256 of the place", source, o.Ref)
	}
}

// Repository returns HOST[:PORT]/PATH.
func (o OCI) Repository() string {
	name, _, _ := strings.Cut(o.Ref, "@")
	if slash, colon := strings.LastIndexByte(name, '/'), strings.LastIndexByte(name, ':'); colon > slash {
		name = name[:colon]
	}
	return name
}

// Digest returns the digest of the manifest, "sha256:<hex>".
func (o OCI) Digest() string {
	_, digest, _ := strings.Cut(o.Ref, "@")
	return digest
}
