package debian

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// record is what is remembered of a base, in a file next to it.
type record struct {
	// Digest is that of the image's manifest, SHA256 that of the whole file.
	Digest string `json:"digest"`
	SHA256 string `json:"sha256"`
}

func recordPath(path string) string { return path + ".json" }

// keep wraps the layer as an image and puts it and its record in place, the
// record last: without a matching one the base is made again.
func keep(ctx context.Context, path, work string, made layer, arch string) (string, error) {
	image := filepath.Join(work, "image.tar")
	digest, err := writeImage(image, made, arch)
	if err != nil {
		return "", fmt.Errorf("writing the image: %w", err)
	}
	sum, _, err := files.Hash(ctx, image)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(record{Digest: digest, SHA256: sum})
	if err != nil {
		return "", fmt.Errorf("encoding the record of the base: %w", err)
	}
	if err := os.Rename(image, path); err != nil {
		return "", fmt.Errorf("putting the base in place: %w", err)
	}
	if err := files.Write(recordPath(path), data, 0o644); err != nil {
		return "", fmt.Errorf("writing the record of the base: %w", err)
	}
	return digest, nil
}

// intact returns the digest of a base that is as it was made. Its error is
// fs.ErrNotExist where there is none.
func intact(ctx context.Context, path string) (string, error) {
	data, err := files.Read(recordPath(path), 4<<10)
	if err != nil {
		return "", fmt.Errorf("reading the record of the base: %w", err)
	}
	var remembered record
	if err := json.Unmarshal(data, &remembered); err != nil {
		return "", fmt.Errorf("reading %s: %w", recordPath(path), err)
	}
	sum, _, err := files.Hash(ctx, path)
	if err != nil {
		return "", err
	}
	if sum != remembered.SHA256 {
		return "", fmt.Errorf("%s is damaged: its sha256 is %s and was %s", path, sum, remembered.SHA256)
	}
	return remembered.Digest, nil
}
