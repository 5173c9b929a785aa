package nydus

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/nydus/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// pulled checks that containerd pulls an image for guests that pull: the snapshotter
// gets its reference, and no layer reaches the host.
func (r *serving) pulled(ctx context.Context) (string, error) {
	image, volume, err := r.pull(ctx, instances[0])
	if err != nil {
		return "", err
	}
	if asked := image.Asked(); slices.Contains(asked, image.Layer) || !slices.Contains(asked, image.Manifest) {
		return "", fmt.Errorf("the registry was asked for %q: want the manifest, and not the layer %s", asked, image.Layer)
	}
	// containerd keeps the reference to itself; Kata takes it from the container.
	if got := volume.ImagePull.Metadata[layerAnnotation]; volume.Type != volumePull || got != image.Layer.String() {
		return "", fmt.Errorf("the volume is %+v: want the type %s, and %s to be %s", volume, volumePull, layerAnnotation, image.Layer)
	}
	return "its layer was not fetched, and the volume of a container has the annotation " + layerAnnotation, nil
}

// shared checks that containerd pulls an image for guests that share: its layer
// becomes a file with EROFS and the hashes of dm-verity.
func (r *serving) shared(ctx context.Context) (string, error) {
	program, err := r.LookPath(filepath.Base(converter))
	if err != nil {
		return "", report.Missing("no nydus-image on this machine: host sharing converts layers with it")
	}
	link := filepath.Join(r.dir, converter)
	if err := cmp.Or(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(program, link)); err != nil {
		return "", err
	}
	instance := instances[1]
	_, volume, err := r.pull(ctx, instance)
	if err != nil {
		return "", err
	}
	if volume.Type != volumeLayer || volume.Verity.Hash == "" || !strings.HasPrefix(volume.Source, r.data(instance)+"/") {
		return "", fmt.Errorf("the volume is %+v: want the type %s, a hash, and a file below %s", volume, volumeLayer, r.data(instance))
	}
	layer, err := os.ReadFile(volume.Source)
	if err != nil {
		return "", err
	}
	// The superblock is 1 KiB into the file.
	const superblock, magic = 1024, "\xe2\xe1\xf5\xe0"
	if len(layer) < superblock || !bytes.HasPrefix(layer[superblock:], []byte(magic)) {
		return "", fmt.Errorf("%s has no file system EROFS", volume.Source)
	}
	return fmt.Sprintf("the volume of a container is a layer with EROFS, of %d bytes, and dm-verity, root hash %s", len(layer), volume.Verity.Hash), nil
}

// pull has containerd pull an image through an instance, as the kubelet would, and
// returns it and the volume of a container on top of it.
func (r *serving) pull(ctx context.Context, i instance) (*containerd.Image, kataVolume, error) {
	image, err := containerd.ServeImage(ctx, markName, i.name)
	if err != nil {
		return nil, kataVolume{}, err
	}
	defer image.Close()
	if err := r.server.Pull(ctx, i.name, image.Ref); err != nil {
		return nil, kataVolume{}, err
	}
	// The layer is the first, so the digest of its content names the snapshot.
	const container = "container"
	server := r.server.In(containerd.CRI)
	mounts, err := server.Prepare(ctx, i.name, container, image.Diff.String())
	if err != nil {
		return nil, kataVolume{}, err
	}
	volume, err := r.volume(mounts)
	return image, volume, errors.Join(err, server.Remove(ctx, i.name, container))
}

// kataVolume has the fields of a volume that Kata reads.
type kataVolume struct {
	Type      string `json:"volume_type"`
	Source    string `json:"source"`
	ImagePull struct {
		Metadata map[string]string `json:"metadata"`
	} `json:"image_pull"`
	Verity struct {
		Hash string `json:"hash"`
	} `json:"dm_verity"`
}

// The types of volumes: of an image that the guest pulls, and of a layer.
const (
	volumePull  = "image_guest_pull"
	volumeLayer = "layer_raw_block"
)

// layerAnnotation is one that disable_snapshot_annotations controls.
const layerAnnotation = "containerd.io/snapshot/cri.layer-digest"

// volume reads the volume in the mounts that an instance returns for Kata.
func (r *serving) volume(mounts []*types.Mount) (volume kataVolume, err error) {
	kind := "fuse." + filepath.Join(r.dir, overlayfs)
	if len(mounts) != 1 || mounts[0].Type != kind {
		return volume, fmt.Errorf("the mounts are %v: want one of type %s", mounts, kind)
	}
	// The option is JSON in Base64.
	const option = "io.katacontainers.volume="
	at := slices.IndexFunc(mounts[0].Options, func(o string) bool { return strings.HasPrefix(o, option) })
	if at < 0 {
		return volume, fmt.Errorf("the mount has the options %q: want one %s", mounts[0].Options, option)
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(mounts[0].Options[at], option))
	if err != nil {
		return volume, fmt.Errorf("reading the option %s: %w", option, err)
	}
	if err := json.Unmarshal(data, &volume); err != nil {
		return volume, fmt.Errorf("reading the volume %s: %w", data, err)
	}
	return volume, nil
}
