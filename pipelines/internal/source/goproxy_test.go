package source

import (
	"archive/zip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/sumdb/dirhash"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// publish puts a module into the tree of a module proxy, with a go.sum of these
// lines, and returns the sums of its zip and its go.mod.
func publish(t *testing.T, proxy, module, version, requires, sums string) (whole, mod string) {
	t.Helper()
	folder := filepath.Join(proxy, strings.ReplaceAll(module, "M", "!m"), "@v")
	goMod := fmt.Sprintf("module %s\n\ngo 1.21\n%s", module, requires)
	files := map[string]string{".mod": goMod, ".info": fmt.Sprintf(`{"Version":%q,"Time":"2024-01-01T00:00:00Z"}`, version)}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for suffix, content := range files {
		if err := os.WriteFile(filepath.Join(folder, version+suffix), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(folder, version+".zip")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	for _, member := range [][2]string{{"go.mod", goMod}, {"go.sum", sums}, {"m.go", "package m\n"}} {
		w, err := archive.Create(module + "@" + version + "/" + member[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(member[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if whole, err = dirhash.HashZip(path, dirhash.Hash1); err != nil {
		t.Fatal(err)
	}
	if mod, err = modSum(filepath.Join(folder, version+".mod")); err != nil {
		t.Fatal(err)
	}
	return whole, mod
}

func TestGoProxyPlace(t *testing.T) {
	proxy := t.TempDir()
	t.Setenv("GOPROXY", "file://"+proxy)
	used, usedMod := publish(t, proxy, "example.com/used", "v1.0.0", "", "")
	_, namedMod := publish(t, proxy, "example.com/named", "v1.1.0", "", "")
	sums := "example.com/used v1.0.0 " + used + "\nexample.com/used v1.0.0/go.mod " + usedMod + "\n" +
		"example.com/named v1.1.0/go.mod " + namedMod + "\n"
	publish(t, proxy, "example.com/Main", "v1.2.0", "require example.com/used v1.0.0\n", sums)

	fetch := func(version, hash string) (Fetched, error) {
		f := fetcher(t)
		f.ModCache = filepath.Join(t.TempDir(), "modules")
		return f.Fetch(t.Context(), linux(versions.Place{
			Name: "go", Line: 7, SHA256: hash, GoProxy: &versions.GoModule{Module: "example.com/Main", Version: version},
		}), nil)
	}
	// What sha256sum says of the tar that was looked at.
	const hash = "6f82fd5c2f23a9dbcc48723e094ed97888d3bba794239d73ede9ba3661933e75"
	got, err := fetch("v1.2.0", hash)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-rw-r--r-- proxy/example.com/!main/@v/v1.2.0.info",
		"-rw-r--r-- proxy/example.com/!main/@v/v1.2.0.mod",
		"-rw-r--r-- proxy/example.com/!main/@v/v1.2.0.zip",
		"-rw-r--r-- proxy/example.com/named/@v/v1.1.0.info",
		"-rw-r--r-- proxy/example.com/named/@v/v1.1.0.mod",
		"-rw-r--r-- proxy/example.com/used/@v/v1.0.0.info",
		"-rw-r--r-- proxy/example.com/used/@v/v1.0.0.mod",
		"-rw-r--r-- proxy/example.com/used/@v/v1.0.0.zip",
	}
	if members := inTar(t, got.Path); !slices.Equal(members, want) {
		t.Errorf("the tar has %q, want %q", members, want)
	}

	// A go.sum of the tree instead of that of a module.
	f := fetcher(t)
	f.ModCache = filepath.Join(t.TempDir(), "modules")
	f.Tree = fstest.MapFS{"assets/x/go.sum": {Data: []byte(sums)}, "bad": {Data: []byte("a\n")}}
	locked := func(lock string) (Fetched, error) {
		return f.Fetch(t.Context(), linux(versions.Place{Name: "go", Line: 7, SHA256: hashText("x"), GoProxy: &versions.GoModule{Lock: lock}}), nil)
	}
	_, err = locked("assets/x/go.sum")
	wantError(t, err, "the archive of goproxy:assets/x/go.sum and its dependencies has sha256", hashText("x"))
	_, err = locked("bad")
	wantError(t, err, `place "go" (line 7): reading go.sum of goproxy:bad: the line "a\n" does not have three fields`)
	if err := f.Answers(t.Context(), linux(), versions.Place{GoProxy: &versions.GoModule{Lock: "assets/x/go.sum"}}); err != nil {
		t.Error(err)
	}

	_, err = fetch("v1.2.0", hashText("x"))
	wantError(t, err, `place "go" (line 7)`, hash, hashText("x"))
	_, err = fetch("v1.3.0", hash)
	wantError(t, err, "go: downloading the Go module example.com/Main@v1.3.0")
	publish(t, proxy, "example.com/used", "v1.0.0", "// changed\n", "")
	_, err = fetch("v1.2.0", hash)
	wantError(t, err, "example.com/used@v1.0.0 has the sum h1:", "go.sum has "+used)
}

// The go command, and the git that it runs, get no secret of the caller.
func TestGoGetsNoSecrets(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\nenv > "+dir+"/env\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, name := range []string{"GIT_TOKEN", "GOVC_PASSWORD", "SSH_PASSWORD", "XDG_SECRET"} {
		t.Setenv(name, "hidden-value")
	}
	t.Setenv("GIT_CONFIG_VALUE_12", "https://")
	if _, err := (&task{Fetcher: fetcher(t)}).askGo(t.Context(), nil, "version"); err != nil {
		t.Fatal(err)
	}
	environ, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	if text := string(environ); !strings.Contains(text, "GIT_CONFIG_VALUE_12=https://\n") || strings.Contains(text, "hidden-value") {
		t.Errorf("the go command gets\n%s", text)
	}
}
