package payload

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive/foreign"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// Paths in an image.
const (
	artifacts = "opt/kata-artifacts"
	installer = "usr/bin/kata-deploy"
)

// image unpacks the image and says what is in it.
func (p Payload) image(dir string) (string, error) {
	digest, err := unpack(p.Layout, dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, installer)); err != nil {
		return "", fmt.Errorf("the image has no /%s: build it with one, without --installer none", installer)
	}
	shims, err := components(dir, p.Arch)
	if err != nil {
		return "", err
	}
	for _, shim := range []string{plainShim, guestShim} {
		if len(shims[shim]) == 0 {
			return "", report.Missing(fmt.Sprintf("the image has no shim %s for %s, only %s", shim, p.Arch, strings.Join(slices.Sorted(maps.Keys(shims)), ", ")))
		}
	}
	return fmt.Sprintf("%s, with %s, %s and %s", digest, installer, plainShim, guestShim), nil
}

// components returns the components of each shim in an unpacked image, for an architecture.
func components(image, arch string) (map[string][]string, error) {
	var file struct {
		Shims map[string]map[string][]string
	}
	err := read(filepath.Join(image, artifacts, chart.ShimsFile), &file)
	shims := map[string][]string{}
	for name, needs := range file.Shims {
		if len(needs[arch]) > 0 {
			shims[name] = needs[arch]
		}
	}
	return shims, err
}

// read reads a file of JSON.
func read(path string, into any) error {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", filepath.Base(path), err)
	}
	return nil
}

// unpack unpacks the image of an OCI layout into a folder, and returns its digest.
func unpack(layout, dir string) (digest.Digest, error) {
	var index ocispec.Index
	err := read(filepath.Join(layout, ocispec.ImageIndexFile), &index)
	if err == nil && len(index.Manifests) == 0 {
		err = fmt.Errorf("%s has no image", layout)
	}
	if err != nil {
		return "", fmt.Errorf("%w: write one with payload build", err)
	}
	var manifest ocispec.Manifest
	if err := errors.Join(read(blob(layout, index.Manifests[0].Digest), &manifest), os.MkdirAll(dir, 0o755)); err != nil {
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
	return index.Manifests[0].Digest, nil
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
	content, closer, err := foreign.Decompress(bufio.NewReader(opened))
	if err != nil {
		return err
	}
	defer closer()
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
	}
	return nil
}

// Paths on the node of the image, and of others made of it.
const (
	imagePath   = "/srv/payload"
	upgradePath = "/srv/upgrade"
	foreignPath = "/srv/foreign"
	brokenPath  = "/srv/broken"
)

// otherImages makes images of links to the files of the image: one whose shims lack a
// component, as another version's may, one without a shim for this architecture, and one with
// that component truncated. It returns the folders of all by their paths on the node.
func (r *run) otherImages(ctx context.Context) (map[string]string, error) {
	shims, err := components(r.image, r.Arch)
	if err != nil {
		return nil, err
	}
	needs := shims[plainShim]
	r.component = needs[len(needs)-1]
	images := map[string]string{imagePath: r.image}
	for _, other := range []struct{ at, file, from, to string }{
		{upgradePath, chart.ShimsFile, `"` + r.component + `"`, `"` + needs[0] + `"`},
		{foreignPath, chart.ShimsFile, r.Arch, "riscv64"},
		{brokenPath, "tarballs/kata-static-" + r.component + ".tar.zst", "", ""},
	} {
		images[other.at] = filepath.Join(r.dir, path.Base(other.at))
		if _, err := host.Output(command.New(ctx, "cp", "-al", r.image, images[other.at])); err != nil {
			return nil, err
		}
		file := filepath.Join(images[other.at], artifacts, other.file)
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.Remove(file) // It is a link to the image's.
		}
		changed := data[:len(data)/2]
		if other.from != "" {
			changed = bytes.ReplaceAll(data, []byte(other.from), []byte(other.to))
		}
		if err := errors.Join(err, os.WriteFile(file, changed, 0o644)); err != nil {
			return nil, err
		}
	}
	return images, nil
}
