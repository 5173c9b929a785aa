package debian

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

// Bootstrapper makes builder bases with mmdebstrap.
type Bootstrapper struct {
	// Dir keeps the bases that were made.
	Dir string
	// Mirror is the address of a Debian archive; "" is the machine's own, or
	// else mmdebstrap's default.
	Mirror string
}

// Base returns the path of a minimal Debian system as an OCI archive (an image
// layout in a tar) with one layer, and the digest of its manifest. It is made
// once for a suite, an architecture and an epoch; processes that share Dir take
// turns, and a damaged base is made again. Log gets the output of mmdebstrap.
func (b *Bootstrapper) Base(ctx context.Context, suite string, arch catalog.Arch, epoch int, log io.Writer) (path, digest string, err error) {
	if !packageName.MatchString(suite) {
		return "", "", fmt.Errorf("%q is not the name of a Debian suite; correct the builder", suite)
	}
	path = filepath.Join(b.Dir, BaseName(suite, arch, epoch))
	unlock, err := files.Lock(ctx, path+".lock", files.Waiting{})
	if err != nil {
		return "", "", err
	}
	defer unlock()
	digest, err = intact(ctx, path)
	if err == nil {
		files.Touch(path)
		return path, digest, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(log, "making the builder base again: %v\n", err)
	}
	if digest, err = b.replace(ctx, path, suite, arch, log); err != nil {
		return "", "", fmt.Errorf("bootstrapping the builder base %s %s: %w", suite, arch.Debian(), err)
	}
	return path, digest, nil
}

// BaseName is the name of the file of a base.
func BaseName(suite string, arch catalog.Arch, epoch int) string {
	return fmt.Sprintf("base-%s-%s-%d.tar", suite, arch.Debian(), epoch)
}

// replace makes a base and puts it at path; the caller has its lock.
func (b *Bootstrapper) replace(ctx context.Context, path, suite string, arch catalog.Arch, log io.Writer) (digest string, err error) {
	args, err := b.arguments(ctx, suite, arch.Debian())
	if err != nil {
		return "", err
	}
	// A killed process may have left it. No other process uses it while the lock is held.
	work := path + ".work"
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o755)); err != nil {
		return "", fmt.Errorf("making a work folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	layer, image := filepath.Join(work, "layer.tar"), filepath.Join(work, "image.tar")
	if err := mmdebstrap(ctx, layer, args, log); err != nil {
		return "", err
	}
	if digest, err = wrap(ctx, image, layer, arch.GoArch()); err != nil {
		return "", err
	}
	if err := os.Rename(image, path); err != nil {
		return "", fmt.Errorf("putting the base in place: %w", err)
	}
	return digest, nil
}

// arguments returns the arguments with which mmdebstrap writes a base to its output.
func (b *Bootstrapper) arguments(ctx context.Context, suite, debArch string) ([]string, error) {
	mirror := b.Mirror
	if mirror == "" {
		var err error
		if mirror, err = Mirror(ctx); err != nil {
			return nil, err
		}
	}
	// The names of this machine and of its resolvers do not belong in a base.
	args := []string{"--variant=minbase", "--architectures=" + debArch, "--format=tar",
		`--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"`}
	if strings.HasPrefix(mirror, "https:") {
		args = append(args, "--include=ca-certificates")
	}
	args = append(args, suite, "-")
	if mirror != "" {
		args = append(args, mirror)
	}
	return args, nil
}

func mmdebstrap(ctx context.Context, path string, args []string, log io.Writer) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("creating the layer: %w", err)
	}
	defer file.Close()
	var printed bytes.Buffer
	cmd := command.New(ctx, "mmdebstrap", args...)
	cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", created.Unix()))
	cmd.Stdout, cmd.Stderr = file, io.MultiWriter(log, &printed)
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w; apt-get install mmdebstrap", err)
	case err != nil:
		return command.Failure(ctx, cmd, err, printed.String())
	}
	return file.Close()
}

// created is the time stamp of an image and of its files. A constant, so that
// the same packages make the same image.
var created = time.Unix(1772323200, 0).UTC() // 2026-03-01

// wrap writes a layer, an uncompressed tar, as an image of an architecture to path
// and returns the digest of its manifest.
func wrap(ctx context.Context, path, layer, arch string) (string, error) {
	blob, err := oci.Describe(ctx, v1.MediaTypeImageLayer, layer)
	if err != nil {
		return "", fmt.Errorf("reading the layer: %w", err)
	}
	data, err := json.Marshal(v1.Image{
		Created:  &created,
		Platform: v1.Platform{Architecture: arch, OS: "linux"},
		Config: v1.ImageConfig{
			Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Cmd: []string{"/bin/sh"},
		},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{blob.Digest}},
		History: []v1.History{{Created: &created, CreatedBy: "mmdebstrap"}},
	})
	if err != nil {
		return "", fmt.Errorf("encoding the configuration of the image: %w", err)
	}
	config := oci.BytesBlob(v1.MediaTypeImageConfig, data)
	m, err := oci.NewManifest(v1.Manifest{Config: config.Descriptor, Layers: []v1.Descriptor{blob}})
	if err != nil {
		return "", err
	}
	if err := oci.WriteArchive(ctx, path, m, []oci.Blob{config, {Descriptor: blob, Content: oci.File(layer)}}); err != nil {
		return "", fmt.Errorf("writing the image: %w", err)
	}
	return m.Digest().String(), nil
}

// intact verifies a base and returns its digest. Its error is fs.ErrNotExist if
// there is none.
func intact(ctx context.Context, path string) (string, error) {
	file, err := files.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	m, blobs, err := oci.ReadArchive(file)
	for _, b := range blobs {
		if err == nil {
			err = b.Copy(ctx, io.Discard)
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return m.Digest().String(), nil
}
