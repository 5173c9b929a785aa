package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// nobody is an address that nothing listens on.
const nobody = "http://127.0.0.1:1/linux.tar"

// registry returns a registry that holds the content under its own hash.
func registry(t *testing.T, faults *registrytest.Faults) *store.Registry {
	t.Helper()
	ref := registrytest.New(t) + "/kata"
	filled, err := store.OpenRegistry(ref, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "linux.tar")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := filled.PushSource(t.Context(), "sha256:"+hashText(string(content)), "linux.tar", path); err != nil {
		t.Fatal(err)
	}
	var options oci.Options
	if faults != nil {
		options.Transport = faults
	}
	r, err := store.OpenRegistry(ref, options)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFetchFromRegistry(t *testing.T) {
	f := fetcher(t)
	f.Registry, f.Offline = registry(t, nil), true
	source := linux(place("gone", nobody, []byte("another archive")), place("upstream", nobody, content))
	var out bytes.Buffer
	report := progress.New(&out, progress.Terminal, func() int { return 100 })
	got, err := f.Fetch(t.Context(), source, report.Stage("linux", "source"))
	report.Note("linux", "fetched") // Paints the stage.
	report.Close()
	wantFetched(t, f, got, err, "upstream")
	if want := "100% of " + progress.Size(int64(len(content))); got.From != FromRegistry || !strings.Contains(out.String(), want) {
		t.Errorf("from %q, the progress is %q, want %q", got.From, out.String(), want)
	}
	f.Registry = nil
	got, err = f.Fetch(t.Context(), source, nil)
	wantFetched(t, f, got, err, "upstream")
	if got.From != FromCache {
		t.Errorf("from %q", got.From)
	}
}

func TestRegistryIsAskedBeforePlaces(t *testing.T) {
	s, f := serve(t, nil), fetcher(t)
	f.Registry = registry(t, nil)
	got, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), nil)
	wantFetched(t, f, got, err, "upstream")
	if got.From != FromRegistry || len(s.asked()) != 0 {
		t.Errorf("from %q, %d requests upstream", got.From, len(s.asked()))
	}
}

func TestPlaceInsistsInTheRegistryToo(t *testing.T) {
	s, f := serve(t, nil), fetcher(t)
	f.Registry, f.Place, f.Offline = registry(t, nil), "gone", true
	_, err := f.Fetch(t.Context(), linux(place("gone", s.URL, []byte("another archive")), place("upstream", s.URL, content)), nil)
	wantError(t, err, "offline", hashText("another archive"), "source push")
	wantFiles(t, f)
}

// What is wrong with the registry costs no more than the way to a place.
func TestFaultyRegistry(t *testing.T) {
	blob, manifest := "/v2/kata/sources/blobs/", "/v2/kata/sources/manifests/"
	for name, test := range map[string]struct {
		rule registrytest.Rule
		from Origin
	}{
		"wrong bytes": {registrytest.Rule{Method: "GET", Path: blob, Do: registrytest.Wrong(100)}, FromPlace},
		"truncated":   {registrytest.Rule{Method: "GET", Path: blob, Do: registrytest.Truncate(1000)}, FromPlace},
		"one reset":   {registrytest.Rule{Method: "GET", Path: blob, Nth: 1, Do: registrytest.Reset(1000)}, FromRegistry},
		"refused":     {registrytest.Rule{Method: "GET", Path: manifest, Do: registrytest.Status(401)}, FromPlace},
		"forbidden":   {registrytest.Rule{Method: "GET", Path: blob, Do: registrytest.Status(403)}, FromPlace},
		"down":        {registrytest.Rule{Do: registrytest.Refuse()}, FromPlace},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := serve(t, nil), fetcher(t)
			f.Registry = registry(t, &registrytest.Faults{Rules: []registrytest.Rule{test.rule}})
			got, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), nil)
			wantFetched(t, f, got, err, "upstream")
			if got.From != test.from {
				t.Errorf("from %q, want %q", got.From, test.from)
			}
		})
	}
}

// lying gives other bytes than asked for, as a registry can for a Go module,
// whose sum says nothing about the digest of its zip.
type lying struct{ data []byte }

func (l lying) PullSource(_ context.Context, _, path string, _ *progress.Stage) error {
	return os.WriteFile(path, l.data, 0o644)
}

func TestGoModuleFromRegistry(t *testing.T) {
	fakeGo(t, `{"Error": "not to be asked"}`)
	const sum = "h1:+0zQIyHQ09LW6vJJiLz1W3/t44LWc5qiAx+i5RKHzdc="
	zip, err := os.ReadFile(moduleZip(t))
	if err != nil {
		t.Fatal(err)
	}
	source := linux(versions.Place{Name: "module", Go: &versions.GoModule{Module: "example.com/m", Version: "v1.0.0", Sum: sum}})
	f := fetcher(t)
	f.Offline, f.Registry = true, lying{[]byte("no zip")}
	n := &notes{}
	_, err = f.Fetch(t.Context(), source, n.stage())
	wantError(t, err, "offline", sum)
	n.want(t, "discarding a damaged file of the cache")
	f.Registry = lying{zip}
	for _, from := range []Origin{FromRegistry, FromCache} {
		got, err := f.Fetch(t.Context(), source, n.stage())
		if err != nil || got.From != from || got.Path != filepath.Join(f.Dir, "h1", "+0zQIyHQ09LW6vJJiLz1W3_t44LWc5qiAx+i5RKHzdc=.zip") {
			t.Fatalf("fetched %+v, %v, want one from the %s", got, err, from)
		}
		f.Registry = nil
	}
}

type full struct{}

func (full) PullSource(context.Context, string, string, *progress.Stage) error {
	return errors.New("no space left on device")
}

func TestRegistryThatCannotBeWrittenFrom(t *testing.T) {
	s, f := serve(t, nil), fetcher(t)
	f.Registry = full{}
	_, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), nil)
	if err == nil || !strings.Contains(fmt.Sprint(err), "pulling from the registry: no space left") {
		t.Errorf("error %v", err)
	}
}
