//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// fillDisk leaves so many bytes on the disk of the cache until free is called.
func (w *world) fillDisk(really bool, left int64) (free func()) {
	w.Helper()
	if !really || !w.mounted {
		return func() {}
	}
	w.full.Add(1)
	var stat syscall.Statfs_t
	if err := syscall.Statfs(w.disk, &stat); err != nil {
		w.Fatal(err)
	}
	filler, err := os.Create(filepath.Join(w.disk, "filler"))
	if err != nil {
		w.Fatal(err)
	}
	if size := int64(stat.Bavail)*stat.Bsize - left; size > 0 {
		err = syscall.Fallocate(int(filler.Fd()), 0, 0, size)
	}
	if err := errors.Join(err, filler.Close()); err != nil {
		w.Fatal(err)
	}
	return func() {
		if err := os.Remove(filler.Name()); err != nil {
			w.Error(err)
		}
	}
}

// damageCache does something to a file of the cache.
func (w *world) damageCache() {
	w.Helper()
	var paths []string
	err := filepath.WalkDir(w.cache, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if len(paths) == 0 {
		return
	}
	path := paths[w.IntN(len(paths))]
	data, readErr := os.ReadFile(path)
	if err := errors.Join(err, readErr); err != nil {
		w.Fatal(err)
	}
	w.damage.Add(1)
	kind := w.IntN(6)
	fmt.Fprintf(&w.log, "damage %d to %s\n", kind, strings.TrimPrefix(path, w.cache))
	if err := os.Remove(path); err != nil {
		w.Fatal(err)
	}
	switch kind {
	case 0: // It stays away.
	case 1:
		w.write(path, data[:w.IntN(len(data)+1)])
	case 2:
		w.write(path, append(data, data...))
	case 3:
		err = os.Symlink("/etc/passwd", path)
	case 4:
		err = syscall.Mkfifo(path, 0o644)
	default:
		if len(data) > 0 {
			data[w.IntN(len(data))] ^= 1
		}
		w.write(path, data)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// poisonRegistry has an asset's key name another manifest, if it is there: one whose
// layer is hostile.
func (w *world) poisonRegistry() {
	w.Helper()
	repository := "/v2/" + w.folder + "/tiny/"
	plan, err := planOf(w.tree, "tiny", "x86_64")
	if err != nil {
		w.Fatal(err)
	}
	tag := plan.Key + "-x86_64"
	status, manifest := w.send(http.MethodGet, repository+"manifests/"+tag, "", nil)
	if status != http.StatusOK {
		return
	}
	hostile, err := filepath.Glob("internal/archive/testdata/hostile/*.tar.zst")
	if err != nil || len(hostile) == 0 {
		w.Fatal("no hostile tarballs: ", err)
	}
	data, err := os.ReadFile(hostile[w.IntN(len(hostile))])
	if err != nil {
		w.Fatal(err)
	}
	layer := fmt.Sprintf("sha256:%x", sha(data))
	if status, answer := w.send(http.MethodPost, repository+"blobs/uploads/?digest="+layer, "application/octet-stream", data); status != http.StatusCreated {
		w.Fatalf("uploading a layer: %d %s", status, answer)
	}
	_, after, _ := strings.Cut(string(manifest), `"layers":[`)
	descriptor, _, _ := strings.Cut(after, "}")
	_, old, _ := strings.Cut(descriptor, `"digest":"`)
	old, _, _ = strings.Cut(old, `"`)
	_, size, _ := strings.Cut(descriptor, `"size":`)
	size, _, _ = strings.Cut(size, ",")
	changed := strings.ReplaceAll(strings.ReplaceAll(string(manifest), old, layer), `"size":`+size, fmt.Sprintf(`"size":%d`, len(data)))
	if status, answer := w.send(http.MethodPut, repository+"manifests/"+tag, "application/vnd.oci.image.manifest.v1+json", []byte(changed)); status != http.StatusCreated {
		w.Fatalf("replacing a manifest: %d %s", status, answer)
	}
	w.poison.Add(1)
	fmt.Fprintf(&w.log, "poison: %s\n", changed)
}

// send makes a request of the registry that meets no fault.
func (w *world) send(method, path, kind string, body []byte) (int, []byte) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), method, "http://"+w.direct+path, bytes.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		w.Fatal(err)
	}
	return response.StatusCode, answer
}
