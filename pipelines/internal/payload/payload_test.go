package payload

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// noise returns pseudorandom bytes of a seed.
func noise(size, seed int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// component writes an asset of some size; nothing here looks into its tarball.
func component(t testing.TB, name string, size, seed int) archive.Component {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kata-static-"+name+".tar.zst")
	if err := os.WriteFile(file, noise(size, seed), 0o644); err != nil {
		t.Fatal(err)
	}
	return archive.Component{Name: name, Path: file}
}

// options are those of a small image without a base.
func options(t testing.TB) Options {
	t.Helper()
	return Options{
		GoArch:     "amd64",
		Components: []archive.Component{component(t, "qemu", 30_000, 1), component(t, "kernel", 70_001, 2)},
		Files:      []File{{"versions.yaml", []byte("v: 1\n")}, {"shim-components.json", []byte("{}\n")}},
		Labels:     Labels{Version: "3.28.0", Revision: "abc", Created: time.Unix(1_700_000_000, 0), Source: "https://example.org/kata"},
		Remote:     RemoteOptions{Client: oci.NewClient(oci.Options{Pace: quick})},
	}
}

// quick is a pace for tests, on however busy a machine.
var quick = web.Pace{Tries: 4, First: time.Millisecond, Longest: 20 * time.Millisecond, Stall: time.Minute}

func make1(t testing.TB, o Options) *Image {
	t.Helper()
	image, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// notes collects what is reported.
type notes struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write takes a line of the report.
func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buffer.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buffer.String()
}

// remotes are options for a transport and a pace, reported to notes.
func remotes(transport http.RoundTripper, pace web.Pace) (RemoteOptions, *notes) {
	n := &notes{}
	report := progress.New(n, progress.Plain, nil)
	return RemoteOptions{Client: oci.NewClient(oci.Options{Transport: transport, Pace: pace, Report: report}), Report: report}, n
}

// repository opens PATH of a registry, with faults on the way.
func repository(t testing.TB, ref string, rules ...registrytest.Rule) (*Repository, *registrytest.Faults, *notes) {
	t.Helper()
	faults := &registrytest.Faults{Rules: rules}
	o, n := remotes(faults, quick)
	r, err := OpenRepository(ref, o)
	if err != nil {
		t.Fatal(err)
	}
	return r, faults, n
}

func push1(t testing.TB, r *Repository, image *Image, tags ...Tag) Pushed {
	t.Helper()
	pushed, err := r.Push(t.Context(), image, PushOptions{Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	return pushed
}

// TestMain hides the docker config of the user who runs the tests.
func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "docker-config-")
	if err == nil {
		err = errors.Join(os.Setenv("DOCKER_CONFIG", folder), os.Unsetenv("REGISTRY_AUTH_FILE"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// members reads the names, modes and contents of a layer.
func members(t testing.TB, l Layer) (list []string, contents map[string]string) {
	t.Helper()
	content, err := l.content.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	reader, contents := tar.NewReader(content), map[string]string{}
	for {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return list, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s belongs to %d:%d %q and is of %s", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		data, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		contents[h.Name] = string(data)
		line := fmt.Sprintf("%c %04o %s", h.Typeflag, h.Mode, h.Name)
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		list = append(list, line)
	}
}

// TestImage pins the digest of an image: only Options may change it.
func TestImage(t *testing.T) {
	o := options(t)
	image := make1(t, o)
	// It changes with what an image is made of, and then all layers are pushed again.
	const want = "sha256:83a2285eed5167874cea308f918c746b35c1c3c2c094ac7a389356b2e9d2c2ce"
	if image.Digest() != want {
		t.Errorf("digest %s, want %s", image.Digest(), want)
	}
	slices.Reverse(o.Components)
	slices.Reverse(o.Files)
	time.Sleep(10 * time.Millisecond)
	for _, c := range o.Components {
		if err := os.Chtimes(c.Path, time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if again := make1(t, o); again.Digest() != image.Digest() {
		t.Errorf("digest %s, then %s", image.Digest(), again.Digest())
	}
	var all []string
	for i, l := range image.Layers() {
		list, contents := members(t, l)
		all = append(all, list...)
		if info := image.Layers()[i]; info.Component != "" {
			data, err := os.ReadFile(o.Components[slices.IndexFunc(o.Components, func(c archive.Component) bool { return c.Name == info.Component })].Path)
			if err != nil || contents["opt/kata-artifacts/tarballs/"+info.Title] != string(data) {
				t.Errorf("the tarball of %s is not as it was, %v", info.Component, err)
			}
		}
	}
	if diff := cmp.Diff([]string{
		"5 0755 opt/", "5 0755 opt/kata-artifacts/", "5 0755 opt/kata-artifacts/tarballs/",
		"0 0644 opt/kata-artifacts/tarballs/kata-static-kernel.tar.zst",
		"5 0755 opt/", "5 0755 opt/kata-artifacts/", "5 0755 opt/kata-artifacts/tarballs/",
		"0 0644 opt/kata-artifacts/tarballs/kata-static-qemu.tar.zst",
		"5 0755 opt/", "5 0755 opt/kata-artifacts/",
		"0 0644 opt/kata-artifacts/shim-components.json", "0 0644 opt/kata-artifacts/versions.yaml",
	}, all); diff != "" {
		t.Error(diff)
	}
}

// TestOneLayerPerChange has another component: the other layers stay.
func TestOneLayerPerChange(t *testing.T) {
	o := options(t)
	before := make1(t, o).Layers()
	o.Components[0] = component(t, "qemu", 30_000, 3)
	o.Labels.Revision, o.Labels.Created = "def", time.Unix(1_800_000_000, 0)
	after := make1(t, o).Layers()
	for i := range before {
		if same := before[i].Digest == after[i].Digest; same == (before[i].Component == "qemu") {
			t.Errorf("%s: %s, then %s", before[i].Title, before[i].Digest, after[i].Digest)
		}
	}
}

func TestConfig(t *testing.T) {
	o := options(t)
	o.GoArch, o.Installer = "s390x", program(t, "s390x", elf.PT_LOAD)
	image := make1(t, o)
	manifest := image.manifest
	var config v1.ConfigFile
	if err := json.Unmarshal(image.raw, &config); err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "s390x" || !config.Created.Equal(o.Labels.Created) ||
		!slices.Equal(config.Config.Entrypoint, []string{"/usr/bin/kata-deploy"}) || len(config.History) != len(manifest.Layers) {
		t.Errorf("config is %+v", config)
	}
	for key, want := range map[string]string{"version": "3.28.0", "revision": "abc", "created": "2023-11-14T22:13:20Z", "licenses": "Apache-2.0"} {
		if label, said := config.Config.Labels[annotation+key], manifest.Annotations[annotation+key]; label != want || said != want {
			t.Errorf("%s is %q and %q, want %q", key, label, said, want)
		}
	}
	if list, _ := members(t, image.Layers()[0]); list[len(list)-1] != "0 0755 usr/bin/kata-deploy" {
		t.Errorf("the first layer has %q", list)
	}
	for i, l := range manifest.Layers {
		if l.MediaType != "application/vnd.oci.image.layer.v1.tar" || l.Digest.String() != config.RootFS.DiffIDs[i].String() {
			t.Errorf("layer %d is %s of type %s", i, l.Digest, l.MediaType)
		}
	}
	if l := manifest.Layers[2]; l.Annotations[componentKey] != "qemu" || len(l.Annotations) != 2 {
		t.Errorf("annotations of qemu: %v", l.Annotations)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// methods returns the requests that use the wanted methods.
func methods(f *registrytest.Faults, wanted ...string) (list []string) {
	for _, request := range f.Requests() {
		method, _, _ := strings.Cut(request, " ")
		if slices.Contains(wanted, method) {
			list = append(list, request)
		}
	}
	return list
}

// quiet is the log of an in-process registry.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// The program of the component kata-deploy is in the image, and its tarball is not.
func TestInstallerOfTheComponent(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "opt/kata/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(program(t, "amd64", elf.PT_LOAD), filepath.Join(dir, "opt/kata/bin/kata-deploy")); err != nil {
		t.Fatal(err)
	}
	c := archive.Component{Name: InstallerAsset, Path: filepath.Join(t.TempDir(), "kata-deploy.tar.zst")}
	if _, err := archive.Pack(t.Context(), dir, c.Path, archive.Options{Level: 1, ModTime: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.Components = append(o.Components, c)
	image := make1(t, o)
	if list, _ := members(t, image.Layers()[0]); list[len(list)-1] != "0 0755 usr/bin/kata-deploy" {
		t.Errorf("the first layer has %q", list)
	}
	if got := image.config.Config.Entrypoint; !slices.Equal(got, []string{"/usr/bin/kata-deploy"}) {
		t.Errorf("the image runs %q", got)
	}
	for _, l := range image.Layers() {
		if l.Component == InstallerAsset {
			t.Errorf("a layer has the tarball: %+v", l)
		}
	}
	o.Components[len(o.Components)-1] = component(t, InstallerAsset, 1000, 3)
	if _, err := Build(t.Context(), o); err == nil {
		t.Error("a component that is no tarball makes an image")
	}
}
