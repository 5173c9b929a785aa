package store

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
)

func indexPath(l *oci.Layout) string { return filepath.Join(l.Root, ocispec.ImageIndexFile) }

func partialPath(l *oci.Layout) string { return filepath.Join(l.Root, "partial") }

func mustIndex(t testing.TB, l *oci.Layout) ocispec.Index {
	t.Helper()
	data, err := os.ReadFile(indexPath(l))
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	return index
}

// entryAt returns the entry of a tag.
func entryAt(t testing.TB, l *oci.Layout, tag string) ocispec.Descriptor {
	t.Helper()
	for _, d := range mustIndex(t, l).Manifests {
		if d.Annotations[ocispec.AnnotationRefName] == tag {
			return d
		}
	}
	t.Fatalf("no entry %s", tag)
	return ocispec.Descriptor{}
}

// setEntry puts any manifest under a tag.
func setEntry(t testing.TB, l *oci.Layout, tag string, d ocispec.Descriptor) {
	t.Helper()
	index := mustIndex(t, l)
	d.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	entries := []ocispec.Descriptor{d}
	for _, other := range index.Manifests {
		if other.Annotations[ocispec.AnnotationRefName] != tag {
			entries = append(entries, other)
		}
	}
	index.Manifests = entries
	data, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(indexPath(l), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// tarballOf returns a tarball of that size, with noise that zstd does not compress.
func tarballOf(number, size int) []byte {
	const block, head, trailer, blockHead = 128 << 10, 9, 8, 3
	content := (size-head-trailer-blockHead*(size/block+1))/512*512 - 3*512
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	// Writing to memory does not fail.
	_ = w.WriteHeader(&tar.Header{Name: "./opt/kata/noise", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(content)})
	_, _ = w.Write(noise(number, content))
	_ = w.Close()
	data := binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0}, uint32(plain.Len()))
	for plain.Len() > 0 {
		piece := plain.Next(block)
		begin := uint32(len(piece)) << 3
		if plain.Len() == 0 {
			begin |= 1
		}
		data = append(data, byte(begin), byte(begin>>8), byte(begin>>16))
		data = append(data, piece...)
	}
	// A skippable frame is the padding.
	fill := size - len(data) - trailer
	data = binary.LittleEndian.AppendUint32(append(data, 0x50, 0x2a, 0x4d, 0x18), uint32(fill))
	return append(data, make([]byte, fill)...)
}

// counter counts all bytes on the connections of its transport, headers included.
type counter struct {
	// Connections opened, and bytes read from them.
	Connections, Read atomic.Int64
}

// Transport returns a transport whose connections are counted.
func (c *counter) Transport() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c.Connections.Add(1)
		return &counted{conn, c}, nil
	}}
}

// counted is a connection that is counted.
type counted struct {
	net.Conn
	counter *counter
}

// Read reads from the connection and counts the bytes.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.counter.Read.Add(int64(n))
	return n, err
}

// scratch returns an empty store for tarballs that are examined.
func scratch(t testing.TB) *Local {
	s, _ := open(t)
	return s
}

// verified hashes and vets everything that an entry of a registry names.
func verified(t testing.TB, r *Registry, e entry) error {
	t.Helper()
	return r.verify(t.Context(), e, scratch(t))
}
