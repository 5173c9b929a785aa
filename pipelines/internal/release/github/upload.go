package github

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// MaxSize is the size in bytes that an asset must stay under.
const MaxSize = 2 << 30

// File is a file on disk that is to be an asset.
type File struct {
	// Name is the asset's: letters, digits, dots, hyphens and underscores, since
	// GitHub replaces others.
	Name string `json:"name"`
	Path string `json:"path"`
	// Digest is "sha256:<hex>", "" while it is unknown.
	Digest string `json:"digest,omitempty"`
	// Size is in bytes.
	Size int64 `json:"size"`
}

var assetName = regexp.MustCompile(`^[A-Za-z0-9_-](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?$`)

// Check refuses what GitHub does not take, before anything is sent.
func (f File) Check() error {
	switch {
	case !assetName.MatchString(f.Name):
		return fmt.Errorf("%q cannot be the name of an asset: GitHub keeps only letters, digits, inner dots, - and _", f.Name)
	case f.Size <= 0:
		return fmt.Errorf("%s is empty: GitHub rejects empty assets", f.Name)
	case f.Size >= MaxSize:
		return fmt.Errorf("%s has %d bytes: an asset must have fewer than %d", f.Name, f.Size, int64(MaxSize))
	}
	return nil
}

// successor is the name under which the file is uploaded while another asset has
// its name.
func (f File) successor() string {
	return fmt.Sprintf("new-%.12s-%s", strings.TrimPrefix(f.Digest, "sha256:"), f.Name)
}

var successorName = regexp.MustCompile(`^new-[0-9a-f]{12}-`)

// preceded reports whether a name is that of a successor of the file's asset, of any
// content.
func (f File) preceded(name string) bool {
	mark := successorName.FindString(name)
	return mark != "" && strings.TrimPrefix(name, mark) == f.Name
}

// errDamaged is the error of an asset that is not what was sent.
var errDamaged = errors.New("GitHub has other bytes than were sent")

// upload uploads a file under a name that no asset of the release has. It does
// not trust GitHub's answer: an upload that it calls a failure may be whole, and
// one that broke off leaves a part that keeps the name.
func (c *Client) upload(ctx context.Context, release Release, file File, name string) (asset Asset, err error) {
	stage := c.options.Report.Stage(file.Name, "upload")
	defer func() { stage.End(err, progress.Size(file.Size)) }()
	return retry(ctx, c, func(err error) bool {
		return isTemporary(err) || isTaken(err, "ReleaseAsset") || errors.Is(err, errDamaged)
	}, func() (Asset, error) {
		asset, err := c.send(ctx, release, file, name, stage)
		if err == nil || ctx.Err() != nil {
			return asset, err
		}
		there, whole, failed := c.clear(ctx, release, file, name)
		if whole {
			return there, nil
		}
		return Asset{}, errors.Join(err, failed)
	})
}

// clear reports whether a release has a file after all, and deletes anything else of
// its name.
func (c *Client) clear(ctx context.Context, release Release, file File, name string) (there Asset, whole bool, err error) {
	assets, err := c.Assets(ctx, release)
	i := slices.IndexFunc(assets, func(asset Asset) bool { return asset.Name == name })
	if err != nil || i < 0 {
		return Asset{}, false, err
	}
	there = assets[i]
	if whole, err = c.same(ctx, there, file); whole || err != nil {
		return there, whole, err
	}
	c.note("deleting the remains of an upload of %s", file.Name)
	return Asset{}, false, c.remove(ctx, there)
}

// send sends a file once.
func (c *Client) send(ctx context.Context, release Release, file File, name string, stage *progress.Stage) (asset Asset, err error) {
	doing := "uploading " + file.Name
	address, err := c.uploadAddress(release, name)
	if err != nil {
		return asset, fmt.Errorf("%s: %w", doing, err)
	}
	body := &upload{file: file, stage: stage}
	content, err := body.open()
	if err != nil {
		return asset, fmt.Errorf("%s: %w", doing, err)
	}
	request, err := c.api.NewUploadRequest(address, content, file.Size, cmp.Or(contentTypes[path.Ext(name)], "application/octet-stream"), c.authorize)
	if err != nil {
		return asset, errors.Join(fmt.Errorf("%s: %w", doing, err), content.Close())
	}
	request.GetBody = body.open
	// A second request would conflict with what the first one left.
	if _, err := c.exchange(web.Once(ctx), request, doing, &asset); err != nil {
		return asset, err
	}
	sent := "sha256:" + hex.EncodeToString(body.last.hash.Sum(nil))
	switch {
	case asset.Name != name:
		return asset, errors.Join(fmt.Errorf("%s: GitHub calls it %q: choose a name that it keeps", doing, asset.Name), c.remove(ctx, asset))
	case sent != file.Digest:
		return asset, fmt.Errorf("%s: %s changed in the meantime from %s to %s: run it again", doing, file.Path, file.Digest, sent)
	case !asset.Whole(), asset.Size != file.Size, asset.Digest != "" && asset.Digest != file.Digest:
		return asset, fmt.Errorf("%s: %w: %d bytes, %s, in state %q, want %d bytes, %s", doing, errDamaged, asset.Size, asset.Digest, asset.State, file.Size, file.Digest)
	}
	return asset, nil
}

// uploadAddress returns the address that takes an asset. The token goes only to the
// host of the API, and to that of uploads next to it.
func (c *Client) uploadAddress(release Release, name string) (string, error) {
	base := c.api.BaseURL
	template, _, _ := strings.Cut(release.UploadURL, "{")
	address, err := url.Parse(template)
	if err != nil || address.Host == "" {
		return "", errors.New("GitHub's address for uploads is not a URL")
	}
	if address.Scheme != base.Scheme || address.Host != base.Host && address.Host != "uploads."+strings.TrimPrefix(base.Host, "api.") {
		return "", fmt.Errorf("GitHub's address for uploads is on %s, which does not belong to the API at %s", address.Host, base.Host)
	}
	address.RawQuery = url.Values{"name": {name}}.Encode()
	return address.String(), nil
}

// contentTypes are those of the files of a release, by extension.
var contentTypes = map[string]string{".zst": "application/zstd", ".json": "application/json", ".yaml": "text/plain", "": "text/plain"}

// upload opens a file to send it, once for each attempt.
type upload struct {
	file  File
	stage *progress.Stage
	// last is the content opened last: the connection may still read an earlier one.
	last *content
}

func (u *upload) open() (io.ReadCloser, error) {
	from, err := files.Open(u.file.Path)
	if err != nil {
		return nil, err
	}
	u.last = &content{File: from, size: u.file.Size, stage: u.stage, hash: sha256.New()}
	return u.last, nil
}

// content is a file on its way, hashed as it is read.
type content struct {
	*os.File
	done, size int64
	stage      *progress.Stage
	hash       hash.Hash
}

// Read reads on, to the size that was announced.
func (c *content) Read(p []byte) (int, error) {
	if c.done == c.size {
		return 0, io.EOF
	}
	n, err := c.File.Read(p[:min(int64(len(p)), c.size-c.done)])
	c.hash.Write(p[:n])
	c.done += int64(n)
	c.stage.Bytes(c.done, c.size)
	return n, err
}
