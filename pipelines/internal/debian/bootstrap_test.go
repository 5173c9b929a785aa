package debian

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const fakeMmdebstrap = `
echo "$SOURCE_DATE_EPOCH $*" >> "$here/calls"
echo 'I: running apt-get update...' >&2
[ -e "$here/broken" ] && { echo 'E: no space' >&2; exit 1; }
printf 'a layer'
`

func bootstraps(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "calls"))
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// readImage checks an OCI archive as a reader of one would, and returns its layer.
func readImage(t *testing.T, path, want, arch string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	files := map[string][]byte{}
	for archive := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) != 5 || string(files["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Fatalf("%d files, oci-layout %q", len(files), files["oci-layout"])
	}
	blob := func(d v1.Descriptor) []byte {
		data := files["blobs/sha256/"+d.Digest.Encoded()]
		if digest.FromBytes(data) != d.Digest || int64(len(data)) != d.Size {
			t.Fatalf("the blob of %+v has digest %s and %d bytes", d, digest.FromBytes(data), len(data))
		}
		return data
	}
	var index v1.Index
	var manifest v1.Manifest
	var config v1.Image
	decode(t, files["index.json"], &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Digest.String() != want {
		t.Fatalf("index %+v, want the manifest %s", index, want)
	}
	decode(t, blob(index.Manifests[0]), &manifest)
	decode(t, blob(manifest.Config), &config)
	if p := config.Platform; p.OS != "linux" || p.Architecture != arch {
		t.Errorf("platform %+v", p)
	}
	if len(manifest.Layers) != 1 || !slices.Equal(config.RootFS.DiffIDs, []digest.Digest{manifest.Layers[0].Digest}) {
		t.Fatalf("layers %+v, diff ids %v", manifest.Layers, config.RootFS.DiffIDs)
	}
	return blob(manifest.Layers[0])
}

func decode(t *testing.T, data []byte, value any) {
	t.Helper()
	if err := json.Unmarshal(data, value); err != nil {
		t.Fatalf("%v in %q", err, data)
	}
}

func TestBase(t *testing.T) {
	dir := program(t, "mmdebstrap", fakeMmdebstrap)
	b := &Bootstrapper{Dir: filepath.Join(t.TempDir(), "bases"), Mirror: "http://m.example/debian"}
	var log bytes.Buffer
	path, digest, err := b.Base(t.Context(), "trixie", catalog.AArch64, 3, &log)
	require.NoError(t, err)
	if layer := readImage(t, path, digest, "arm64"); string(layer) != "a layer" {
		t.Errorf("layer %q", layer)
	}
	if !strings.Contains(log.String(), "running apt-get update") {
		t.Errorf("log %q", &log)
	}
	if _, again, err := b.Base(t.Context(), "trixie", catalog.AArch64, 3, &log); err != nil || again != digest {
		t.Errorf("the second time: %s, %v, want %s", again, err, digest)
	}
	calls := bootstraps(t, dir)
	if len(calls) != 1 || !strings.HasPrefix(calls[0], "1772323200 --variant=minbase --architectures=arm64 ") || !strings.HasSuffix(calls[0], " trixie - http://m.example/debian") {
		t.Errorf("mmdebstrap was called with %q", calls)
	}
	for _, other := range []struct {
		suite string
		arch  catalog.Arch
		epoch int
	}{{"sid", catalog.AArch64, 3}, {"trixie", catalog.X86_64, 3}, {"trixie", catalog.AArch64, 4}} {
		if p, _, err := b.Base(t.Context(), other.suite, other.arch, other.epoch, &log); err != nil || p == path {
			t.Errorf("%+v: %s, %v", other, p, err)
		}
	}
	if calls := bootstraps(t, dir); len(calls) != 4 {
		t.Errorf("%d calls, want 4", len(calls))
	}
}

func TestDamagedBase(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"bytes":   func(t *testing.T, path string) { require.WriteFile(t, path, "x") },
		"empty":   func(t *testing.T, path string) { require.WriteFile(t, path, "") },
		"no file": func(t *testing.T, path string) { remove(t, path) },
		"a cut": func(t *testing.T, path string) {
			require.NoError(t, os.Truncate(path, 4000))
		},
		"index":    func(t *testing.T, path string) { replaceText(t, path, `"manifests":[{`, `"manifests":({`) },
		"digest":   func(t *testing.T, path string) { replaceText(t, path, `"digest":"sha256:`, `"digest":"sha256.`) },
		"manifest": func(t *testing.T, path string) { replaceText(t, path, `"config":{`, `"Config":{`) },
		"config":   func(t *testing.T, path string) { replaceText(t, path, "/bin/sh", "/bin/ls") },
		"layer":    func(t *testing.T, path string) { replaceText(t, path, "a layer", "a later") },
		"leftovers": func(t *testing.T, path string) {
			remove(t, path)
			require.NoError(t, os.MkdirAll(path+".work/x", 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := program(t, "mmdebstrap", fakeMmdebstrap)
			b := &Bootstrapper{Dir: t.TempDir(), Mirror: "http://m.example/debian"}
			path, digest, err := b.Base(t.Context(), "trixie", catalog.X86_64, 1, io.Discard)
			require.NoError(t, err)
			damage(t, path)
			if _, again, err := b.Base(t.Context(), "trixie", catalog.X86_64, 1, io.Discard); err != nil || again != digest {
				t.Errorf("made again: %s, %v, want %s", again, err, digest)
			}
			readImage(t, path, digest, "amd64")
			if calls := bootstraps(t, dir); len(calls) != 2 {
				t.Errorf("%d calls, want 2", len(calls))
			}
		})
	}
}

// The digest of a base is recorded with everything built on it, so it is the same for
// the same packages, whatever code writes the image.
func TestDigestsOfBases(t *testing.T) {
	program(t, "mmdebstrap", fakeMmdebstrap)
	b := &Bootstrapper{Dir: t.TempDir(), Mirror: "http://m.example/debian"}
	for arch, want := range map[catalog.Arch]string{
		catalog.X86_64:  "sha256:465e486f462b7831b64295b05714e3326827463d688ba8f222565143d5763d01",
		catalog.AArch64: "sha256:67b8537f9a99ededb5c91873a122dd9094d5feeb4d7a0a8425548f0216944365",
		catalog.PPC64LE: "sha256:276a1874043d481b1c3f06009c66d000f2b43211271945abb7e23ddbfbbabf7f",
		catalog.RISCV64: "sha256:9904f4d09d089b127bea81de7415bc3efaa37cf15f8428551252f40e1c61b450",
		catalog.S390X:   "sha256:9199c45f25e030cd67c9a7a883c32c55990fa18362b1d8fc25a734101c043303",
	} {
		if _, got, err := b.Base(t.Context(), "trixie", arch, 1, io.Discard); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", arch, got, err, want)
		}
	}
}

// replaceText changes the first occurrence of a text in a file.
func replaceText(t *testing.T, path, from, to string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(data, []byte(from)) {
		t.Fatalf("%q is not in %s: %v", from, path, err)
	}
	require.WriteFile(t, path, strings.Replace(string(data), from, to, 1))
}

func remove(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.Remove(path))
}

func TestBaseErrors(t *testing.T) {
	dir := program(t, "mmdebstrap", fakeMmdebstrap)
	b := &Bootstrapper{Dir: t.TempDir(), Mirror: "http://m.example/debian"}
	require.WriteFile(t, filepath.Join(dir, "broken"), "")
	for suite, want := range map[string]string{"trixie": "E: no space", "--help": "not the name of a Debian suite"} {
		_, _, err := b.Base(t.Context(), suite, catalog.X86_64, 1, io.Discard)
		require.Error(t, err, want)
	}
	t.Setenv("PATH", t.TempDir())
	if _, _, err := b.Base(t.Context(), "trixie", catalog.X86_64, 1, io.Discard); err == nil || !strings.Contains(err.Error(), "apt-get install mmdebstrap") {
		t.Errorf("error %v, want one that says what to install", err)
	}
	entries, err := os.ReadDir(b.Dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("failures left %v, %v, want only the lock", entries, err)
	}
}

func TestConcurrentBasesAreMadeOnce(t *testing.T) {
	dir := program(t, "mmdebstrap", "sleep 0.1\n"+fakeMmdebstrap)
	bases := t.TempDir()
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			b := &Bootstrapper{Dir: bases, Mirror: "http://m.example/debian"}
			if _, _, err := b.Base(context.Background(), "trixie", catalog.X86_64, 1, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if calls := bootstraps(t, dir); len(calls) != 1 {
		t.Errorf("%d calls, want 1", len(calls))
	}
}

// mmdebstrap is asked to stop, so that it can remove its own folder.
func TestBaseStops(t *testing.T) {
	dir := program(t, "mmdebstrap", `trap 'touch "$here/asked"; exit 1' TERM
touch "$here/begun"
while :; do sleep 0.02; done`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(dir, "begun")); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	b := &Bootstrapper{Dir: t.TempDir(), Mirror: "http://m.example/debian"}
	if _, _, err := b.Base(ctx, "trixie", catalog.X86_64, 1, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if _, err := os.Stat(filepath.Join(dir, "asked")); err != nil {
		t.Errorf("mmdebstrap was not asked to stop: %v", err)
	}
	entries, err := os.ReadDir(b.Dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("a stop left %v, %v, want only the lock", entries, err)
	}
}
