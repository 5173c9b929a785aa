//go:build integration

package source

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// A small source for real: the index, the download, the cache, and offline.
func TestFetchGperf(t *testing.T) {
	resolver := &debian.Resolver{StateDir: t.TempDir()}
	entry := versions.Debian{Package: "gperf", Version: "3.3-1", Suite: "forky", File: "gperf_3.3.orig.tar.gz"}
	source := versions.Source{Name: "gperf", Places: []versions.Place{
		{Name: "gone", URL: "http://kata.invalid/gperf-3.3.tar.gz", SHA256: strings.Repeat("0", 64)},
		{Name: "debian", Debian: &entry, SHA256: "fd87e0aba7e43ae054837afd6cd4db03a3f2693deb3619085e6ed9d8d9604ad8"},
	}}
	f := &Fetcher{Dir: t.TempDir(), Debian: resolver}
	got, err := f.Fetch(t.Context(), source, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", got)
	f.Offline = true
	if again, err := f.Fetch(t.Context(), source, nil); err != nil || again.Path != got.Path || again.From != FromCache {
		t.Errorf("offline: %+v, %v", again, err)
	}
}

// A module of this repository's go.sum, with its sum there.
func TestFetchGoModule(t *testing.T) {
	const module, version = "github.com/gofrs/flock", "v0.13.1"
	root, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(strings.TrimSpace(string(root)), "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var sum string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), module+" "+version+" "); ok {
			sum = rest
		}
	}
	place := versions.Place{Name: "module", Go: &versions.GoModule{Module: module, Version: version, Sum: sum}}
	for _, offline := range []bool{false, true} {
		f := &Fetcher{Dir: t.TempDir(), Offline: offline}
		got, err := f.Fetch(t.Context(), versions.Source{Name: "flock", Places: []versions.Place{place}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", got)
	}
}
