package nydus

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// pulled checks that containerd pulls an image for guests that pull: the snapshotter
// gets its reference, and no layer reaches the host.
func (r *run) pulled(ctx context.Context) string {
	image, volume := r.pull(ctx, instances[0])
	asked := image.Asked()
	report.Want(!slices.Contains(asked, image.Layer) && slices.Contains(asked, image.Manifest),
		"the registry was asked for %q: want the manifest, and not the layer %s", asked, image.Layer)
	// containerd keeps the reference to itself; Kata takes it from the container.
	report.Want(volume.Type == volumePull && volume.ImagePull.Metadata[layerAnnotation] == image.Layer.String(),
		"the volume is %+v: want the type %s, and %s to be %s", volume, volumePull, layerAnnotation, image.Layer)
	return "its layer was not fetched, and the volume of a container has the annotation " + layerAnnotation
}

// shared checks that containerd pulls an image for guests that share: its layer
// becomes a file with EROFS and the hashes of dm-verity.
func (r *run) shared(ctx context.Context) string {
	program, err := r.LookPath(filepath.Base(converter))
	if err != nil {
		report.Must(report.Missing("no nydus-image on this machine: host sharing converts layers with it"))
	}
	link, data := filepath.Join(r.dir, converter), r.data(instances[1])+"/"
	report.Must(os.MkdirAll(filepath.Dir(link), 0o755))
	report.Must(os.Symlink(program, link))
	_, volume := r.pull(ctx, instances[1])
	report.Want(volume.Type == volumeLayer && volume.Verity.Hash != "" && strings.HasPrefix(volume.Source, data),
		"the volume is %+v: want the type %s, a hash, and a file below %s", volume, volumeLayer, data)
	layer := report.Try(os.ReadFile(volume.Source))
	// The superblock is 1 KiB into the file.
	const superblock, magic = 1024, "\xe2\xe1\xf5\xe0"
	report.Want(len(layer) >= superblock && bytes.HasPrefix(layer[superblock:], []byte(magic)), "%s has no file system EROFS", volume.Source)
	return fmt.Sprintf("the volume of a container is a layer with EROFS, of %d bytes, and dm-verity, root hash %s", len(layer), volume.Verity.Hash)
}

// pull has containerd pull an image through an instance, as the kubelet would, and
// returns it and the volume of a container on top of it.
func (r *run) pull(ctx context.Context, i instance) (*containerd.Image, kataVolume) {
	image := report.Try(containerd.ServeImage(ctx, markName, i.name))
	defer image.Close()
	report.Must(r.server.Pull(ctx, i.name, image.Ref))
	// The layer is the first, so the digest of its content names the snapshot.
	const container = "container"
	server := r.server.In(containerd.CRI)
	volume := r.volume(report.Try(server.Prepare(ctx, i.name, container, image.Diff.String())))
	report.Must(server.Remove(ctx, i.name, container))
	return image, volume
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

// layerAnnotation is an annotation that disable_snapshot_annotations controls.
const layerAnnotation = "containerd.io/snapshot/cri.layer-digest"

// volume decodes the volume in the mounts that an instance returns for Kata.
func (r *run) volume(mounts []*types.Mount) (volume kataVolume) {
	kind := "fuse." + filepath.Join(r.dir, overlayfs)
	report.Want(len(mounts) == 1 && mounts[0].Type == kind, "the mounts are %v: want one of type %s", mounts, kind)
	// The option is JSON in Base64.
	const option = "io.katacontainers.volume="
	at := slices.IndexFunc(mounts[0].Options, func(o string) bool { return strings.HasPrefix(o, option) })
	report.Want(at >= 0, "the mount has the options %q: want one %s", mounts[0].Options, option)
	data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(mounts[0].Options[at], option))
	report.Want(err == nil, "reading the option %s: %w", option, err)
	err = json.Unmarshal(data, &volume)
	report.Want(err == nil, "reading the volume %s: %w", data, err)
	return volume
}
