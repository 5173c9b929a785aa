package github

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// uploaded is the state of an asset that is whole. An upload that broke off
// leaves one in another, "starter", which takes its name and has to be deleted.
const uploaded = "uploaded"

// Asset is a file of a release as GitHub has it.
type Asset struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Digest is "sha256:<hex>", or "" where GitHub does not say.
	Digest string `json:"digest"`
	State  string `json:"state"`
}

// Whole tells whether all of the asset was uploaded.
func (a Asset) Whole() bool { return a.State == uploaded }

// Assets lists the assets of a release, those too that are not whole.
func (c *Client) Assets(ctx context.Context, release Release) ([]Asset, error) {
	var assets []Asset
	err := pages(ctx, c, "listing the assets", c.at("releases", id(release.ID), "assets"), func(page []Asset) bool {
		assets = append(assets, page...)
		return true
	})
	return assets, err
}

// asset returns the asset of a name, and whether there is one.
func (c *Client) asset(ctx context.Context, release Release, name string) (Asset, bool, error) {
	assets, err := c.Assets(ctx, release)
	for _, asset := range assets {
		if asset.Name == name {
			return asset, true, err
		}
	}
	return Asset{}, false, err
}

// remove deletes an asset; one that is gone is no error.
func (c *Client) remove(ctx context.Context, asset Asset) error {
	_, err := c.do(ctx, call{doing: "deleting " + asset.Name, method: http.MethodDelete, url: c.at("releases", "assets", id(asset.ID))}, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Download returns the content of an asset, a small one, checked against its size and,
// where there is one, its digest.
func (c *Client) Download(ctx context.Context, asset Asset) ([]byte, error) {
	var content bytes.Buffer
	digest, err := c.fetch(ctx, asset, func() io.Writer {
		content.Reset()
		return &content
	})
	switch size := int64(content.Len()); {
	case err != nil:
		return nil, err
	case size != asset.Size || asset.Digest != "" && digest != asset.Digest:
		return nil, fmt.Errorf("downloading %s: got %d bytes, %s, want %d, %s", asset.Name, size, digest, asset.Size, asset.Digest)
	}
	return content.Bytes(), nil
}

// fetch downloads an asset, again where that can help: each time to a place of its
// own, since half of it may have come before. It returns the digest.
func (c *Client) fetch(ctx context.Context, asset Asset, to func() io.Writer) (digest string, err error) {
	patience := patience{Client: c}
	for {
		digest, err := c.download(ctx, asset, to())
		if err == nil {
			return digest, nil
		}
		if err := patience.again(ctx, err, isTransient(err)); err != nil {
			return "", err
		}
	}
}

// download downloads an asset once.
func (c *Client) download(ctx context.Context, asset Asset, w io.Writer) (digest string, err error) {
	doing := "downloading " + asset.Name
	ctx, watch := watched(ctx, c.pace.stall)
	defer watch.end()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.at("releases", "assets", id(asset.ID)), nil)
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	// A redirection leads to the storage, and net/http leaves the token behind.
	request.Header.Set("Accept", "application/octet-stream")
	response, err := c.answer(request, doing)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(w, hash), watch.reader(io.LimitReader(response.Body, asset.Size+1)))
	if err != nil {
		return "", lost(ctx, doing, err)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

// same tells whether an asset is a file. Where GitHub has no digest of it, it is
// downloaded to find out, if its size is right; one that cannot be is not the
// same.
func (c *Client) same(ctx context.Context, asset Asset, file File) (bool, error) {
	if !asset.Whole() || asset.Size != file.Size {
		return false, nil
	}
	if asset.Digest != "" {
		return asset.Digest == file.Digest, nil
	}
	c.note("GitHub has no digest of %s: downloading it to compare", asset.Name)
	digest, err := c.fetch(ctx, asset, func() io.Writer { return io.Discard })
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && digest == file.Digest, err
}
