package oci

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestReadArchiveWithoutDigests(t *testing.T) {
	good := BytesBlob(ocispec.MediaTypeImageManifest, []byte(`{"config":{"digest":"none"}}`))
	for name, digest := range map[string]string{"the manifest": "none", "a part": good.Digest.String()} {
		t.Run(name, func(t *testing.T) {
			file, err := os.Create(filepath.Join(t.TempDir(), "image.tar"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			out := tar.NewWriter(file)
			for name, content := range map[string]string{
				ocispec.ImageIndexFile: `{"manifests":[{"mediaType":"` + ocispec.MediaTypeImageManifest + `","digest":"` + digest + `"}]}`,
				blobName(good.Digest):  `{"config":{"digest":"none"}}`,
			} {
				if err := out.WriteHeader(archiveHeader(name, int64(len(content)))); err != nil {
					t.Fatal(err)
				}
				if _, err := out.Write([]byte(content)); err != nil {
					t.Fatal(err)
				}
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := file.Seek(0, 0); err != nil {
				t.Fatal(err)
			}
			if _, _, err := ReadArchive(file); err == nil || !strings.Contains(err.Error(), `the digest "none"`) {
				t.Errorf("error %v", err)
			}
		})
	}
}
