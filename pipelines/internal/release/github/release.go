package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// maxBody is the longest text of a release, in characters.
const maxBody = 125_000

// Release is a release as GitHub has it.
type Release struct {
	ID  int64  `json:"id"`
	Tag string `json:"tag_name"`
	// Target is what the tag is made from when the release is published: a commit or a
	// branch. GitHub ignores it if the tag exists.
	Target     string `json:"target_commitish"`
	Name       string `json:"name"`
	Body       string `json:"body"`
	Draft      bool   `json:"draft"`
	Prerelease bool   `json:"prerelease"`
	// Immutable is true for a published release whose assets are frozen.
	Immutable bool `json:"immutable"`
	// URL is the address of its page.
	URL string `json:"html_url"`
	// UploadURL is a template of the address for assets.
	UploadURL string `json:"upload_url"`
}

// Find returns the release of a tag: the published one, otherwise its draft. Of several
// drafts it returns the oldest, so that processes that each made one agree. The error
// is ErrNotFound if there is none, or none that is visible without a token.
func (c *Client) Find(ctx context.Context, tag string) (Release, error) {
	releases, err := c.Releases(ctx)
	if f, ok := errors.AsType[*failure](err); ok && f.status == http.StatusNotFound {
		f.err = nil // A missing repository is not a missing release.
	}
	if err != nil {
		return Release{}, err
	}
	found, drafts := Release{}, 0
	for _, release := range releases {
		if release.Tag != tag {
			continue
		}
		if !release.Draft {
			return release, nil
		}
		if drafts++; found.ID == 0 || release.ID < found.ID {
			found = release
		}
	}
	if found.ID == 0 {
		return Release{}, fmt.Errorf("a release of %s in %s: %w", tag, c.options.Repository, ErrNotFound)
	}
	if drafts > 1 {
		c.note("there are %d drafts of %s: continuing with %s; delete the others", drafts, tag, found.URL)
	}
	return found, nil
}

// Releases lists the releases, with the drafts that the token's owner may see.
func (c *Client) Releases(ctx context.Context) ([]Release, error) {
	return pages[Release](ctx, c, "listing the releases", "/releases")
}

// Commit returns the commit, in 40 hex digits, that the repository on GitHub has under
// a reference: a commit, "heads/NAME" or "tags/NAME". The error is ErrNotFound if it
// has none.
func (c *Client) Commit(ctx context.Context, reference string) (string, error) {
	var commit struct{ SHA string }
	_, err := c.do(ctx, call{doing: "looking for " + reference, method: http.MethodGet, path: "/commits/" + (&url.URL{Path: reference}).EscapedPath()}, &commit)
	var f *failure
	// This is GitHub's answer for a missing commit or tag.
	if errors.As(err, &f) && f.status == http.StatusUnprocessableEntity {
		err = fmt.Errorf("%s in %s: %w", reference, c.options.Repository, ErrNotFound)
	}
	return commit.SHA, err
}

// Draft returns the release of a tag. If there is none, it creates a draft; it changes
// the name, the target and the kind of a draft that differs from the wanted one. It
// returns a published release as it is.
func (c *Client) Draft(ctx context.Context, want Release) (Release, error) {
	creating := false
	return retry(ctx, c, func(err error) bool { return creating && isTemporary(err) }, func() (Release, error) {
		creating = false
		found, err := c.Find(ctx, want.Tag)
		switch {
		case err == nil:
			return c.adjust(ctx, found, want)
		case !errors.Is(err, ErrNotFound):
			return Release{}, err
		}
		creating = true
		made, err := c.create(ctx, want)
		if err != nil {
			return Release{}, err // GitHub may have created it nevertheless: look again.
		}
		return c.oldest(ctx, made)
	})
}

func (c *Client) create(ctx context.Context, want Release) (Release, error) {
	want.Draft = true
	return c.edit(web.Once(ctx), "creating the draft of "+want.Tag, want, "")
}

// edit writes the properties of a release, and creates one that has no ID.
func (c *Client) edit(ctx context.Context, doing string, release Release, latest string) (edited Release, err error) {
	if n := utf8.RuneCountInString(release.Body); n > maxBody {
		return edited, fmt.Errorf("the release notes have %d characters and GitHub takes %d: shorten what was added by hand", n, maxBody)
	}
	method, path := http.MethodPatch, release.path()
	if release.ID == 0 {
		method, path = http.MethodPost, "/releases"
	}
	send := struct {
		Tag        string `json:"tag_name"`
		Target     string `json:"target_commitish,omitempty"`
		Name       string `json:"name"`
		Body       string `json:"body"`
		Draft      bool   `json:"draft"`
		Prerelease bool   `json:"prerelease"`
		Latest     string `json:"make_latest,omitempty"`
	}{release.Tag, release.Target, release.Name, release.Body, release.Draft, release.Prerelease, latest}
	_, err = c.do(ctx, call{doing: doing, method: method, path: path, send: send}, &edited)
	return edited, err
}

// oldest returns the draft to continue with after one was made: that one, unless
// another process was first. GitHub allows two drafts of a tag.
func (c *Client) oldest(ctx context.Context, made Release) (Release, error) {
	found, err := c.Find(ctx, made.Tag)
	switch {
	case errors.Is(err, ErrNotFound): // It takes a moment to appear in the list.
		return made, nil
	case err != nil || found.ID == made.ID:
		return made, err
	}
	_, err = c.do(ctx, call{doing: "deleting the second draft of " + made.Tag, method: http.MethodDelete, path: made.path()}, nil)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Release{}, err
	}
	return found, nil
}

// adjust gives a draft the wanted properties.
func (c *Client) adjust(ctx context.Context, found, want Release) (Release, error) {
	adjusted := found
	adjusted.Name, adjusted.Target, adjusted.Prerelease = want.Name, want.Target, want.Prerelease
	if !found.Draft || adjusted == found {
		return found, nil
	}
	return c.edit(ctx, "changing the draft of "+want.Tag, adjusted, "")
}

// Describe sets the text of a release, in Markdown. The release may already be
// published.
func (c *Client) Describe(ctx context.Context, release Release, body string) (Release, error) {
	if release.Body == body {
		return release, nil
	}
	release.Body = body
	return c.edit(ctx, "changing the text of "+release.Tag, release, "")
}

// Publish publishes a draft, as the latest release if latest is true, and returns the
// published release. A release that is already published stays as it is.
func (c *Client) Publish(ctx context.Context, draft Release, latest bool) (Release, error) {
	if !draft.Draft {
		return draft, nil
	}
	draft.Draft = false
	published, err := c.edit(ctx, "publishing "+draft.Tag, draft, strconv.FormatBool(latest))
	if err == nil && published.Draft {
		err = fmt.Errorf("publishing %s: GitHub accepted this but left it a draft: run it again, or publish %s by hand", draft.Tag, published.URL)
	}
	return published, err
}

func (r Release) path() string { return fmt.Sprintf("/releases/%d", r.ID) }
