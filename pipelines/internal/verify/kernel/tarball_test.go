package kernel

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// plainZstd wraps data into a zstd frame of raw blocks: RFC 8878.
func plainZstd(data []byte) []byte {
	const maxBlock = 64 << 10
	const singleSegmentWith4ByteSize = 0xa0
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, singleSegmentWith4ByteSize}
	out = binary.LittleEndian.AppendUint32(out, uint32(len(data)))
	for {
		n := min(len(data), maxBlock)
		header := uint32(n) << 3
		if n == len(data) {
			header |= 1
		}
		out = append(append(out, byte(header), byte(header>>8), byte(header>>16)), data[:n]...)
		if data = data[n:]; len(data) == 0 {
			return out
		}
	}
}

// A tarball that another program packed may hold anything.
func TestForeignTarballs(t *testing.T) {
	name := "./" + share + "vmlinuz-" + version
	for title, test := range map[string]struct {
		headers []tar.Header
		want    string
	}{
		"member twice": {[]tar.Header{{Name: name, Size: 1}, {Name: name, Size: 1}}, "duplicate member"},
		"huge member":  {[]tar.Header{{Name: name, Size: 5 << 30}}, "want 4294967296 at most"},
		"path outside": {[]tar.Header{{Name: "./../../etc/passwd", Size: 1}}, "stays inside"},
		"device":       {[]tar.Header{{Name: "./dev/x", Typeflag: tar.TypeChar}}, "tar type"},
	} {
		t.Run(title, func(t *testing.T) {
			var stream bytes.Buffer
			w := tar.NewWriter(&stream)
			for _, h := range test.headers {
				h.Mode = 0o644
				require.NoError(t, w.WriteHeader(&h))
				if _, err := w.Write(make([]byte, min(h.Size, 1))); err != nil && h.Size > 0 {
					t.Fatal(err)
				}
			}
			// The stream ends in the middle of a huge member; its header is enough.
			stream.Write(make([]byte, 4096))
			path := filepath.Join(t.TempDir(), "foreign.tar.zst")
			require.NoError(t, os.WriteFile(path, plainZstd(stream.Bytes()), 0o644))
			r, err := verify.Run(t.Context(), debugKernel(t), verify.Artifact{Tarball: path}, verifytest.NoBoot)
			if err != nil || r.Err() == nil || !strings.Contains(verifytest.Find(t, r, "whole").Saw, test.want) {
				t.Errorf("got %v and %+v, want %q", err, r, test.want)
			}
		})
	}
}
