package release

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// BundleName is the file with the signed provenance of SHA256SUMS and of every file in it,
// in the form that `cosign verify-blob-attestation` reads.
const BundleName = SumsName + ".sigstore.json"

// sign signs the provenance of the files written so far, unless an earlier run has signed
// the same ones.
func (r *run) sign(ctx context.Context, file *File) error {
	var subjects []trust.Subject
	for _, written := range r.released.Files {
		subjects = append(subjects, trust.Subject{Name: written.Name, Digest: written.Digest})
	}
	about := trust.Provenance{Claim: trust.Claim{"release": r.job.Version, "revision": r.job.Commit}, Role: trust.Release}
	want := trust.Wanted{Type: trust.ProvenanceType, Role: trust.Release, Digest: subjects[len(subjects)-1].Digest, Claim: about.Claim}
	for _, earlier := range r.bundles(ctx, file) {
		if r.job.Signer.Signed(earlier, want) {
			file.fill(earlier)
			return files.Write(file.Path, earlier, 0o644)
		}
	}
	for _, c := range r.job.Components {
		digest := map[string]string{"sha256": strings.TrimPrefix(c.Digest, "sha256:")}
		about.Materials = append(about.Materials, trust.Resource{Name: c.Asset + "-" + string(c.Arch), Digest: digest})
	}
	predicate, err := about.Predicate()
	if err != nil {
		return err
	}
	bundle, err := r.job.Signer.Sign(ctx, subjects, predicate.Type, predicate.Content)
	if err != nil {
		return err
	}
	file.fill(bundle)
	return files.Write(file.Path, bundle, 0o644)
}

// bundles returns the signatures of earlier runs: in the folder, and on GitHub.
func (r *run) bundles(ctx context.Context, file *File) (earlier [][]byte) {
	if data, err := files.Read(filepath.Join(r.job.Output, file.Name), maxDocument); err == nil {
		earlier = append(earlier, data)
	}
	for _, asset := range r.plan.there {
		if asset.Name == file.Name && asset.Whole() && asset.Size < maxDocument {
			earlier = append(earlier, r.downloaded(ctx, asset))
		}
	}
	return earlier
}

// downloaded returns a file on GitHub; what cannot be read is signed again.
func (r *run) downloaded(ctx context.Context, asset github.Asset) []byte {
	data, err := r.job.GitHub.Download(ctx, asset)
	if err != nil {
		r.job.Report.Note("github", err.Error())
	}
	return data
}
