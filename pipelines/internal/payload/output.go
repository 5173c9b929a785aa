package payload

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// part is a file of a layout.
type part struct {
	name string
	oci.Blob
}

// WriteLayout writes the image as an OCI image layout into the folder dir, under
// names such as "quay.io/kata-containers/kata-deploy:3.28.0", or under none. The
// folder appears complete or not at all; an earlier layout there is replaced, and
// anything else refused.
func (i *Image) WriteLayout(ctx context.Context, dir string, names []string) (err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := replaceable(dir); err != nil {
		return err
	}
	parts, err := i.parts(names)
	if err != nil {
		return err
	}
	temp, err := files.Beside(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp.Name()), temp.Close()) }()
	fresh := filepath.Join(temp.Name(), "new")
	for _, p := range parts {
		if err := p.writeFile(ctx, filepath.Join(fresh, filepath.FromSlash(p.name))); err != nil {
			return fmt.Errorf("writing the layout %s: %s: %w", dir, p.name, err)
		}
	}
	return replace(dir, fresh, filepath.Join(temp.Name(), "old"))
}

// replace puts a fresh folder in the place of dir, whose content is then at fresh or at
// old. If it fails, dir is unchanged.
func replace(dir, fresh, old string) error {
	// Two renames, between which dir is missing, are left for a dir that does not exist
	// and for file systems that cannot exchange folders.
	if exchange(dir, fresh) == nil {
		return nil
	}
	err := os.Rename(dir, old)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err = os.Rename(fresh, dir); err != nil && there {
		return errors.Join(err, os.Rename(old, dir))
	}
	return err
}

// replaceable refuses a folder that is not a layout, and one that contains the current
// folder.
func replaceable(dir string) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	if below, err := filepath.Rel(dir, here); err == nil && filepath.IsLocal(below) {
		return fmt.Errorf("the folder %s is the current one, or contains it: name another", dir)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, ocispec.ImageLayoutFile)); err != nil {
		return fmt.Errorf("the folder %s is not empty and not an OCI layout: name another, or empty it", dir)
	}
	return nil
}

func (p part) writeFile(ctx context.Context, file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = p.Copy(ctx, out)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// WriteDockerArchive writes the image as one file that `docker load`, podman and
// containerd take, under names such as "kata-deploy:3.28.0", or under none. It is an
// OCI layout too. The file appears complete or not at all.
func (i *Image) WriteDockerArchive(ctx context.Context, file string, names []string) (err error) {
	parts, err := i.parts(names)
	if err != nil {
		return err
	}
	docker := dockerImage{Config: blobName(digest.FromBytes(i.raw)), RepoTags: names}
	for _, l := range i.layers {
		docker.Layers = append(docker.Layers, blobName(l.Digest))
	}
	manifest, err := json.Marshal([]dockerImage{docker})
	if err != nil {
		return err
	}
	temp, err := files.Create(file, 0o644)
	if err != nil {
		return err
	}
	defer temp.Discard()
	out := tar.NewWriter(temp)
	for _, p := range append(parts, part{"manifest.json", oci.BytesBlob("", manifest)}) {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: p.name, Mode: 0o644, Size: p.Size, ModTime: time.Unix(0, 0)}); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
		if err := p.Copy(ctx, out); err != nil {
			return fmt.Errorf("writing %s: %s: %w", file, p.name, err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return temp.Commit()
}

// dockerImage is an image in the manifest of docker's archives.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// parts returns the files of the layout.
func (i *Image) parts(names []string) ([]part, error) {
	index, err := json.Marshal(i.layoutIndex(names))
	if err != nil {
		return nil, err
	}
	parts := []part{
		{ocispec.ImageLayoutFile, oci.BytesBlob("", []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`))},
		{ocispec.ImageIndexFile, oci.BytesBlob("", index)},
	}
	blobs := []oci.Blob{oci.BytesBlob("", i.manifest.Data), oci.BytesBlob("", i.raw)}
	for _, l := range i.layers {
		blobs = append(blobs, l.blob())
	}
	for _, b := range blobs {
		name := blobName(b.Digest)
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			parts = append(parts, part{name, b})
		}
	}
	return parts, nil
}

func blobName(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// layoutIndex lists the image once for each name. Tools look for the tag, containerd
// for the whole name.
func (i *Image) layoutIndex(names []string) v1.IndexManifest {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: ocispec.MediaTypeImageIndex}
	for _, name := range names {
		named := i.descriptor()
		named.Annotations = map[string]string{ocispec.AnnotationRefName: tagOf(name), "io.containerd.image.name": name}
		index.Manifests = append(index.Manifests, named)
	}
	if len(names) == 0 {
		index.Manifests = []v1.Descriptor{i.descriptor()}
	}
	return index
}

// tagOf returns the tag of a name, or the whole name if it has none.
func tagOf(name string) string {
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[colon+1:]
	}
	return name
}
