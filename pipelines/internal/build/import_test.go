package build

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive/foreign"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// tool is a zip with a script, and its sha256.
func tool(t *testing.T) (data []byte, sum string) {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	member, err := w.Create("v1/tool")
	if err == nil {
		_, err = member.Write([]byte("#!/bin/sh\n"))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(out.Bytes())
	return out.Bytes(), hex.EncodeToString(hash[:])
}

// imported is the plan of an import from a url.
func imported(url, sum string) recipe.Plan {
	return recipe.Plan{
		Recipe: recipe.Recipe{
			Asset: "tool", Arch: "x86_64", Import: []recipe.Member{{From: "v1/tool", To: "opt/kata/bin/tool"}},
			Output: recipe.Output{Level: 1},
		},
		Sources: []versions.Source{{Name: "tool", Places: []versions.Place{{Name: "upstream", URL: url, SHA256: sum}}}},
	}
}

// TestImport: no engine is needed, the record says where each member is from, and a damaged
// file in the source cache is fetched again.
func TestImport(t *testing.T) {
	data, sum := tool(t)
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = w.Write(data)
	}))
	defer server.Close()
	c, report := container(t)
	c.Sources.Offline = false
	cached := filepath.Join(c.Sources.Dir, "sha256", sum)
	p := imported(server.URL, sum)
	if err := c.Check(t.Context(), []Step{{Asset: "tool", Resolved: p}}, 1); err != nil {
		t.Errorf("before the build: %v", err)
	}
	for want, damage := range []func(){
		func() {},
		func() {}, // The archive is in the cache.
		func() {
			if err := os.WriteFile(cached, bytes.ToUpper(data), 0o644); err != nil {
				t.Fatal(err)
			}
		},
	} {
		damage()
		built, err := c.Build(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		if err := archive.Cat(&content, built.Tarballs[""], "opt/kata/bin/tool"); err != nil || content.String() != "#!/bin/sh\n" {
			t.Errorf("%v, %q", err, content.String())
		}
		var rec importRecord
		if err := json.Unmarshal(built.Record, &rec); err != nil || len(rec.Members) != 1 ||
			rec.Members[0].From != "v1/tool" || rec.Members[0].Name != "./opt/kata/bin/tool" || rec.Sources[0] != (sourceRecord{"tool", "upstream", sum}) {
			t.Errorf("%v, %s", err, built.Record)
		}
		if err := built.Remove(); err != nil {
			t.Error(err)
		}
		if got := int(requests.Load()); got != max(want, 1) {
			t.Errorf("%d requests after build %d", got, want)
		}
	}
	if !strings.Contains(report.String(), "discarding a damaged file of the cache") {
		t.Errorf("reported %s", report)
	}
}

// TestImportWrongArchive: the place serves other bytes than declared.
func TestImportWrongArchive(t *testing.T) {
	data, _ := tool(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
	defer server.Close()
	c, _ := container(t)
	c.Sources.Offline = false
	_, err := c.Build(t.Context(), imported(server.URL, strings.Repeat("0", 64)), nil)
	_, sum := tool(t)
	if err == nil || !strings.Contains(err.Error(), "has sha256 "+sum) || !strings.Contains(err.Error(), "and sha256 "+strings.Repeat("0", 64)+" is declared") {
		t.Errorf("%v", err)
	}
	wantEmpty(t, c.Work)
}

// TestImportChanged: a local file or folder that changes after the plan is not used under
// the key of the plan.
func TestImportChanged(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "v1"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "v1", "tool")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := imported("", "")
	taken, err := foreign.ExtractFolder(t.Context(), dir, Members(p.Recipe, true), "")
	if err != nil {
		t.Fatal(err)
	}
	p.Recipe.Sources = []recipe.Source{{Name: "tool", Places: []recipe.Place{{Name: recipe.GivenPlace}}}}
	folder, program := p, p
	folder.Given = recipe.Given{Path: dir, SHA256: foreign.Sum(taken)}
	program.Given = recipe.Given{Path: file, SHA256: taken[0].SHA256}
	c, _ := container(t)
	for _, p := range []recipe.Plan{folder, program} {
		built, err := c.Build(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := built.Remove(); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(file, []byte("#!/bin/bash\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []recipe.Plan{folder, program} {
		if _, err := c.Build(t.Context(), p, nil); err == nil || err.Error() != "importing from "+p.Given.Path+": it has changed since the plan: run the command again" {
			t.Errorf("%v", err)
		}
	}
}

// TestImportGivenDeclared: a local copy of the declared archive gives what that gives, as
// both have the same key.
func TestImportGivenDeclared(t *testing.T) {
	var data bytes.Buffer
	w := zip.NewWriter(&data)
	for _, name := range []string{"v1/tool", "opt/kata/bin/other"} {
		if _, err := w.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "copy.zip")
	if err := os.WriteFile(file, data.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(data.Bytes()))
	p := imported("http://127.0.0.1:1", sum)
	p.Recipe.Import = []recipe.Member{{From: "v1/*", To: "opt/kata/bin/"}}
	p.Recipe.Sources = []recipe.Source{{Name: "tool", Places: []recipe.Place{{Name: "upstream", Hash: "sha256:" + sum}}}}
	p.Given = recipe.Given{Path: file, SHA256: sum}
	c, _ := container(t)
	built, err := c.Build(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = built.Remove() }()
	listing, err := archive.Inspect(built.Tarballs[""])
	if err != nil || slices.ContainsFunc(listing.Members, func(m archive.Sized) bool { return m.Name == "./opt/kata/bin/other" }) {
		t.Errorf("%v, %+v", err, listing.Members)
	}
}
