package sbom

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	spdxjson "github.com/spdx/tools-golang/json"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

const (
	hash1 = "1111111111111111111111111111111111111111111111111111111111111111"
	hash2 = "2222222222222222222222222222222222222222222222222222222222222222"
)

var tree = fstest.MapFS{
	"versions.yaml": {Data: []byte(`
assets:
  thing: {description: d, url: u, version: "v1.0"}
  tool: {description: d, url: u, version: "2.0"}
`)},
	"assets/sources.yaml": {Data: []byte(`
assets.thing:
  license: "GPL-2.0-only WITH Linux-syscall-note"
  "v1.0":
    thing:
      - {name: upstream, url: "https://example.org/thing.tar", sha256: "` + hash1 + `"}
      - {name: debian, debian: {package: thing, version: "1:1.0+ds-1", suite: sid, file: thing.tar}, sha256: "` + hash2 + `"}
    fix:
      - {name: upstream, git: {url: "https://example.org/fix", commit: "0123456789012345678901234567890123456789", path: a/b}}
assets.tool:
  license: "LicenseRef-Tool"
  "2.0":
    tool: [{name: crates, cargo: {lock: assets/tool/Cargo.lock}, sha256: "` + hash1 + `"}]
`)},
	"assets/tool/Cargo.lock": {Data: []byte(`
[[package]]
name = "dep"
version = "0.3.1"
source = "registry+https://example.org/index"
checksum = "` + hash2 + `"
`)},
	"assets/licenses/LicenseRef-Tool.txt": {Data: []byte("the terms of the tool\n")},
}

// newMaker returns a maker of an empty store.
func newMaker(t *testing.T) *Maker {
	t.Helper()
	path := filepath.Join(t.TempDir(), "versions.yaml")
	if err := os.WriteFile(path, tree["versions.yaml"].Data, 0o644); err != nil {
		t.Fatal(err)
	}
	v, err := versions.Load(path, tree)
	if err != nil {
		t.Fatal(err)
	}
	return &Maker{
		Tiered: &store.Tiered{Local: store.Open(filepath.Join(t.TempDir(), "store"), nil)}, Tree: tree, Versions: v,
		Sources: &source.Fetcher{Dir: t.TempDir(), Tree: tree},
	}
}

// put stores an artifact with some files, the program of this test among them if its name
// is "program".
func put(t *testing.T, m *Maker, r recipe.Recipe, record string, names ...string) store.Artifact {
	t.Helper()
	dir, tarball := t.TempDir(), filepath.Join(t.TempDir(), "tarball")
	if err := os.MkdirAll(filepath.Join(dir, "opt/kata"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, mode := []byte("content of "+name), os.FileMode(0o644)
		if name == "program" {
			self, err := os.Executable()
			if err == nil {
				content, err = os.ReadFile(self)
			}
			if err != nil {
				t.Fatal(err)
			}
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, "opt/kata", name), content, mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := archive.Pack(t.Context(), dir, tarball, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	r.Schema, r.Arch = recipe.Schema, "x86_64"
	canonical, err := r.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	key, err := r.Key()
	if err != nil {
		t.Fatal(err)
	}
	artifact, err := m.Put(t.Context(), store.Put{
		Ref: store.Ref{Asset: r.Asset, Arch: r.Arch, Key: key}, Tarball: tarball, Recipe: canonical, Record: []byte(record),
	})
	if err != nil {
		t.Fatal(err)
	}
	return artifact
}

func thing() (recipe.Recipe, string) {
	return recipe.Recipe{
			Asset: "thing", Builder: recipe.Builder{Distribution: "debian", Suite: "trixie"},
			Root:    &recipe.Builder{Distribution: "alpine", Suite: "v3.22", Manager: "apk", Locked: []recipe.Locked{{Name: "musl", Version: "1.2-r1", Hash: "Q1"}}},
			Pins:    []recipe.Pin{{Path: "assets.thing.version", Env: "VERSION", Value: "v1.0"}},
			Sources: []recipe.Source{{Name: "thing", Path: "assets.thing.thing"}, {Name: "patch", Path: "assets.thing.fix"}},
		}, `{"machine": "x86_64", "packages": ["g++=4:14.2", "make=4.4"], "root": {"packages": ["musl=1.2-r1"]}, "sources": [
		{"name": "thing", "place": "debian", "sha256": "` + hash2 + `"}, {"name": "patch", "place": "upstream", "sha256": "` + hash1 + `"}]}`
}

// written returns the JSON of a document, after tools-golang has read and validated it.
func written(t *testing.T, d *Document) (*spdx.Document, string) {
	t.Helper()
	data, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var read spdx.Document
	if err := spdxjson.ReadInto(bytes.NewReader(data), &read); err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(&read); err != nil {
		t.Fatal(err)
	}
	return &read, string(data)
}

// relations returns the relationships of a document as lines of names.
func relations(d *spdx.Document) []string {
	names := map[string]string{"DOCUMENT": "document"}
	for _, p := range d.Packages {
		names[string(p.PackageSPDXIdentifier)] = p.PackageName
		for _, ref := range p.PackageExternalReferences {
			names[string(p.PackageSPDXIdentifier)] = ref.Locator
		}
	}
	for _, f := range d.Files {
		names[string(f.FileSPDXIdentifier)] = strings.Replace(f.FileName, "/opt/kata", "", 1)
	}
	var lines []string
	for _, r := range d.Relationships {
		lines = append(lines, names[string(r.RefA.ElementRefID)]+" "+r.Relationship+" "+names[string(r.RefB.ElementRefID)])
	}
	return lines
}

func TestAsset(t *testing.T) {
	m := newMaker(t)
	r, record := thing()
	artifact := put(t, m, r, record, "a", "b")
	document, err := m.Asset(t.Context(), artifact)
	if err != nil {
		t.Fatal(err)
	}
	d, text := written(t, document)
	want := []string{
		"document DESCRIBES thing", "thing CONTAINS ./a", "thing CONTAINS ./b",
		"thing GENERATED_FROM pkg:deb/debian/thing@1:1.0%2Bds-1?arch=source&distro=debian-sid", "thing GENERATED_FROM patch",
		"pkg:deb/debian/g%2B%2B@4:14.2?arch=amd64&distro=debian-trixie BUILD_DEPENDENCY_OF thing",
		"pkg:deb/debian/make@4.4?arch=amd64&distro=debian-trixie BUILD_DEPENDENCY_OF thing",
		"thing CONTAINS pkg:apk/alpine/musl@1.2-r1?arch=x86_64&distro=alpine-v3.22",
	}
	if got := relations(d); !slices.Equal(got, want) {
		t.Errorf("relationships:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, want := range []string{
		strings.TrimPrefix(artifact.Digest, "sha256:"), artifact.Manifest.Digest().String(), `"created": "2026-03-01T00:00:00Z"`,
		`"git+https://example.org/fix@0123456789012345678901234567890123456789#a/b"`, `"versionInfo": "v1.0"`, hash1, hash2,
		`"licenseDeclared": "(GPL-2.0-only WITH Linux-syscall-note)"`, `"algorithm": "SHA1"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the document lacks %s", want)
		}
	}
	again, err := m.Asset(t.Context(), artifact)
	if err != nil {
		t.Fatal(err)
	}
	if _, other := written(t, again); other != text {
		t.Error("the same artifact has two documents")
	}
}

// The crates of a lock, the Go modules of a program, and a license without an identifier.
func TestAssetModules(t *testing.T) {
	m := newMaker(t)
	r := recipe.Recipe{Asset: "tool", Sources: []recipe.Source{{Name: "tool", Path: "assets.tool.tool"}}}
	document, err := m.Asset(t.Context(), put(t, m, r, `{"sources": [{"name": "tool", "place": "crates", "sha256": "`+hash1+`"}]}`, "program"))
	if err != nil {
		t.Fatal(err)
	}
	d, text := written(t, document)
	all := strings.Join(relations(d), "\n")
	for _, want := range []string{"tool CONTAINS pkg:cargo/dep@0.3.1", "./program STATIC_LINK pkg:golang/stdlib@1."} {
		if !strings.Contains(all, want) {
			t.Errorf("the document lacks %s:\n%s", want, all)
		}
	}
	if !strings.Contains(text, `"extractedText": "the terms of the tool\n"`) {
		t.Error("the document lacks the text of the license")
	}
}

// A program names what it was linked with.
func TestModules(t *testing.T) {
	w := &writing{Document: newDocument("a", "sha256:"+hash1)}
	w.modules(w.describe(newPackage("program", "program", "")), &buildinfo.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
		{Path: "github.com/Masterminds/semver/v3", Version: "v3.4.0"},
		{Path: "golang.org/x/net", Version: "v0.1.0", Replace: &debug.Module{Path: "example.org/net", Version: "v0.2.0"}},
	}})
	d, _ := written(t, w.Document)
	want := []string{
		"document DESCRIBES program", "program STATIC_LINK pkg:golang/stdlib@1.26.8",
		"program STATIC_LINK pkg:golang/github.com/Masterminds/semver/v3@v3.4.0", "program STATIC_LINK pkg:golang/example.org/net@v0.2.0",
	}
	if got := relations(d); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestMerge(t *testing.T) {
	m := newMaker(t)
	agent := put(t, m, recipe.Recipe{Asset: "agent"}, `{}`, "a")
	r, record := thing()
	r.Dependencies = []recipe.Dependency{{Asset: "agent", Digest: agent.Digest}}
	var documents []*Document
	for _, artifact := range []store.Artifact{put(t, m, r, record, "b"), agent} {
		d, err := m.Asset(t.Context(), artifact)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, d)
	}
	of := Merged{Name: "release", Version: "3.28.0", File: "release.tar.zst", Digest: "sha256:" + hash1, Purpose: "ARCHIVE"}
	d, _ := written(t, Merge(of, documents[:1], documents[1:]))
	lines := relations(d)
	for _, want := range []string{"document DESCRIBES release", "release CONTAINS thing", "thing GENERATED_FROM agent", "agent CONTAINS ./a", "thing CONTAINS ./b"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in:\n%s", want, strings.Join(lines, "\n"))
		}
	}
	if slices.Contains(lines, "release CONTAINS agent") || slices.Contains(lines, "document DESCRIBES thing") {
		t.Errorf("wrong relationships:\n%s", strings.Join(lines, "\n"))
	}
	for _, p := range d.Packages {
		if p.PackageName == "agent" && p.PackageFileName == "" {
			t.Error("the agent has only what the document of its user says")
		}
	}
}

// A push attaches the document, once.
func TestPublish(t *testing.T) {
	m := newMaker(t)
	registry, err := store.OpenRegistry(registrytest.New(t)+"/kata/cache", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.Registry = registry
	r, record := thing()
	artifact := put(t, m, r, record, "a")
	for range 2 {
		if err := m.Publish(t.Context(), artifact, nil); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := &store.Tiered{Local: store.Open(filepath.Join(t.TempDir(), "store"), nil), Registry: registry}
	found, err := elsewhere.Attached(t.Context(), artifact, store.SBOM)
	if err != nil || len(found) != 1 {
		t.Fatalf("%d documents, %v", len(found), err)
	}
	var d struct{ Name string }
	if err := json.Unmarshal(found[0], &d); err != nil || d.Name != "thing-x86_64" {
		t.Error(d.Name, err)
	}
}

func TestBadRecord(t *testing.T) {
	m := newMaker(t)
	for record, want := range map[string]string{
		`{"sources": [{"name": "other"}]}`: `listing the sources of "thing": the record has a source "other" that the recipe lacks`,
		`[]`:                               `listing the contents of "thing": `,
	} {
		r, _ := thing()
		r.Options = map[string]string{"RECORD": record}
		if _, err := m.Asset(t.Context(), put(t, m, r, record, "a")); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
