//go:build integration

package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// The archive that the kernel's pin names, from the real index.
func TestResolveLinux(t *testing.T) {
	r := &Resolver{StateDir: t.TempDir()}
	for range 2 {
		got, err := r.Source(t.Context(), "linux", "6.18.15-1~bpo13+1", "trixie-backports", "linux_6.18.15.orig.tar.xz")
		require.NoError(t, err)
		if want := "fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca"; got.SHA256 != want || got.Size != 157422084 {
			t.Errorf("sha256 %s, %d bytes, want %s, 157422084 bytes", got.SHA256, got.Size, want)
		}
	}
	_, err := r.Source(t.Context(), "linux", "6.18.15-1~bpo13+1", "trixie-backports", "linux_6.18.15.orig.tar.gz")
	t.Log(err)
	if err == nil {
		t.Error("no error for another file")
	}
	_, err = r.Source(t.Context(), "linux", "6.0-1", "trixie-backports", "linux_6.0.orig.tar.xz")
	t.Log(err)
	if err == nil {
		t.Error("no error for another version")
	}
}

// A real base, as a container of the engine would get it.
func TestBootstrapTrixie(t *testing.T) {
	b := &Bootstrapper{Dir: t.TempDir()}
	var log bytes.Buffer
	path, digest, err := b.Base(t.Context(), "trixie", catalog.X86_64, 1, &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	layer := readImage(t, path, digest, "amd64")
	files := map[string]string{}
	archive := tar.NewReader(bytes.NewReader(layer))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		name := strings.TrimPrefix(header.Name, "./")
		if name == "etc/apt/sources.list" || name == "etc/debian_version" || name == "etc/resolv.conf" || name == "etc/hostname" || name == strings.TrimPrefix(keyring, "/") {
			data, err := io.ReadAll(archive)
			require.NoError(t, err)
			files[name] = string(data)
		}
	}
	mirror, err := Mirror(t.Context())
	require.NoError(t, err)
	if list := files["etc/apt/sources.list"]; mirror == "" || !strings.Contains(list, mirror+" trixie main") {
		t.Errorf("sources.list %q, want the mirror %q", list, mirror)
	}
	if !strings.HasPrefix(files["etc/debian_version"], "13") {
		t.Errorf("debian_version %q", files["etc/debian_version"])
	}
	if len(files) != 3 {
		t.Errorf("files %v", files)
	}
	again := &Bootstrapper{Dir: filepath.Join(t.TempDir(), "other")}
	if _, other, err := again.Base(t.Context(), "trixie", catalog.X86_64, 1, io.Discard); err != nil || other != digest {
		t.Errorf("made again: digest %s, %v, was %s", other, err, digest)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	t.Logf("%s, %d bytes", digest, info.Size())
}
