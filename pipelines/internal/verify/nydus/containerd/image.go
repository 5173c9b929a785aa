package containerd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	goruntime "runtime"
	"slices"
	"sync"
)

// Image is an image of one layer, and a registry that has it.
type Image struct {
	// Ref is its reference in the registry, once it is served.
	Ref string
	// Manifest and Layer are the digests of its manifest and its layer, and Diff
	// that of the layer before compression.
	Manifest, Layer, Diff string
	blobs                 map[string][]byte

	mutex sync.Mutex
	// asked are the requested digests.
	asked []string
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// NewImage makes an image for this machine, of a layer with one file.
func NewImage(name, content string) (*Image, error) {
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	header := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
	_, written := w.Write([]byte(content))
	if err := errors.Join(header, written, w.Close()); err != nil {
		return nil, err
	}
	z := gzip.NewWriter(&packed)
	_, written = z.Write(plain.Bytes())
	if err := errors.Join(written, z.Close()); err != nil {
		return nil, err
	}
	i := &Image{Diff: digestOf(plain.Bytes()), Layer: digestOf(packed.Bytes()), blobs: map[string][]byte{}}
	config := fmt.Sprintf(`{"architecture":%q,"os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%q]}}`, goruntime.GOARCH, i.Diff)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		manifestType, configType, digestOf([]byte(config)), len(config), layerType, i.Layer, packed.Len())
	i.Manifest = digestOf([]byte(manifest))
	for _, blob := range [][]byte{packed.Bytes(), []byte(config), []byte(manifest)} {
		i.blobs[digestOf(blob)] = blob
	}
	return i, nil
}

// ServeHTTP answers the requests of a pull: /v2/, and /v2/NAME/manifests or
// blobs/REFERENCE.
func (i *Image) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	digest := path.Base(request.URL.Path)
	kind := path.Base(path.Dir(request.URL.Path))
	if kind == "manifests" && digest == imageTag {
		digest = i.Manifest
	}
	i.mutex.Lock()
	i.asked = append(i.asked, digest)
	i.mutex.Unlock()
	data, known := i.blobs[digest]
	switch {
	case request.URL.Path == "/v2/":
		return
	case !known:
		http.NotFound(w, request)
		return
	case kind == "manifests":
		w.Header().Set("Content-Type", manifestType)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if request.Method == http.MethodGet {
		// A client that goes away is not an error of the registry.
		_, _ = w.Write(data)
	}
}

// Asked returns the digests that clients requested, in order.
func (i *Image) Asked() []string {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return slices.Clone(i.asked)
}

const imageTag = "one"

// Serve has the image in a registry on loopback until stop is called.
func (i *Image) Serve(ctx context.Context) (stop func() error, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i.Ref = listener.Addr().String() + "/image:" + imageTag
	server := &http.Server{Handler: i}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	return func() error {
		err := server.Close()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}
