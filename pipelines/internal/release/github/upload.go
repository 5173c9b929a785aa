package github

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// MaxSize is the size in bytes that an asset must stay under.
const MaxSize = 2 << 30

// File is a file on disk that is to be an asset.
type File struct {
	// Name is the asset's: letters, digits, dots, hyphens and underscores, since
	// GitHub replaces others.
	Name, Path string
	// Size is in bytes, Digest "sha256:<hex>".
	Size   int64
	Digest string
}

var assetName = regexp.MustCompile(`^[A-Za-z0-9_-](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?$`)

// Check refuses what GitHub does not take, before anything is sent.
func (f File) Check() error {
	switch {
	case !assetName.MatchString(f.Name):
		return fmt.Errorf("%q cannot be the name of an asset: GitHub keeps letters, digits, inner dots, - and _ alone", f.Name)
	case f.Size <= 0:
		return fmt.Errorf("%s is empty: GitHub takes no empty asset", f.Name)
	case f.Size >= MaxSize:
		return fmt.Errorf("%s has %d bytes: an asset must have fewer than %d", f.Name, f.Size, int64(MaxSize))
	}
	return nil
}

// errDamaged is the error of an asset that is not what was sent.
var errDamaged = errors.New("what GitHub has is not what was sent")

// upload brings a file to a release that has none of its name. GitHub's answer
// is not trusted: an upload that it calls a failure may be whole, and one that
// broke off leaves a part that keeps the name.
func (c *Client) upload(ctx context.Context, release Release, file File) (err error) {
	bytes, end := func(int64, int64) {}, func(error, string) {}
	if c.options.Bytes != nil {
		bytes, end = c.options.Bytes(file.Name)
	}
	defer func() { end(err, progress.Size(file.Size)) }()
	patience := patience{Client: c}
	for {
		err := c.send(ctx, release, file, bytes)
		if err == nil || ctx.Err() != nil {
			return err
		}
		whole, clearErr := c.clear(ctx, release, file)
		switch {
		case clearErr != nil:
			return errors.Join(err, clearErr)
		case whole:
			return nil
		}
		if err := patience.again(ctx, err, isTransient(err) || isTaken(err, "ReleaseAsset") || errors.Is(err, errDamaged)); err != nil {
			return err
		}
	}
}

// clear tells whether a release has a file after all, and deletes what else has
// its name.
func (c *Client) clear(ctx context.Context, release Release, file File) (whole bool, err error) {
	there, exists, err := c.asset(ctx, release, file.Name)
	if err != nil || !exists {
		return false, err
	}
	if whole, err = c.same(ctx, there, file); whole || err != nil {
		return whole, err
	}
	c.note("deleting what an upload of %s left", file.Name)
	return false, c.remove(ctx, there)
}

// send sends a file once.
func (c *Client) send(ctx context.Context, release Release, file File, bytes func(done, total int64)) error {
	doing := "uploading " + file.Name
	address, err := c.uploadAddress(release, file.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	content, err := os.Open(file.Path)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer content.Close()
	ctx, watch := watched(ctx, c.pace.stall)
	defer watch.end()
	hash := sha256.New()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, watch.reader(io.TeeReader(io.LimitReader(content, file.Size), io.MultiWriter(hash, &counter{total: file.Size, bytes: bytes}))))
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	request.ContentLength = file.Size
	request.Header.Set("Content-Type", contentType(file.Name))
	var asset Asset
	if _, err := c.exchange(request, doing, &asset); err != nil {
		return err
	}
	sent := "sha256:" + hex.EncodeToString(hash.Sum(nil))
	switch {
	case asset.Name != file.Name:
		return errors.Join(fmt.Errorf("%s: GitHub calls it %q: choose a name that it keeps", doing, asset.Name), c.remove(ctx, asset))
	case sent != file.Digest:
		return fmt.Errorf("%s: %s changed meanwhile from %s to %s: run it again", doing, file.Path, file.Digest, sent)
	case !asset.Whole(), asset.Size != file.Size, asset.Digest != "" && asset.Digest != file.Digest:
		return fmt.Errorf("%s: %w: %d bytes, %s, in state %q, want %d bytes, %s", doing, errDamaged, asset.Size, asset.Digest, asset.State, file.Size, file.Digest)
	}
	return nil
}

// uploadAddress returns the address that takes an asset. The token goes to the
// host of the API alone, and to that of uploads beside it.
func (c *Client) uploadAddress(release Release, name string) (string, error) {
	template, _, _ := strings.Cut(release.UploadURL, "{")
	address, err := url.Parse(template)
	if err != nil || address.Host == "" {
		return "", errors.New("GitHub's address for uploads is not one")
	}
	if address.Scheme != c.api.Scheme || address.Host != c.api.Host && address.Host != "uploads."+strings.TrimPrefix(c.api.Host, "api.") {
		return "", fmt.Errorf("GitHub's address for uploads is on %s, which does not belong to the API at %s", address.Host, c.api.Host)
	}
	address.RawQuery = url.Values{"name": {name}}.Encode()
	return address.String(), nil
}

func contentType(name string) string {
	switch {
	case strings.HasSuffix(name, ".zst"):
		return "application/zstd"
	case strings.HasSuffix(name, ".json"):
		return "application/json"
	case strings.HasSuffix(name, ".yaml"), strings.HasSuffix(name, "SUMS"):
		return "text/plain"
	}
	return "application/octet-stream"
}

// counter tells how much was written to it.
type counter struct {
	done, total int64
	bytes       func(done, total int64)
}

// Write counts.
func (c *counter) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	c.bytes(c.done, c.total)
	return len(p), nil
}
