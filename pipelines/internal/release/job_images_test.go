package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/supply"
)

// chartTree has a chart and the file of an image.
func chartTree() fstest.MapFS {
	tree := fstest.MapFS{"debug.sh": {Data: []byte("#!/bin/sh\n")}}
	for name, content := range map[string]string{
		".helmignore": "", "Chart.yaml": "name: x\nversion: 0.0.0\nappVersion: 0.0.0\n",
		"values.yaml": "image:\n  reference: a\n  tag: b\nkubectlImage:\n  reference: c\n  tag: d\n",
	} {
		tree[chart.Dir+"/"+name] = &fstest.MapFile{Data: []byte(content)}
	}
	return tree
}

// withImages adds an image of programs and a chart to a job.
func withImages(t *testing.T, r *jobRig) {
	t.Helper()
	r.Tree, r.Shims = chartTree(), []byte(`{"shims":{}}`)
	err := r.describePrograms(r.Tree, []catalog.ProgramImage{{
		Name: "kubectl", Description: "a client", Arches: r.Arches, Programs: map[string]catalog.Program{"usr/bin/one": {Asset: "one", Path: "opt/kata/bin/one"}},
		Files: map[string]string{"usr/bin/debug.sh": "debug.sh"}, Command: []string{"/usr/bin/one"},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestJobImages releases an image of programs, and a chart that installs the images by
// their digests.
func TestJobImages(t *testing.T) {
	r := newJobRig(t)
	withImages(t, r)
	released, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, image := range released.Images {
		names = append(names, strings.TrimSpace(image.Name+" "+image.GoArch))
	}
	if want := []string{"kubectl amd64", "kubectl arm64", "kubectl", "amd64", "arm64", "", "chart"}; !slices.Equal(names, want) {
		t.Fatalf("released the images %q, want %q", names, want)
	}
	charted := released.Images[6]
	if !strings.Contains(charted.Reference, "/kata-deploy-charts/kata-deploy@sha256:") || !slices.Equal(charted.Tags, []string{"3.28.0"}) {
		t.Errorf("the chart is %s with the tags %q", charted.Reference, charted.Tags)
	}
	values := fileOf(t, filepath.Join(r.Output, "kata-deploy-3.28.0.tgz"), "kata-deploy/values.yaml")
	for _, index := range []ReleasedImage{released.Images[2], released.Images[5]} {
		if !strings.Contains(values, `reference: "`+index.Reference+`"`+"\n  tag: \"\"\n") {
			t.Errorf("the chart does not install %s:\n%s", index.Reference, values)
		}
	}
	asset := r.server.Release("3.28.0").Asset("kata-deploy-3.28.0.tgz")
	if asset == nil {
		t.Fatal("the release has no chart")
	}
	sums, err := os.ReadFile(filepath.Join(r.Output, SumsName))
	if err != nil || !strings.Contains(string(sums), strings.TrimPrefix(asset.Digest, "sha256:")+"  kata-deploy-3.28.0.tgz\n") {
		t.Errorf("%s lacks the chart: %v\n%s", SumsName, err, sums)
	}
	if body := r.server.Release("3.28.0").Body; !strings.Contains(body, "/kata-deploy-charts/kata-deploy --version 3.28.0` | Helm chart |") || !strings.Contains(body, "/kubectl:3.28.0` | amd64, arm64 |") {
		t.Errorf("the page does not name the chart and the image:\n%s", body)
	}
	if again, err := r.Run(t.Context()); err != nil || !again.Finished {
		t.Errorf("again: %+v, %v", again, err)
	}
	// By force it looks at everything, and the chart is the same.
	r.Force = true
	changes := r.server.Changes()
	if _, err := r.Run(t.Context()); err != nil || r.server.Changes() != changes {
		t.Errorf("by force: %v, %d changes", err, r.server.Changes()-changes)
	}
}

// A draft leaves the version of the chart free.
func TestJobImagesDraft(t *testing.T) {
	r := newJobRig(t)
	withImages(t, r)
	r.KeepDraft = true
	released, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if charted := released.Images[6]; len(charted.Tags) != 0 {
		t.Errorf("the chart of a draft has the tags %q", charted.Tags)
	}
}

// A chart of another commit under the version of the release stops it.
func TestJobImagesTaken(t *testing.T) {
	r := newJobRig(t)
	withImages(t, r)
	r.Labels.Revision, r.Commit = "another", "another"
	r.GitHub = nil
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Labels.Revision, r.Commit = jobCommit, jobCommit
	plan, err := r.plan(t)
	if err != nil || !slices.ContainsFunc(plan.Problems, func(p string) bool {
		return strings.Contains(p, "/kata-deploy-charts/kata-deploy:3.28.0 is already sha256:") && strings.Contains(p, "made from another commit (another)")
	}) {
		t.Errorf("the problems are %q, %v", plan.Problems, err)
	}
}

// fileOf returns a file of a tar in gzip.
func fileOf(t *testing.T, archive, name string) string {
	t.Helper()
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for from := tar.NewReader(plain); ; {
		header, err := from.Next()
		if err != nil {
			t.Fatalf("%s has no %s: %v", archive, name, err)
		}
		if header.Name == name {
			content, err := io.ReadAll(from)
			if err != nil {
				t.Fatal(err)
			}
			return string(content)
		}
	}
}

// A release attaches the sources of what it builds.
func TestJobSources(t *testing.T) {
	r := newJobRig(t)
	r.Sources = &supply.Bundle{}
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.server.Release("3.28.0").Asset("kata-containers-3.28.0-vendor.tar.gz") == nil {
		t.Error("the release lacks its sources")
	}
	if list := fileOf(t, filepath.Join(r.Output, "kata-containers-3.28.0-vendor.tar.gz"), supply.ListFile); !strings.Contains(list, "| source | license |") {
		t.Errorf("the list of the sources is:\n%s", list)
	}
}
