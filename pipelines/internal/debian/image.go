package debian

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// created is the time stamp of an image and of its files. A constant, so that
// the same packages make the same image.
var created = time.Unix(1772323200, 0).UTC() // 2026-03-01

// architectures maps Debian's names of architectures to those of OCI and Go.
var architectures = map[string]string{
	"amd64":   "amd64",
	"arm64":   "arm64",
	"ppc64el": "ppc64le",
	"riscv64": "riscv64",
	"s390x":   "s390x",
}

func knownArches() string {
	return strings.Join(slices.Sorted(maps.Keys(architectures)), ", ")
}

// layer is an uncompressed tar with its SHA-256 in hex and its size in bytes.
type layer struct {
	Path, SHA256 string
	Size         int64
}

// writeImage writes an image of one layer as an OCI archive and returns the
// digest of its manifest.
func writeImage(path string, l layer, arch string) (string, error) {
	blob := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: digest.NewDigestFromEncoded(digest.SHA256, l.SHA256), Size: l.Size}
	target := v1.Platform{Architecture: arch, OS: "linux"}
	config, configData, err := encode(v1.MediaTypeImageConfig, v1.Image{
		Created:  &created,
		Platform: target,
		Config: v1.ImageConfig{
			Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Cmd: []string{"/bin/sh"},
		},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{blob.Digest}},
		History: []v1.History{{Created: &created, CreatedBy: "mmdebstrap"}},
	})
	if err != nil {
		return "", err
	}
	manifest, manifestData, err := encode(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: config, Layers: []v1.Descriptor{blob},
	})
	if err != nil {
		return "", err
	}
	manifest.Platform = &target
	_, index, err := encode(v1.MediaTypeImageIndex, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{manifest},
	})
	if err != nil {
		return "", err
	}
	err = writeLayout(path, l, []blobFile{
		{v1.ImageLayoutFile, []byte(`{"imageLayoutVersion":"` + v1.ImageLayoutVersion + `"}`)},
		{v1.ImageIndexFile, index},
		{blobPath(config.Digest), configData},
		{blobPath(manifest.Digest), manifestData},
	}, blobPath(blob.Digest))
	return manifest.Digest.String(), err
}

func encode(mediaType string, value any) (v1.Descriptor, []byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("encoding %s: %w", mediaType, err)
	}
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, data, nil
}

type blobFile struct {
	name string
	data []byte
}

func blobPath(d digest.Digest) string {
	return v1.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// writeLayout writes the tar, on disk when it returns.
func writeLayout(path string, l layer, files []blobFile, layerName string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	archive := tar.NewWriter(out)
	add := func(name string, size int64, content io.Reader) error {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: created, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(archive, content)
		return err
	}
	for _, file := range files {
		if err := add(file.name, int64(len(file.data)), bytes.NewReader(file.data)); err != nil {
			return fmt.Errorf("writing %s: %w", file.name, err)
		}
	}
	in, err := os.Open(l.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := errors.Join(add(layerName, l.Size, in), archive.Close(), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("writing the layer: %w", err)
	}
	return nil
}
