package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	api "github.com/google/go-github/v82/github"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// uploaded is the state of an asset that is whole. An upload that broke off
// leaves one in state "starter", which keeps the name until it is deleted.
const uploaded = "uploaded"

// Asset is a file of a release as GitHub has it.
type Asset struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Digest is "sha256:<hex>", or "" if GitHub has none.
	Digest string `json:"digest"`
	State  string `json:"state"`
}

// Whole reports whether all of the asset was uploaded.
func (a Asset) Whole() bool { return a.State == uploaded }

func (a Asset) path() string { return fmt.Sprintf("/releases/assets/%d", a.ID) }

// Assets lists the assets of a release, including those that are not whole.
func (c *Client) Assets(ctx context.Context, release Release) ([]Asset, error) {
	return pages[Asset](ctx, c, "listing the assets", fmt.Sprintf("/releases/%d/assets", release.ID))
}

// remove deletes an asset, which may already be gone.
func (c *Client) remove(ctx context.Context, asset Asset) error {
	_, err := c.do(ctx, call{doing: "deleting " + asset.Name, method: http.MethodDelete, path: asset.path()}, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// rename gives an asset a name that no other has.
func (c *Client) rename(ctx context.Context, asset Asset, name string) error {
	send := struct {
		Name string `json:"name"`
	}{name}
	// The deletion of the asset that had the name takes a moment.
	taken := func(err error) bool { return isTaken(err, "ReleaseAsset") }
	_, err := retry(ctx, c, taken, func() (*api.Response, error) {
		return c.do(ctx, call{doing: "renaming " + asset.Name + " to " + name, method: http.MethodPatch, path: asset.path(), send: send}, nil)
	})
	return err
}

// Download returns the content of a small asset, checked against its size and, if it
// has one, its digest.
func (c *Client) Download(ctx context.Context, asset Asset) ([]byte, error) {
	var content bytes.Buffer
	digest, err := c.fetch(ctx, asset, &content)
	switch size := int64(content.Len()); {
	case err != nil:
		return nil, err
	case size != asset.Size || asset.Digest != "" && digest != asset.Digest:
		return nil, fmt.Errorf("downloading %s: got %d bytes, %s, want %d, %s", asset.Name, size, digest, asset.Size, asset.Digest)
	}
	return content.Bytes(), nil
}

// Save downloads an asset to a file, and returns its digest.
func (c *Client) Save(ctx context.Context, asset Asset, path string) (digest string, err error) {
	pending, err := files.Create(path, 0o644)
	if err != nil {
		return "", err
	}
	defer pending.Discard()
	if digest, err = c.fetch(ctx, asset, rewound{pending.File}); err != nil {
		return "", err
	}
	return digest, pending.CommitUnsynced()
}

// sink is where a download goes; Reset starts it over.
type sink interface {
	io.Writer
	Reset()
}

// rewound is a file as a sink.
type rewound struct{ *os.File }

func (r rewound) Reset() {
	// What a failure leaves in the file does not have the digest.
	_ = r.Truncate(0)
	_, _ = r.Seek(0, io.SeekStart)
}

// fetch downloads an asset into a sink, which may be nil, and returns the digest.
func (c *Client) fetch(ctx context.Context, asset Asset, to sink) (digest string, err error) {
	broken := func(err error) bool { return errors.As(err, new(brokenOff)) }
	return retry(ctx, c, broken, func() (string, error) { return c.download(ctx, asset, to) })
}

// brokenOff is the error of a download that ended early.
type brokenOff struct{ error }

func (b brokenOff) Unwrap() error { return b.error }

func (c *Client) download(ctx context.Context, asset Asset, to sink) (digest string, err error) {
	doing := "downloading " + asset.Name
	request, err := c.api.NewRequest(http.MethodGet, "repos/"+c.options.Repository+asset.path(), nil, c.authorize)
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	// GitHub redirects to its storage, which does not get the token.
	request.Header.Set("Accept", "application/octet-stream")
	response, err := c.api.BareDo(ctx, request)
	if err != nil {
		return "", c.failed(ctx, doing, response, err)
	}
	defer response.Body.Close()
	from := io.LimitReader(response.Body, asset.Size+1)
	if to != nil {
		to.Reset()
		from = io.TeeReader(from, to)
	}
	sum, _, err := files.HashReader(ctx, from)
	if err != nil {
		return "", brokenOff{c.failed(ctx, doing, nil, err)}
	}
	return "sha256:" + sum, nil
}

// same reports whether an asset has the content of a file. If GitHub has no digest and
// the size is right, it downloads the asset to find out. An asset that is gone is not
// the same.
func (c *Client) same(ctx context.Context, asset Asset, file File) (bool, error) {
	if !asset.Whole() || asset.Size != file.Size {
		return false, nil
	}
	if asset.Digest != "" {
		return asset.Digest == file.Digest, nil
	}
	c.note("GitHub has no digest of %s: downloading it to compare", asset.Name)
	digest, err := c.fetch(ctx, asset, nil)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && digest == file.Digest, err
}
