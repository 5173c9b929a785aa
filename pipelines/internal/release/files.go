package release

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sizes"
)

// SumsName is the file of a release with the SHA-256 of the others. NotesName has the
// text of the page, and stays in the output folder.
const (
	SumsName  = "SHA256SUMS"
	NotesName = "notes.md"
)

// File is a file of a release, planned or written.
type File struct {
	github.File
	// Exact is false while Size is the sum of the components' tarballs, which is a
	// little less.
	Exact bool `json:"exact"`
	// Action is what GitHub's copy needs, "" if nothing is sent to GitHub.
	Action github.Action `json:"action,omitempty"`

	// merge plans a tarball; content is the content of any other file. components are those
	// of the tarball that a document is about.
	merge      *MergePlan
	content    []byte
	components []Component
}

func (f *File) fill(content []byte) {
	f.content, f.Size, f.Exact, f.Digest = content, int64(len(content)), true, digest.FromBytes(content).String()
}

// pinsFile and reportFile return names of files of a release.
func pinsFile(version string) string { return "kata-containers-" + version + "-versions.yaml" }

// sourcesFile has the name that Kata gives to its vendored code.
func sourcesFile(version string) string { return "kata-containers-" + version + "-vendor.tar.gz" }

func reportFile(tarball string) string {
	return strings.TrimSuffix(tarball, tarballSuffix) + ".report.json"
}

// files returns the files of the release, not planned yet. The sums come last, and then
// their signature.
func (j *Job) files() []File {
	var tarballs, reports []File
	file := func(name string) File {
		return File{File: github.File{Name: name, Path: filepath.Join(j.Output, name)}}
	}
	for _, arch := range j.Arches {
		for _, set := range j.sets(arch) {
			name := PublishedFile(set.Name, j.Version, arch)
			tarballs, reports = append(tarballs, file(name)), append(reports, file(reportFile(name)))
			if j.Contents != nil {
				document := file(contentsFile(name))
				document.components = j.of(set, arch)
				reports = append(reports, document)
			}
		}
	}
	if j.chartFile() != "" {
		reports = append(reports, file(j.chartFile()))
	}
	if j.Sources != nil {
		reports = append(reports, file(sourcesFile(j.Version)))
	}
	last := []File{file(SumsName)}
	if j.Signer != nil {
		last = append(last, file(BundleName))
	}
	return slices.Concat(tarballs, reports, []File{file(pinsFile(j.Version)), file(proofsFile(j.Version))}, last)
}

// chartFile returns the name of the chart, "" if there is none: it installs the images of
// the release.
func (j *Job) chartFile() string {
	if j.Shims == nil || len(j.Repositories) == 0 {
		return ""
	}
	return (&chart.Chart{Version: j.Version}).File()
}

// sets returns the release sets that have assets on an architecture.
func (j *Job) sets(arch catalog.Arch) []catalog.Set {
	return slices.DeleteFunc(slices.Clone(j.Catalog.Sets), func(set catalog.Set) bool { return len(set.Components[arch]) == 0 })
}

// generated reports whether a Job gives a file this name. An architecture that was
// dropped leaves such files in a draft, perhaps from another commit.
func (j *Job) generated(name string) bool {
	return slices.ContainsFunc(j.Catalog.Sets, func(set catalog.Set) bool {
		return strings.HasPrefix(name, sizes.MergedName(set.Name)+"-"+j.Version+"-")
	})
}

// published returns the report that is published with a merged tarball. It compares
// with no other release, so it is the same whichever came before.
func published(report sizes.Report) ([]byte, error) {
	report.Change = nil
	data, err := json.Marshal(report)
	if err != nil {
		return nil, fmt.Errorf("writing the report: %w", err)
	}
	return append(data, '\n'), nil
}

func (r *run) upload(ctx context.Context) error {
	if r.job.GitHub == nil {
		return nil
	}
	var err error
	r.page, err = r.job.GitHub.Draft(ctx, github.Release{
		Tag: r.job.Version, Name: "Kata Containers " + r.job.Version, Target: r.job.Commit, Prerelease: semver.Prerelease(r.job.Version),
		Body: SpliceNotes("", r.notes),
	})
	if err != nil {
		return err
	}
	// A release that is replaced by force must not keep the digests of its old files.
	if r.page.Draft || r.job.Force {
		if r.page, err = r.job.GitHub.Describe(ctx, r.page, SpliceNotes(r.page.Body, r.notes)); err != nil {
			return err
		}
	}
	r.released.URL, r.released.Draft = r.page.URL, r.page.Draft
	changes, others, err := r.job.GitHub.Compare(ctx, r.page, githubFiles(r.released.Files))
	if err != nil {
		return err
	}
	for i, change := range changes {
		r.released.Files[i].Action = change.Action
	}
	for _, other := range others {
		if r.job.generated(other.Name) {
			return fmt.Errorf("%s has %s, which an earlier run left and which is not a file of this release: delete it there", r.page.URL, other.Name)
		}
		r.job.Report.Note("github", other.Name+" is not a file of this release: it stays")
	}
	if err := r.job.GitHub.Sync(ctx, r.page, changes, r.job.Force); err != nil {
		return fmt.Errorf("uploading to %s: %w", r.page.URL, err)
	}
	return nil
}

func githubFiles(files []File) (all []github.File) {
	for _, f := range files {
		all = append(all, f.File)
	}
	return all
}

// verify checks that GitHub has what was sent: a publication cannot be taken back.
func (r *run) verify(ctx context.Context) error {
	if r.job.GitHub == nil {
		return nil
	}
	changes, others, err := r.job.GitHub.Compare(ctx, r.page, githubFiles(r.released.Files))
	if err != nil {
		return err
	}
	var wrong []string
	for _, change := range changes {
		if change.Action != github.Keep {
			wrong = append(wrong, change.File.Name)
		}
	}
	for _, other := range others {
		if !other.Whole() {
			wrong = append(wrong, other.Name)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("refusing to publish %s: after the upload these differ from what was sent: %s: run it again, or delete them there", r.page.URL, strings.Join(wrong, ", "))
	}
	return nil
}

func (r *run) publish(ctx context.Context) error {
	if r.job.GitHub == nil || r.job.KeepDraft {
		return nil
	}
	published, err := r.job.GitHub.Publish(ctx, r.page, r.plan.newest)
	if err != nil {
		return err
	}
	r.released.URL, r.released.Draft = published.URL, published.Draft
	return nil
}
