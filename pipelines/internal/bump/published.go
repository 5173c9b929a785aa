package bump

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// sumFiles are the names under which projects publish hashes next to their files.
var sumFiles = []string{"sha256sums.asc", "SHA256SUMS", "SHA256SUM", "sha256sum.txt", "checksums.txt"}

var (
	sumLine    = regexp.MustCompile(`(?m)^([0-9A-Fa-f]{64})(?:[ \t]+\*?(?:\./)?(\S+))?[ \t\r]*$`)
	sumLineBSD = regexp.MustCompile(`(?m)^SHA256 ?\((\S+)\) ?= ?([0-9A-Fa-f]{64})[ \t\r]*$`)
)

// publication is what upstream publishes about a file: its SHA-256, "" for nothing, and
// where. One of the signers may have signed that. The size is known only to GitHub.
type publication struct {
	sha256, where string
	signed        bool
	size          int64
}

// published looks for the hash of a file: GitHub's digest of a release asset, a file of its
// own next to it, or a list of the folder. Of a signed list, only the signed part counts.
// Where the lock names signers, a list that they signed is preferred.
func (m *move) published(ctx context.Context, url string) (p publication, err error) {
	if parts := githubFile.FindStringSubmatch(url); parts != nil {
		if p, err = m.digest(ctx, parts[1], parts[2], parts[3]); p.sha256 != "" || err != nil {
			return p, err
		}
	}
	slash := strings.LastIndexByte(url, '/') + 1
	for _, list := range append([]string{url[slash:] + ".sha256", url[slash:] + ".sha256sum"}, sumFiles...) {
		text, listErr := ask(m.Bumper, "list "+url[:slash]+list, func() (string, error) { return m.Sources.Text(ctx, url[:slash]+list) })
		if ctx.Err() != nil {
			return p, context.Cause(ctx)
		}
		switch {
		case web.Refusal(listErr) != 0:
			continue
		case listErr != nil:
			return p, listErr
		}
		signed, by, err := m.signedText(ctx, text)
		own := strings.HasPrefix(list, url[slash:])
		switch {
		case err == nil:
			text, list = signed, list+", signed by "+by
		case errors.As(err, new(*SignatureError)):
			return p, fmt.Errorf("%s: %w", list, err)
		}
		sum := sumIn(text, url[slash:], own)
		if sum == "" || p.sha256 != "" && by == "" {
			continue
		}
		p = publication{sha256: sum, where: list, signed: by != ""}
		if p.signed || len(m.entry.Signers) == 0 {
			return p, nil
		}
	}
	return p, nil
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

// digest returns what GitHub has about the file of a release; older ones have no hash.
func (b *Bumper) digest(ctx context.Context, repository, tag, name string) (p publication, err error) {
	releases, err := b.releases(ctx, repository)
	if err != nil {
		return p, err
	}
	i := slices.IndexFunc(releases, func(r github.Release) bool { return r.Tag == tag && !r.Draft })
	if i < 0 {
		return p, errors.New(repository + " has no release " + tag)
	}
	assets, err := ask(b, "assets "+repository+" "+tag, func() ([]github.Asset, error) {
		client, err := b.client(repository)
		if err != nil {
			return nil, err
		}
		return client.Assets(ctx, releases[i])
	})
	if err != nil {
		return p, err
	}
	for _, a := range assets {
		if a.Name == name && a.Whole() {
			return publication{sha256: strings.TrimPrefix(a.Digest, "sha256:"), where: "the digest of the release asset on GitHub", size: a.Size}, nil
		}
	}
	return p, fmt.Errorf("the release %s of %s has no file %s", tag, repository, name)
}

// DefaultKeyserver answers with the OpenPGP key of a fingerprint. It is not trusted: the
// fingerprint decides.
const DefaultKeyserver = "https://keyserver.ubuntu.com/pks/lookup?op=get&options=mr&search=0x"

// errNoSignature is the error of a file without a signature, or without declared signers.
var errNoSignature = errors.New("no signature")

func (m *move) signers(ctx context.Context) (keys openpgp.EntityList, err error) {
	if len(m.entry.Signers) == 0 {
		return nil, errNoSignature
	}
	var failed []error
	for _, fingerprint := range m.entry.Signers {
		text, err := ask(m.Bumper, "key "+fingerprint, func() (string, error) { return m.Sources.Text(ctx, m.Keyserver+fingerprint) })
		if err != nil {
			failed = append(failed, fmt.Errorf("looking for the key %s: %w", fingerprint, err))
			continue
		}
		found, err := openpgp.ReadArmoredKeyRing(strings.NewReader(text))
		if err != nil {
			failed = append(failed, fmt.Errorf("reading the key %s: %w", fingerprint, err))
		}
		for _, key := range found {
			if fingerprintOf(key) == fingerprint {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		return nil, cmp.Or(errors.Join(failed...), fmt.Errorf("the key server has other keys than %s", strings.Join(m.entry.Signers, ", ")))
	}
	return keys, nil
}

func fingerprintOf(key *openpgp.Entity) string {
	return fmt.Sprintf("%X", key.PrimaryKey.Fingerprint)
}

// signedText returns the part of a text that one of the signers signed, and who did.
func (m *move) signedText(ctx context.Context, text string) (signed, by string, err error) {
	block, _ := clearsign.Decode([]byte(text))
	if block == nil {
		return "", "", errNoSignature
	}
	keys, err := m.signers(ctx)
	if err != nil {
		return "", "", err
	}
	signer, err := block.VerifySignature(keys, nil)
	if err != nil {
		return "", "", &SignatureError{err}
	}
	return string(block.Bytes), fingerprintOf(signer), nil
}

// signature checks the signature that upstream publishes next to a file, and returns who
// made it.
func (m *move) signature(ctx context.Context, url, path string) (by string, err error) {
	keys, err := m.signers(ctx)
	if err != nil {
		return "", err
	}
	for _, suffix := range []string{".sig", ".asc"} {
		signature, err := m.Sources.Text(ctx, url+suffix)
		if web.Refusal(err) != 0 {
			continue
		}
		if err != nil {
			return "", err
		}
		file, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer file.Close()
		check := openpgp.CheckDetachedSignature
		if strings.HasPrefix(signature, "-----BEGIN") {
			check = openpgp.CheckArmoredDetachedSignature
		}
		signer, err := check(keys, file, bytes.NewReader([]byte(signature)), nil)
		if err != nil {
			return "", &SignatureError{err}
		}
		return fingerprintOf(signer), nil
	}
	return "", errNoSignature
}

// SignatureError is the error of a signature that none of the declared signers made.
type SignatureError struct{ err error }

func (s *SignatureError) Error() string {
	return fmt.Sprintf("its signature is not valid: %v: do not use the file; if the project has new signers, declare their keys in the lock", s.err)
}

func (s *SignatureError) Unwrap() error { return s.err }
