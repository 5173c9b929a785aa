package release

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/sbom"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// contentsFile returns the name of the document about what is in a tarball.
func contentsFile(tarball string) string {
	return strings.TrimSuffix(tarball, tarballSuffix) + ".spdx.json"
}

// proofsFile returns the name of the file with a proof of each component, one a line.
func proofsFile(version string) string { return "kata-containers-" + version + "-proofs.jsonl" }

// proofs returns the accepted proofs of all components.
func (j *Job) proofs() []byte {
	var lines bytes.Buffer
	for _, c := range j.Components {
		lines.Write(bytes.TrimSpace(c.proof))
		lines.WriteByte('\n')
	}
	return lines.Bytes()
}

// writeContents writes the document about what is in a tarball that was written before.
func (r *run) writeContents(ctx context.Context, file *File) (err error) {
	stage := r.job.Report.Stage(file.Name, "sbom")
	defer func() { stage.End(err, "written") }()
	tarball := strings.TrimSuffix(file.Name, ".spdx.json") + tarballSuffix
	about := sbom.Merged{Name: strings.TrimSuffix(file.Name, ".spdx.json"), Version: r.job.Version, File: tarball, Purpose: "ARCHIVE"}
	for _, written := range r.released.Files {
		if written.Name == tarball {
			about.Digest = written.Digest
		}
	}
	document, err := r.contents(ctx, about, file.components)
	if err != nil {
		return err
	}
	data, err := document.JSON()
	if err != nil {
		return err
	}
	file.fill(data)
	return files.Write(file.Path, data, 0o644)
}

// contents returns the document about something that has components in it.
func (r *run) contents(ctx context.Context, about sbom.Merged, components []Component) (*sbom.Document, error) {
	var assets, inside []*sbom.Document
	for _, c := range components {
		document, err := r.document(ctx, c.Artifact)
		if err != nil {
			return nil, err
		}
		assets = append(assets, document)
		for _, artifact := range c.inside {
			document, err := r.document(ctx, artifact)
			if err != nil {
				return nil, err
			}
			inside = append(inside, document)
		}
	}
	return sbom.Merge(about, assets, inside), nil
}

// document returns the document about an artifact, which it makes once.
func (r *run) document(ctx context.Context, artifact store.Artifact) (*sbom.Document, error) {
	id := artifact.Asset + "-" + artifact.Arch
	if known := r.documents[id]; known != nil {
		return known, nil
	}
	document, err := r.job.Contents.Asset(ctx, artifact)
	if err != nil {
		return nil, fmt.Errorf("%s for %s: %w", artifact.Asset, artifact.Arch, err)
	}
	r.documents[id] = document
	return document, nil
}
