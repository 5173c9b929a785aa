package store

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/mod/sumdb/dirhash"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// archived is the content of a source, which takes several reads.
var archived = bytes.Repeat([]byte("kata containers\n"), 1<<17)

func sourceFile(t *testing.T) (path, hash string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "linux.tar")
	if err := os.WriteFile(path, archived, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, digest.FromBytes(archived).String()
}

func TestSourceTag(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	for hash, want := range map[string]string{
		digest.FromString("x").String():                   "sha256-" + digest.FromString("x").Encoded(),
		"h1:" + base64.StdEncoding.EncodeToString(sum[:]): "h1-" + digest.FromString("x").Encoded(),
		"sha256:" + strings.Repeat("z", 64):               "",
		"h1:short":                                        "",
		"md5:" + strings.Repeat("a", 32):                  "",
		"":                                                "",
		"h1:" + base64.StdEncoding.EncodeToString([]byte("short")): "",
	} {
		if got, err := sourceTag(hash); got != want || (err == nil) != (want != "") {
			t.Errorf("tag of %q: %q, %v, want %q", hash, got, err, want)
		}
	}
}

func TestSources(t *testing.T) {
	r, _, _ := connect(t, registrytest.New(t))
	path, hash := sourceFile(t)
	module := "h1:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, sha256.Size))
	for _, hash := range []string{hash, module} {
		if _, err := r.FindSource(t.Context(), hash); !IsNotFound(err) {
			t.Errorf("found before it was pushed: %v", err)
		}
		for _, want := range []bool{true, false} {
			if pushed, err := r.PushSource(t.Context(), hash, "linux.tar", path); err != nil || pushed != want {
				t.Errorf("pushed %t, %v, want %t", pushed, err, want)
			}
		}
		if size, err := r.FindSource(t.Context(), hash); err != nil || size != int64(len(archived)) {
			t.Errorf("found %d bytes, %v", size, err)
		}
		var out bytes.Buffer
		report := progress.New(&out, progress.Terminal, func() int { return 100 })
		to := filepath.Join(t.TempDir(), "got")
		if err := r.PullSource(t.Context(), hash, to, report.Stage("linux", "source")); err != nil {
			t.Fatal(err)
		}
		report.Note("linux", "pulled") // Paints the stage.
		report.Close()
		if data, err := os.ReadFile(to); err != nil || !bytes.Equal(data, archived) || !strings.Contains(out.String(), "100% of "+progress.Size(int64(len(archived)))) {
			t.Errorf("pulled %d bytes, %v, reported %q", len(data), err, out.String())
		}
	}
	if _, err := r.FindSource(t.Context(), "sha256:"); err == nil || IsNotFound(err) {
		t.Errorf("an invalid hash: %v", err)
	}
}

func TestPullSourceFaults(t *testing.T) {
	host := registrytest.New(t)
	whole, _, _ := connect(t, host)
	path, hash := sourceFile(t)
	if _, err := whole.PushSource(t.Context(), hash, "linux.tar", path); err != nil {
		t.Fatal(err)
	}
	const blobs = "/cache/sources/blobs/"
	for name, test := range map[string]struct {
		rules []registrytest.Rule
		note  string
		hit   bool
		// left is how many bytes the next pull does not need to fetch.
		left int64
	}{
		"reset":           {[]registrytest.Rule{{Method: "GET", Path: blobs, Nth: 1, Do: registrytest.Reset(1 << 20)}}, "resuming", true, 0},
		"stalled forever": {[]registrytest.Rule{{Method: "GET", Path: blobs, Nth: 1, Do: registrytest.Reset(1 << 20)}, {Method: "GET", Path: blobs, Do: registrytest.Status(503)}}, "continuing without", false, 1 << 20},
		"wrong bytes":     {[]registrytest.Rule{{Method: "GET", Path: blobs, Do: registrytest.Wrong(100)}}, ": it has a blob", false, 0},
		"403":             {[]registrytest.Rule{{Method: "GET", Path: blobs, Do: registrytest.Status(403)}}, ": continuing without the source", false, 0},
		"down":            {[]registrytest.Rule{{Do: registrytest.Refuse()}}, "continuing without", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, notes := connect(t, host, test.rules...)
			to := filepath.Join(t.TempDir(), "got")
			err := r.PullSource(t.Context(), hash, to, nil)
			if test.hit && err != nil || !test.hit && !IsNotFound(err) {
				t.Fatalf("error %v, want a hit: %t", err, test.hit)
			}
			if !notes.has(test.note) {
				t.Errorf("noted %q, want %q", notes.texts(), test.note)
			}
			info, err := os.Stat(to + Pulling)
			switch {
			case test.left == 0 && !errors.Is(err, os.ErrNotExist):
				t.Errorf("a partial file was left: %v", err)
			case test.left > 0 && (err != nil || info.Size() < test.left):
				t.Errorf("the received bytes are lost: %v, %v", info, err)
			}
			if _, err := os.Stat(to); !test.hit && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a failed pull left the file: %v", err)
			}
			if err := whole.PullSource(t.Context(), hash, to, nil); err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(to); err != nil || !bytes.Equal(data, archived) {
				t.Errorf("the next pull: %d bytes, %v", len(data), err)
			}
		})
	}
}

// A foreign manifest under the tag of a source is a miss, and a push replaces it.
func TestForeignSource(t *testing.T) {
	r, _, notes := connect(t, registrytest.New(t))
	path, hash := sourceFile(t)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.PushSource(t.Context(), hash, "linux.tar", other); err != nil {
		t.Fatal(err)
	}
	if _, err := r.FindSource(t.Context(), hash); !IsNotFound(err) || !notes.has(": it is the file") {
		t.Errorf("a foreign file: %v, noted %q", err, notes.texts())
	}
	if pushed, err := r.PushSource(t.Context(), hash, "linux.tar", path); err != nil || !pushed {
		t.Errorf("pushed %t, %v", pushed, err)
	}
	if size, err := r.FindSource(t.Context(), hash); err != nil || size != int64(len(archived)) {
		t.Errorf("found %d bytes, %v", size, err)
	}
}

// TestForeignModule has another file in the registry under the sum of a Go module: a push
// replaces it, unless it is also a zip of the module.
func TestForeignModule(t *testing.T) {
	zipped := func(comment, content string) string {
		var data bytes.Buffer
		w := zip.NewWriter(&data)
		file, err := w.Create("example.org/m@v1.0.0/go.mod")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.SetComment(comment), w.Close()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "m.zip")
		write(t, path, data.String())
		return path
	}
	own, other := zipped("", "module example.org/m\n"), zipped("packed by another", "module example.org/m\n")
	sum, err := dirhash.HashZip(own, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := sourceFile(t)
	for name, test := range map[string]struct {
		there  string
		pushed bool
	}{
		"the module": {other, false}, "another module": {zipped("", "module evil.org/m\n"), true}, "no zip": {text, true},
	} {
		r, _, notes := connect(t, registrytest.New(t))
		if _, err := r.PushSource(t.Context(), sum, "m.zip", test.there); err != nil {
			t.Fatal(err)
		}
		if pushed, err := r.PushSource(t.Context(), sum, "m.zip", own); err != nil || pushed != test.pushed || notes.has("replacing the source "+sum) != pushed {
			t.Errorf("%s: pushed %t, %v, noted %q", name, pushed, err, notes.texts())
		}
		to := filepath.Join(t.TempDir(), "got")
		if err := r.PullSource(t.Context(), sum, to, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := dirhash.HashZip(to, dirhash.Hash1); err != nil || got != sum {
			t.Errorf("%s: the registry has %s, %v", name, got, err)
		}
	}
}
