package bump

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// sumFiles are the names under which projects publish hashes next to their files.
var sumFiles = []string{"sha256sums.asc", "SHA256SUMS", "SHA256SUM", "sha256sum.txt", "checksums.txt"}

var (
	sumLine    = regexp.MustCompile(`(?m)^([0-9A-Fa-f]{64})(?:[ \t]+\*?(?:\./)?(\S+))?[ \t\r]*$`)
	sumLineBSD = regexp.MustCompile(`(?m)^SHA256 ?\((\S+)\) ?= ?([0-9A-Fa-f]{64})[ \t\r]*$`)
)

// published returns the SHA-256 that upstream publishes for a file, and where: GitHub's
// digest of a release asset, a file of its own next to it, or a list of the folder. It is
// "" if there is none.
func (m *move) published(ctx context.Context, url string) (sha256, where string, err error) {
	if parts := githubFile.FindStringSubmatch(url); parts != nil {
		sha256, err = m.digest(ctx, parts[1], parts[2], parts[3])
		if sha256 != "" || err != nil {
			return sha256, "the digest of the release asset on GitHub", err
		}
	}
	slash := strings.LastIndexByte(url, '/') + 1
	for _, list := range append([]string{url[slash:] + ".sha256", url[slash:] + ".sha256sum"}, sumFiles...) {
		text, listErr := ask(m.Bumper, "list "+url[:slash]+list, func() (string, error) { return m.Sources.Text(ctx, url[:slash]+list) })
		if ctx.Err() != nil {
			return "", "", context.Cause(ctx)
		}
		var refused *web.Unavailable
		switch {
		case errors.As(listErr, &refused) && refused.Response != nil:
			continue
		case listErr != nil:
			return "", "", listErr
		}
		signed, by, err := m.signedText(ctx, text)
		switch {
		case err == nil:
			text, list = signed, list+", signed by "+by
		case errors.As(err, new(*SignatureError)):
			return "", "", fmt.Errorf("%s: %w", list, err)
		case !errors.Is(err, errNoSignature):
			list += fmt.Sprintf(" (its signature was not checked: %v)", err)
		}
		if sha256 = sumIn(text, url[slash:], strings.HasPrefix(list, url[slash:])); sha256 != "" {
			return sha256, list, nil
		}
	}
	return "", "", nil
}

// sumIn returns the hash of a file in a list of hashes. A list of one file may leave out
// its name.
func sumIn(text, name string, own bool) string {
	for _, m := range sumLine.FindAllStringSubmatch(text, -1) {
		if m[2] == name || own && m[2] == "" {
			return strings.ToLower(m[1])
		}
	}
	for _, m := range sumLineBSD.FindAllStringSubmatch(text, -1) {
		if m[1] == name {
			return strings.ToLower(m[2])
		}
	}
	return ""
}

// digest returns the SHA-256 that GitHub has of the file of a release, "" for none.
func (b *Bumper) digest(ctx context.Context, repository, tag, name string) (string, error) {
	releases, err := b.releases(ctx, repository)
	if err != nil {
		return "", err
	}
	for _, r := range releases {
		if r.Tag != tag || r.Draft {
			continue
		}
		assets, err := ask(b, "assets "+repository+" "+tag, func() ([]github.Asset, error) {
			client, err := b.client(repository)
			if err != nil {
				return nil, err
			}
			return client.Assets(ctx, r)
		})
		for _, a := range assets {
			if a.Name == name {
				return strings.TrimPrefix(a.Digest, "sha256:"), nil
			}
		}
		if err == nil {
			err = fmt.Errorf("the release %s of %s has no file %s", tag, repository, name)
		}
		return "", err
	}
	return "", errors.New(repository + " has no release " + tag)
}
