package source

import (
	"archive/zip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// index has one answer for one entry.
type index struct {
	t       *testing.T
	want    versions.Debian
	archive debian.Archive
	err     error
}

func (i index) Source(_ context.Context, name, version, suite, file string) (debian.Archive, error) {
	if got := (versions.Debian{Package: name, Version: version, Suite: suite, File: file}); got != i.want {
		i.t.Errorf("asked for %+v", got)
	}
	return i.archive, i.err
}

func (i index) Refresh(_ context.Context, suite string) error {
	if suite != i.want.Suite {
		i.t.Errorf("refreshed %s", suite)
	}
	return nil
}

func (i index) Versions(context.Context, string, string) ([]string, error) {
	return []string{i.want.Version}, i.err
}

func (i index) Files(context.Context, string, string, string) ([]debian.Archive, error) {
	return []debian.Archive{i.archive}, i.err
}

func TestDebianPlace(t *testing.T) {
	s := serve(t, nil)
	entry := versions.Debian{Package: "linux", Version: "6.18.15-1", Suite: "trixie", File: "linux.tar"}
	hash := hashText(string(content))
	source := linux(versions.Place{Name: "debian", Debian: &entry, SHA256: hash, Line: 7})
	answer := func(archive debian.Archive, err error) *Fetcher {
		f := fetcher(t)
		f.Debian = index{t, entry, archive, err}
		return f
	}
	f := answer(debian.Archive{Name: "linux.tar", URL: s.URL, SHA256: hash, Size: int64(len(content))}, nil)
	got, err := f.Fetch(t.Context(), source, nil)
	wantFetched(t, f, got, err, "debian")

	f = answer(debian.Archive{Name: "linux.tar", URL: s.URL + "/mirror", SHA256: hashText("other")}, nil)
	_, err = f.Fetch(t.Context(), source, nil)
	wantError(t, err, `place "debian" (line 7)`, "the index", hash, hashText("other"), "linux.tar of the Debian package linux 6.18.15-1")

	down := errors.New("the index is down")
	_, err = answer(debian.Archive{}, down).Fetch(t.Context(), source, nil)
	wantError(t, err, "no place of source", "debian: the index is down", "--source linux=PATH")
	if !errors.Is(err, down) {
		t.Error("the cause of the failure is lost")
	}
	_, err = fetcher(t).Fetch(t.Context(), source, nil)
	wantError(t, err, "no Debian index")
}

// fakeGo puts a go command on the path that answers with reply.
func fakeGo(t *testing.T, reply string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\n[ \"$*\" = 'mod download -json example.com/m@v1.0.0' ] || exit 9\n" +
		"[ \"$GOPROXY\" = off ] && [ ! -e " + dir + "/cached ] && { echo '{\"Error\": \"module lookup disabled\"}'; exit 1; }\n" +
		"cat <<'EOF'\n" + reply + "\nEOF\n"
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func moduleZip(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.zip")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	for _, name := range []string{"example.com/m@v1.0.0/m.go", "example.com/m@v1.0.0/go.mod"} {
		w, err := archive.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGoPlace(t *testing.T) {
	// What sha256sum of both files, piped through sha256sum, gives in base64.
	const sum = "h1:+0zQIyHQ09LW6vJJiLz1W3/t44LWc5qiAx+i5RKHzdc="
	path := moduleZip(t)
	t.Setenv("GOPROXY", "direct")
	fakeGo(t, `{"Zip": "`+path+`"}`)
	source := linux(versions.Place{Name: "module", Line: 7, Go: &versions.GoModule{Module: "example.com/m", Version: "v1.0.0", Sum: sum}})
	f := fetcher(t)
	got, err := f.Fetch(t.Context(), source, nil)
	if err != nil || got.Path != path || got.Place != "module" || len(got.SHA256) != 64 || got.Size == 0 {
		t.Errorf("fetched %+v, %v", got, err)
	}
	f.Offline = true
	_, err = f.Fetch(t.Context(), source, nil)
	wantError(t, err, "offline", sum)
	f.Offline = false
	source.Places[0].Go.Sum = "h1:other"
	_, err = f.Fetch(t.Context(), source, nil)
	wantError(t, err, `place "module" (line 7)`, "example.com/m@v1.0.0", sum, "h1:other")
	fakeGo(t, `{"Error": "no such module"}`)
	_, err = f.Fetch(t.Context(), source, nil)
	wantError(t, err, "module: downloading the Go module example.com/m@v1.0.0: no such module")
}
