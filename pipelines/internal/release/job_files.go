package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
)

// NotesName is the file, beside those of a release, that has its text.
const NotesName = "notes.md"

// file adds a file to the release.
func (r *run) file(name, path string, size int64, digest string) {
	r.files = append(r.files, github.File{Name: name, Path: path, Size: size, Digest: digest})
}

// digestOf returns the digest of a file, "sha256:<hex>".
func digestOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hashing: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("hashing: %w", err)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

// add writes a small file and adds it to the release.
func (r *run) add(name string, content []byte) error {
	path := filepath.Join(r.Output, name)
	sum := sha256.Sum256(content)
	r.file(name, path, int64(len(content)), "sha256:"+hex.EncodeToString(sum[:]))
	return writeFile(path, content)
}

// writeFiles writes what the release has beside the tarballs, and the notes.
func (r *run) writeFiles(ctx context.Context) error {
	for _, plan := range r.plans {
		report := plan.Report
		report.Change = nil // It says something of this release alone.
		data, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		if err := r.add(reportFile(PublishedFile(report.Set, r.Version, report.Arch)), append(data, '\n')); err != nil {
			return err
		}
	}
	if err := r.add(pinsFile(r.Version), r.Pins); err != nil {
		return err
	}
	if err := r.add(SumsName, Sums(notedFiles(r.files))); err != nil {
		return err
	}
	for _, file := range r.files {
		r.released.Files = append(r.released.Files, ReleasedFile{Name: file.Name, Path: file.Path, Digest: file.Digest, Size: file.Size})
	}
	notes, err := r.notes(ctx)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(r.Output, NotesName), []byte(notes))
}

func notedFiles(files []github.File) []NotedFile {
	var noted []NotedFile
	for _, file := range files {
		noted = append(noted, NotedFile{file.Name, file.Size, file.Digest})
	}
	return noted
}

// notes returns the text of the release.
func (r *run) notes(ctx context.Context) (string, error) {
	notes := Notes{Version: r.Version, Commit: r.Commit, Files: notedFiles(r.files), Images: r.noted()}
	for _, arch := range r.Arches {
		for _, tarball := range r.tarballs[arch] {
			asset, err := r.Catalog.Find(tarball.Asset, arch)
			if err != nil {
				return "", err
			}
			notes.Components = append(notes.Components, NotedComponent{
				Name: tarball.Asset, Arch: arch.GoArch(), Version: r.versionOf(asset), Size: tarball.Size, Digest: tarball.Digest, Key: tarball.Key,
			})
		}
	}
	if r.github.previous != nil {
		notes.Previous = r.github.previous.Tag
		var err error
		if notes.Pins, notes.PinsUnknown, err = r.previousPins(ctx); err != nil {
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
		// The catalog's pins were checked before anything was built.
		if value, err := j.Versions.Pin(path); err == nil && !slices.Contains(found, value) {
			found = append(found, value)
		}
	}
	return strings.Join(found, ", ")
}
