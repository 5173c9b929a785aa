package payload

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Paths in an image.
const (
	artifacts = "opt/kata-artifacts"
	installer = "usr/bin/kata-deploy"
)

// unpack unpacks the image of an OCI layout into a folder, and returns its digest.
func unpack(layout, dir string) (digest.Digest, error) {
	var index ocispec.Index
	data, err := os.ReadFile(filepath.Join(layout, ocispec.ImageIndexFile))
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		return "", fmt.Errorf("reading the image: %w: write one with payload build", err)
	}
	if len(index.Manifests) == 0 {
		return "", fmt.Errorf("%s has no image: write one with payload build", layout)
	}
	var manifest ocispec.Manifest
	found := index.Manifests[0].Digest
	data, err = os.ReadFile(blob(layout, found))
	if err == nil {
		err = json.Unmarshal(data, &manifest)
	}
	if err != nil {
		return "", fmt.Errorf("reading the manifest of the image: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Whatever the links of the image say, nothing is written outside of it.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	for _, layer := range manifest.Layers {
		if err := unpackLayer(root, blob(layout, layer.Digest)); err != nil {
			return "", fmt.Errorf("unpacking the layer %s: %w", layer.Digest, err)
		}
	}
	return found, nil
}

func blob(layout string, d digest.Digest) string {
	return filepath.Join(layout, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// unpackLayer unpacks a layer: our own are plain, those of a base may be compressed.
func unpackLayer(root *os.Root, file string) error {
	opened, err := os.Open(file)
	if err != nil {
		return err
	}
	defer opened.Close()
	buffered := bufio.NewReader(opened)
	var content io.Reader = buffered
	if magic, err := buffered.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if content, err = gzip.NewReader(buffered); err != nil {
			return err
		}
	}
	for reader := tar.NewReader(content); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = unpackEntry(root, header, reader)
		}
		if err != nil {
			return err
		}
	}
}

func unpackEntry(root *os.Root, header *tar.Header, content io.Reader) error {
	name := path.Clean(header.Name)
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		return root.Symlink(header.Linkname, name)
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, header.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Close())
	default:
		return nil
	}
}
