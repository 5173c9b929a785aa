package containerd

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image of one layer, in a registry on loopback that has nothing else.
type Image struct {
	// Ref is its reference, by digest.
	Ref string
	// Manifest and Layer are the digests of its manifest and its layer, and Diff
	// that of the layer before compression.
	Manifest, Layer, Diff digest.Digest
	blobs                 map[digest.Digest][]byte
	server                *http.Server

	mutex sync.Mutex
	// asked are the requested digests.
	asked []digest.Digest
}

// ServeImage makes an image for this machine, of a layer with one file, and serves it
// from a registry until Close is called.
func ServeImage(ctx context.Context, name, content string) (*Image, error) {
	i := &Image{blobs: map[digest.Digest][]byte{}}
	var packed bytes.Buffer
	plain, z := digest.Canonical.Digester(), gzip.NewWriter(&packed)
	w := tar.NewWriter(io.MultiWriter(z, plain.Hash()))
	header := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
	_, written := io.WriteString(w, content)
	if err := cmp.Or(header, written, w.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("packing a layer: %w", err)
	}
	i.Diff = plain.Digest()
	layer := i.add(ocispec.MediaTypeImageLayerGzip, packed.Bytes())
	image, err := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{Architecture: goruntime.GOARCH, OS: "linux"},
		Config:   ocispec.ImageConfig{Entrypoint: []string{"/" + name}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{i.Diff}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: i.add(ocispec.MediaTypeImageConfig, image), Layers: []ocispec.Descriptor{layer},
	})
	if err != nil {
		return nil, err
	}
	i.Layer, i.Manifest = layer.Digest, i.add(ocispec.MediaTypeImageManifest, manifest).Digest
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serving an image: %w", err)
	}
	i.Ref = fmt.Sprintf("%s/image@%s", listener.Addr(), i.Manifest)
	i.server = &http.Server{Handler: i, ReadHeaderTimeout: time.Minute}
	go func() { _ = i.server.Serve(listener) }() // It ends with an error when it is closed.
	return i, nil
}

// Close stops the registry.
func (i *Image) Close() error { return i.server.Close() }

// add adds a blob.
func (i *Image) add(mediaType string, data []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	i.blobs[d.Digest] = data
	return d
}

// ServeHTTP answers the requests of a pull: /v2/, and /v2/NAME/manifests/DIGEST or
// /v2/NAME/blobs/DIGEST.
func (i *Image) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.URL.Path == "/v2/" {
		return
	}
	asked := digest.Digest(path.Base(request.URL.Path))
	i.mutex.Lock()
	i.asked = append(i.asked, asked)
	i.mutex.Unlock()
	data, known := i.blobs[asked]
	if !known {
		http.NotFound(w, request)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if asked == i.Manifest {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	}
	w.Header().Set("Docker-Content-Digest", asked.String())
	http.ServeContent(w, request, "", time.Time{}, bytes.NewReader(data))
}

// Asked returns the digests that clients requested, in order.
func (i *Image) Asked() []digest.Digest {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return slices.Clone(i.asked)
}
