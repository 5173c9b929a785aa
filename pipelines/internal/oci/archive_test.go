package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

func TestReadArchiveWithoutDigests(t *testing.T) {
	good := BytesBlob(ocispec.MediaTypeImageManifest, []byte(`{"config":{"digest":"none"}}`))
	for name, digest := range map[string]string{"the manifest": "none", "a part": good.Digest.String()} {
		t.Run(name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "image.tar"))
			require.NoError(t, err)
			defer file.Close()
			out := tar.NewWriter(file)
			for name, content := range map[string]string{
				ocispec.ImageIndexFile: `{"manifests":[{"mediaType":"` + ocispec.MediaTypeImageManifest + `","digest":"` + digest + `"}]}`,
				blobName(good.Digest):  `{"config":{"digest":"none"}}`,
			} {
				require.NoError(t, out.WriteHeader(&tar.Header{Name: name, Size: int64(len(content))}))
				if _, err := out.Write([]byte(content)); err != nil {
					t.Fatal(err)
				}
			}
			require.NoError(t, out.Close())
			if _, err := file.Seek(0, 0); err != nil {
				t.Fatal(err)
			}
			if _, _, err := ReadArchive(file); err == nil || !strings.Contains(err.Error(), `"none"`) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestArchive(t *testing.T) {
	m, blobs := small(t)
	path := filepath.Join(t.TempDir(), "image.tar")
	// A blob that is given twice is written once.
	require.NoError(t, WriteArchive(t.Context(), path, m, append(blobs, blobs[1])))
	whole, err := os.ReadFile(path)
	if err != nil || bytes.Count(whole, []byte(blobName(blobs[1].Digest))) != 1 {
		t.Fatalf("an archive of %d bytes, %v", len(whole), err)
	}
	read := func(from, to string) error {
		require.NoError(t, os.WriteFile(path, bytes.Replace(whole, []byte(from), []byte(to), 1), 0o644))
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		got, parts, err := ReadArchive(file)
		if err != nil {
			return err
		}
		if got.Digest() != m.Digest() || len(parts) != 2 || parts[1].Digest != blobs[1].Digest {
			t.Errorf("read %s with %v, want %s", got.Digest(), parts, m.Digest())
		}
		return errors.Join(parts[0].Copy(t.Context(), io.Discard), parts[1].Copy(t.Context(), io.Discard))
	}
	if err := read("", ""); err != nil {
		t.Error(err)
	}
	for _, damage := range []struct{ from, to, want string }{
		{`"manifests":[{`, `"manifests":({`, "reading index.json"},
		{`"digest":"sha256:`, `"digest":"sha256.`, "names the digest"},
		{`"config":{`, `"Config":{`, "has a manifest that hashes to"},
		{"kata\nkata", "kata\nKata", "has a blob of 5000 bytes that hashes to"},
	} {
		if err := read(damage.from, damage.to); err == nil || !strings.Contains(err.Error(), damage.want) {
			t.Errorf("%s: error %v, want one with %q", damage.to, err, damage.want)
		}
	}
	err = WriteArchive(t.Context(), path, m, blobs[:1])
	if err == nil {
		whole, err = os.ReadFile(path)
	}
	require.NoError(t, err)
	if err := read("", ""); err == nil || !strings.Contains(err.Error(), "the archive lacks "+blobs[1].Digest.String()) {
		t.Errorf("error %v, want one for the missing layer", err)
	}
}
