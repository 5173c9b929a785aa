package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// maxDocument is the largest file of a release that is read into memory, in bytes.
const maxDocument = 64 << 20

// Fetch downloads the files of a published release into a folder.
func Fetch(ctx context.Context, from *github.Client, tag, dir string) error {
	page, err := from.Find(ctx, tag)
	if err != nil {
		return err
	}
	assets, err := from.Assets(ctx, page)
	if err != nil {
		return err
	}
	for _, asset := range assets {
		if filepath.Base(asset.Name) != asset.Name {
			return fmt.Errorf("%s has a file with the name %q: delete it there", page.URL, asset.Name)
		}
		if _, err := from.Save(ctx, asset, filepath.Join(dir, asset.Name)); err != nil {
			return err
		}
	}
	return nil
}

// releaseFiles are the files of a release in a folder.
type releaseFiles struct {
	dir, version string
	// sums are the digests in SHA256SUMS, by name, and sizes those of the files.
	sums  map[string]string
	sizes map[string]int64
}

// Verify checks a release whose files are in a folder, as anybody can: it trusts nothing
// but the policy. Without a policy, it cannot check the signature, and says so.
func Verify(ctx context.Context, dir, version string, policy *trust.Policy) *report.Report {
	r, p := &report.Report{Asset: "release", Tarball: dir}, &releaseFiles{dir: dir, version: version}
	r.Run("digests", func() (string, error) { return p.digests(ctx) })
	r.Run("provenance", func() (string, error) { return p.provenance(policy) })
	r.Run("size", p.size)
	documents := map[string]contained{}
	r.Run("contents", func() (string, error) { return p.contents(documents) })
	r.Run("proofs", func() (string, error) { return p.proofs(documents) })
	return r
}

func (p *releaseFiles) read(name string) ([]byte, error) {
	data, err := files.Read(filepath.Join(p.dir, name), maxDocument)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing", name)
	}
	return data, err
}

// tarballs returns the names of the tarballs, sorted.
func (p *releaseFiles) tarballs() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(p.sums)) {
		if strings.HasSuffix(name, tarballSuffix) {
			names = append(names, name)
		}
	}
	return names
}

// digests compares the files with SHA256SUMS.
func (p *releaseFiles) digests(ctx context.Context) (string, error) {
	data, err := p.read(SumsName)
	if err != nil {
		return "", err
	}
	p.sums, p.sizes = map[string]string{}, map[string]int64{}
	var problems []error
	for line := range strings.Lines(string(data)) {
		want, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || len(want) != 64 || name == "" || filepath.Base(name) != name {
			return "", fmt.Errorf("%s has the line %q: want a SHA-256 and a name", SumsName, strings.TrimSpace(line))
		}
		got, size, err := files.Hash(ctx, filepath.Join(p.dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("%s is missing, but %s has it", name, SumsName)
		case err == nil && got != want:
			err = fmt.Errorf("%s has the sha256 %s, but %s has %s: download it again, or do not use it", name, got, SumsName, want)
		}
		problems = append(problems, err)
		p.sums[name], p.sizes[name] = want, size
	}
	if len(p.tarballs()) == 0 {
		problems = append(problems, fmt.Errorf("%s has no tarball", SumsName))
	}
	return fmt.Sprintf("%d files are as %s has them", len(p.sums), SumsName), errors.Join(problems...)
}

// provenance checks that a signer of releases says of SHA256SUMS, and of each file in it,
// that it is of this release.
func (p *releaseFiles) provenance(policy *trust.Policy) (string, error) {
	if policy == nil {
		return "", report.Missing("the tree has no " + trust.PolicyFile + ", which says whose signature to accept")
	}
	bundle, err := p.read(BundleName)
	if err != nil {
		return "", fmt.Errorf("the release is unsigned: %w", err)
	}
	sums, err := p.read(SumsName)
	if err != nil {
		return "", err
	}
	all := maps.Clone(p.sums)
	if all == nil {
		all = map[string]string{}
	}
	all[SumsName] = strings.TrimPrefix(digest.FromBytes(sums).String(), "sha256:")
	var problems []error
	var by trust.Statement
	for _, name := range slices.Sorted(maps.Keys(all)) {
		want := trust.Wanted{Type: trust.ProvenanceType, Role: trust.Release, Digest: "sha256:" + all[name], Claim: trust.Claim{"release": p.version}}
		if by, err = policy.Check(bundle, want, time.Now()); err != nil {
			problems = append(problems, fmt.Errorf("%s %w", name, err))
		}
	}
	return fmt.Sprintf("%d files signed by %s on %s", len(all), by.Signer, by.Time.Format(time.DateOnly)), errors.Join(problems...)
}

// size compares the files with GitHub's limit.
func (p *releaseFiles) size() (string, error) {
	var largest int64
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(p.sizes)) {
		size := p.sizes[name]
		if largest = max(largest, size); size >= sizes.Limit {
			problems = append(problems, fmt.Errorf("%s has %d bytes, and must stay below %d", name, size, sizes.Limit))
		}
	}
	return "the largest file has " + progress.Size(largest), errors.Join(problems...)
}

// contained is the part of an SPDX document that is compared.
type contained struct {
	Packages []struct {
		Name, SPDXID, PackageFileName string
		Checksums                     []struct{ Algorithm, ChecksumValue string }
	}
	Relationships []struct{ SPDXElementID, RelatedSPDXElement, RelationshipType string }
}

// sum returns the SHA-256 of a package.
func (c contained) sum(is func(id, file string) bool) string {
	for _, p := range c.Packages {
		for _, sum := range p.Checksums {
			if sum.Algorithm == "SHA256" && is(p.SPDXID, p.PackageFileName) {
				return sum.ChecksumValue
			}
		}
	}
	return ""
}

// contents reads the documents about the tarballs, which must name their digests.
func (p *releaseFiles) contents(documents map[string]contained) (string, error) {
	var problems []error
	for _, tarball := range p.tarballs() {
		name := contentsFile(tarball)
		data, err := p.read(name)
		var d contained
		if err == nil {
			err = json.Unmarshal(data, &d)
		}
		if err == nil && p.sums[name] == "" {
			err = fmt.Errorf("%s is not in %s", name, SumsName)
		}
		if err == nil {
			if sum := d.sum(func(_, file string) bool { return file == tarball }); sum != p.sums[tarball] {
				err = fmt.Errorf("%s is about a tarball with the sha256 %q, but %s has %s", name, sum, tarball, p.sums[tarball])
			}
		}
		problems, documents[tarball] = append(problems, err), d
	}
	return fmt.Sprintf("%d tarballs have a document about their contents", len(documents)), errors.Join(problems...)
}

// proofs looks for a proof that passed of every asset that the documents name.
func (p *releaseFiles) proofs(documents map[string]contained) (string, error) {
	data, err := p.read(proofsFile(p.version))
	if err != nil {
		return "", err
	}
	passed := map[string]bool{}
	for line := range bytes.Lines(data) {
		proof, err := report.Parse(line)
		if err != nil {
			return "", fmt.Errorf("%s: %w", proofsFile(p.version), err)
		}
		passed[strings.TrimPrefix(proof.Tarball, "sha256:")] = proof.Err() == nil
	}
	assets := 0
	var problems []error
	for _, tarball := range slices.Sorted(maps.Keys(documents)) {
		d := documents[tarball]
		for _, r := range d.Relationships {
			if r.RelationshipType != "CONTAINS" || d.sum(func(id, file string) bool { return id == r.SPDXElementID && file == tarball }) == "" {
				continue
			}
			assets++
			if sum := d.sum(func(id, _ string) bool { return id == r.RelatedSPDXElement }); !passed[sum] {
				problems = append(problems, fmt.Errorf("%s has %s (sha256 %s) without a proof that passed", tarball, r.RelatedSPDXElement, sum))
			}
		}
	}
	if assets == 0 {
		problems = append(problems, errors.New("no document names an asset"))
	}
	return fmt.Sprintf("%d assets have a proof that passed", assets), errors.Join(problems...)
}
