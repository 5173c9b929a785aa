package payload

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// part is a file of a layout; digest is zero for one that is not a blob.
type part struct {
	name   string
	size   int64
	digest v1.Hash
	open   func() (io.ReadCloser, error)
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
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".tmp-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	fresh := filepath.Join(temp, "new")
	for _, p := range parts {
		if err := p.writeFile(ctx, filepath.Join(fresh, filepath.FromSlash(p.name))); err != nil {
			return fmt.Errorf("writing the layout %s: %w", dir, err)
		}
	}
	return replace(dir, fresh, filepath.Join(temp, "old"))
}

// replace has a fresh folder take the place of dir, which becomes old. Where that
// fails dir is what it was.
func replace(dir, fresh, old string) error {
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

// replaceable refuses a folder that is not a layout, and one that holds the current
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
	err = p.copy(ctx, out)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// copy writes the content, which must be what the digest says.
func (p part) copy(ctx context.Context, to io.Writer) error {
	content, err := p.open()
	if err != nil {
		return err
	}
	hash := sha256.New()
	if err := copyTo(ctx, io.MultiWriter(to, hash), content); err != nil {
		return err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); p.digest != (v1.Hash{}) && sum != p.digest.Hex {
		return fmt.Errorf("%s hashes to sha256:%s: it was changed meanwhile", p.name, sum)
	}
	return nil
}

// WriteDockerArchive writes the image as one file that `docker load`, podman and
// containerd take, under names such as "kata-deploy:3.28.0", or under none. It is an
// OCI layout too. The file appears complete or not at all.
func (i *Image) WriteDockerArchive(ctx context.Context, file string, names []string) (err error) {
	parts, err := i.parts(names)
	if err != nil {
		return err
	}
	docker, err := i.dockerManifest(names)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	temp, err := files.Create(file, 0o644)
	if err != nil {
		return err
	}
	defer temp.Discard()
	out := tar.NewWriter(temp)
	for _, p := range append(parts, docker) {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: p.name, Mode: 0o644, Size: p.size, ModTime: time.Unix(0, 0)}); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
		if err := p.copy(ctx, out); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return temp.Commit()
}

// parts are the files of the layout.
func (i *Image) parts(names []string) ([]part, error) {
	manifest, err := i.image.RawManifest()
	if err != nil {
		return nil, err
	}
	config, err := i.image.RawConfigFile()
	if err != nil {
		return nil, err
	}
	configDigest, err := i.image.ConfigName()
	if err != nil {
		return nil, err
	}
	index, err := i.layoutIndex(int64(len(manifest)), names)
	if err != nil {
		return nil, err
	}
	parts := []part{
		small(ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`), v1.Hash{}),
		small(ocispec.ImageIndexFile, index, v1.Hash{}),
		small(blobPath(i.digest), manifest, i.digest),
		small(blobPath(configDigest), config, configDigest),
	}
	layers, err := i.image.Layers()
	if err != nil {
		return nil, err
	}
	seen := map[v1.Hash]bool{}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		size, err := l.Size()
		if err != nil {
			return nil, err
		}
		if !seen[digest] {
			parts = append(parts, part{blobPath(digest), size, digest, l.Compressed})
		}
		seen[digest] = true
	}
	return parts, nil
}

func small(name string, content []byte, digest v1.Hash) part {
	return part{name, int64(len(content)), digest, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

func blobPath(digest v1.Hash) string { return path.Join("blobs", digest.Algorithm, digest.Hex) }

// layoutIndex names the image once for each name. Tools look for the tag, containerd
// for the whole name.
func (i *Image) layoutIndex(size int64, names []string) ([]byte, error) {
	mediaType, err := i.image.MediaType()
	if err != nil {
		return nil, err
	}
	descriptor := v1.Descriptor{
		MediaType: mediaType, Digest: i.digest, Size: size,
		Platform: &v1.Platform{OS: "linux", Architecture: i.goarch, Variant: i.variant},
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: ocispec.MediaTypeImageIndex}
	for _, name := range names {
		named := descriptor
		named.Annotations = map[string]string{ocispec.AnnotationRefName: tagOf(name), "io.containerd.image.name": name}
		index.Manifests = append(index.Manifests, named)
	}
	if len(names) == 0 {
		index.Manifests = []v1.Descriptor{descriptor}
	}
	return json.Marshal(index)
}

// tagOf returns the tag of a name, or all of a name that has none.
func tagOf(name string) string {
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[colon+1:]
	}
	return name
}

// dockerImage is an image in the manifest of docker's archives.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerManifest is what makes a layout an archive of docker's own kind.
func (i *Image) dockerManifest(names []string) (part, error) {
	config, err := i.image.ConfigName()
	if err != nil {
		return part{}, err
	}
	image := dockerImage{Config: blobPath(config), RepoTags: names}
	for _, l := range i.layers {
		digest, err := v1.NewHash(l.Digest)
		if err != nil {
			return part{}, err
		}
		image.Layers = append(image.Layers, blobPath(digest))
	}
	content, err := json.Marshal([]dockerImage{image})
	return small("manifest.json", content, v1.Hash{}), err
}
