package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
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

	// merge plans a tarball; content is the content of any other file.
	merge   *MergePlan
	content []byte
}

func (f *File) fill(content []byte) {
	sum := sha256.Sum256(content)
	f.content, f.Size, f.Exact, f.Digest = content, int64(len(content)), true, "sha256:"+hex.EncodeToString(sum[:])
}

// pinsFile and reportFile return names of files of a release.
func pinsFile(version string) string { return "kata-containers-" + version + "-versions.yaml" }

func reportFile(tarball string) string {
	return strings.TrimSuffix(tarball, tarballSuffix) + ".report.json"
}

// files returns the files of the release, not planned yet. The sums come last.
func (j *Job) files() []File {
	var tarballs, reports []File
	file := func(name string) File {
		return File{File: github.File{Name: name, Path: filepath.Join(j.Output, name)}}
	}
	for _, arch := range j.Arches {
		for _, set := range j.sets(arch) {
			name := PublishedFile(set.Name, j.Version, arch)
			tarballs, reports = append(tarballs, file(name)), append(reports, file(reportFile(name)))
		}
	}
	return slices.Concat(tarballs, reports, []File{file(pinsFile(j.Version)), file(SumsName)})
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
