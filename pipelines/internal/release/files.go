package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
)

// The files of a release that are not tarballs or reports: SumsName has the SHA-256 of
// the others. NotesName stays in the output folder and has the text of the page.
const (
	SumsName  = "SHA256SUMS"
	NotesName = "notes.md"
)

// pinsFile and reportFile are the names of files of a release.
func pinsFile(version string) string { return "kata-containers-" + version + "-versions.yaml" }

func reportFile(tarball string) string {
	return strings.TrimSuffix(tarball, tarballSuffix) + ".report.json"
}

// fileNames are those of the files of the release.
func (j *Job) fileNames() []string {
	var names []string
	for _, arch := range j.Arches {
		for _, set := range j.sets(arch) {
			tarball := PublishedFile(set.Name, j.Version, arch)
			names = append(names, tarball, reportFile(tarball))
		}
	}
	return append(names, pinsFile(j.Version), SumsName)
}

// generated reports whether a Job gives a file this name: an architecture or a set that
// the release had once leaves such files in a draft, perhaps from another commit.
func (j *Job) generated(name string) bool {
	for _, set := range j.Catalog.Sets {
		for _, arch := range catalog.Arches() {
			tarball := PublishedFile(set.Name, j.Version, arch)
			if name == tarball || name == reportFile(tarball) {
				return true
			}
		}
	}
	return false
}

// digestOf returns the digest of a content, "sha256:<hex>".
func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fileOf plans a file whose content is known.
func fileOf(name string, content []byte) PlannedFile {
	return PlannedFile{Name: name, Size: int64(len(content)), Exact: true, digest: digestOf(content)}
}

// contentOf returns the report that is published with a merged tarball. It does not
// compare: it is the same whichever release came before.
func contentOf(merge *MergePlan) ([]byte, error) {
	report := merge.Report
	report.Change = nil
	data, err := json.Marshal(report)
	if err != nil {
		return nil, fmt.Errorf("writing the report: %w", err)
	}
	return append(data, '\n'), nil
}

// add writes a small file and adds it to the release.
func (r *run) add(name string, content []byte) error {
	r.files = append(r.files, github.File{Name: name, Path: r.path(name), Size: int64(len(content)), Digest: digestOf(content)})
	return files.Write(r.path(name), content, 0o644)
}

// writeFiles writes the files of the release that are not tarballs, and the notes.
func (r *run) writeFiles(ctx context.Context) error {
	for _, merge := range r.plan.merges {
		report, err := contentOf(merge)
		if err != nil {
			return err
		}
		if err := r.add(reportFile(PublishedFile(merge.Report.Set, r.Version, merge.Report.Arch)), report); err != nil {
			return err
		}
	}
	if err := r.add(pinsFile(r.Version), r.Pins); err != nil {
		return err
	}
	if err := r.add(SumsName, Sums(r.files)); err != nil {
		return err
	}
	for _, file := range r.files {
		r.released.Files = append(r.released.Files, ReleasedFile{Name: file.Name, Path: file.Path, Digest: file.Digest, Size: file.Size})
	}
	notes, err := r.notes(ctx)
	if err != nil {
		return err
	}
	return files.Write(r.path(NotesName), []byte(notes), 0o644)
}

// notes returns the text of the release.
func (r *run) notes(ctx context.Context) (string, error) {
	notes := Notes{Version: r.Version, Commit: r.Commit, Files: r.files}
	for _, to := range r.pushed {
		image := NotedImage{Reference: to.repository.String() + ":" + r.Version, Digest: to.index.Digest}
		for _, of := range r.images {
			image.Arches = append(image.Arches, of.GoArch())
		}
		notes.Images = append(notes.Images, image)
	}
	for _, c := range r.Components {
		asset, err := r.Catalog.Find(c.Asset, c.Arch)
		if err != nil {
			return "", err
		}
		notes.Components = append(notes.Components, NotedComponent{
			Name: c.Asset, Arch: c.Arch.GoArch(), Version: r.versionOf(asset), Size: c.Size, Digest: c.Digest, Key: c.Key,
		})
	}
	if r.plan.github.previous != nil {
		notes.Previous = r.plan.github.previous.Tag
		var err error
		if notes.Pins, notes.PinsUnknown, err = r.plan.previousPins(ctx); err != nil {
			return "", err
		}
	}
	return notes.Markdown(), nil
}

// versionOf returns the versions and tags among an asset's pins: "v6.18.15".
func (j *Job) versionOf(asset catalog.Asset) string {
	var found []string
	for _, path := range slices.Sorted(maps.Values(asset.Pins)) {
		if !strings.HasSuffix(path, ".version") && !strings.HasSuffix(path, ".tag") {
			continue
		}
		// The keys of the components were made from the same pins.
		if value, err := j.Versions.Pin(path); err == nil && !slices.Contains(found, value) {
			found = append(found, value)
		}
	}
	return strings.Join(found, ", ")
}

// pushedTo is what a repository of images has.
type pushedTo struct {
	repository *payload.Repository
	index      payload.Pushed
	// at is where Released has the index.
	at int
}
