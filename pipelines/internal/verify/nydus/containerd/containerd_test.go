package containerd

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// finder is for a machine with a Go that prints what it is asked, and with a
// containerd that prints a version if it is not empty.
func finder(t *testing.T, version string) Finder {
	t.Helper()
	scripts := map[string]string{"go": `echo "compiling: $*"; exit 1`}
	if version != "" {
		scripts["containerd"], scripts["ctr"] = "echo '"+version+"'", "exit 1"
	}
	f := Finder{verifytest.Host(t, scripts)}
	f.Root, f.Cache = "../../../../..", t.TempDir()
	return f
}

func TestFind(t *testing.T) {
	for name, test := range map[string]struct{ says, version string }{
		"upstream":   {"containerd github.com/containerd/containerd/v2 v2.2.2 1c4457e00f", "2.2.2"},
		"newer":      {"containerd github.com/containerd/containerd/v2 2.10.0~ds1 2.10.0~ds1-1", "2.10.0~ds1"},
		"older":      {"containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6", ""},
		"nearly":     {"containerd github.com/containerd/containerd/v2 v2.2.1 x", ""},
		"silent":     {" ", ""},
		"no version": {"containerd", ""},
		"none":       {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := finder(t, test.says).Find(t.Context())
			if test.version == "" {
				// One that is too old is not taken, and another compiled.
				if err == nil || !strings.Contains(err.Error(), "compiling: build") || !strings.Contains(err.Error(), "cmd/ctr") {
					t.Errorf("got %v, %v: want one to be compiled", found, err)
				}
			} else if err != nil || found.Version != test.version {
				t.Errorf("got %+v, %v", found, err)
			}
		})
	}
}

func TestFindNothing(t *testing.T) {
	f := finder(t, "containerd x v2.2.2")
	if err := os.Remove(filepath.Join(f.Tools, "ctr")); err != nil {
		t.Fatal(err)
	}
	if found, err := f.Find(t.Context()); err == nil || !strings.Contains(err.Error(), "compiling: build") {
		t.Errorf("without a client: got %+v, %v", found, err)
	}
	if err := os.Remove(filepath.Join(f.Tools, "go")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Find(t.Context()); err == nil || !strings.Contains(err.Error(), "no go in PATH") {
		t.Errorf("without Go: %v", err)
	}
}

// What was compiled is there for the next time, and what failed is not.
func TestCompiled(t *testing.T) {
	f := finder(t, "")
	if _, err := f.Puller(t.Context()); err == nil {
		t.Fatal("a compiler that fails gave a program")
	}
	if left, err := os.ReadDir(f.Cache); err != nil || len(left) != 0 {
		t.Errorf("the cache has %v, %v", left, err)
	}
	compiler, err := f.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nfor last; do\n\tif [ \"$out\" = next ]; then mkdir -p \"$last\"; echo program > \"$last/pull\"; out=; fi\n\t[ \"$last\" = -o ] && out=next\ndone\ntrue\n"
	if err := os.WriteFile(compiler, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := f.Puller(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(compiler); err != nil {
		t.Fatal(err)
	}
	second, err := f.Puller(t.Context())
	if err != nil || first != second {
		t.Errorf("got %s, then %s, %v", first, second, err)
	}
	if data, err := os.ReadFile(second); err != nil || string(data) != "program\n" {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestParsePlugins(t *testing.T) {
	const text = `TYPE                            ID                  PLATFORMS      STATUS
io.containerd.snapshotter.v1    overlayfs           linux/amd64    ok
io.containerd.snapshotter.v1    nydus-for-kata-tee  -              error
`
	plugins, err := parsePlugins(text)
	want := Plugin{Type: "io.containerd.snapshotter.v1", ID: "nydus-for-kata-tee", Status: "error"}
	if err != nil || len(plugins) != 2 || plugins[1] != want {
		t.Errorf("got %+v, %v", plugins, err)
	}
	if plugins, err := parsePlugins("TYPE\nwhat is this\n"); err == nil {
		t.Errorf("got %+v", plugins)
	}
}

func TestConfigure(t *testing.T) {
	for version, runtime := range map[int]string{
		2: `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes."one"]`,
		3: `[plugins."io.containerd.cri.v1.images".runtime_platforms."one"]`,
	} {
		dir := t.TempDir()
		path, err := Installed{}.Configure(dir, "# drop-in\n", version, "one")
		if err != nil {
			t.Fatal(err)
		}
		main, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		dropIn, err := os.ReadFile(filepath.Join(dir, "drop-in-"+strings.TrimPrefix(filepath.Base(path), "config-")))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(dropIn), "# drop-in\n") || !strings.Contains(string(dropIn), runtime) {
			t.Errorf("version %d: the drop-in is\n%s", version, dropIn)
		}
		for _, line := range strings.Split(string(main)+string(dropIn), "\n") {
			if _, value, found := strings.Cut(line, ` = "/`); found && !strings.HasPrefix("/"+value, dir) {
				t.Errorf("version %d: %s is outside of %s", version, line, dir)
			}
		}
	}
}

// The registry has what is asked for, and knows it afterwards.
func TestImage(t *testing.T) {
	image, err := NewImage("name", "content")
	if err != nil {
		t.Fatal(err)
	}
	stop, err := image.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address, _, _ := strings.Cut(image.Ref, "/")
	for path, want := range map[string]int{
		"/v2/": 200, "/v2/image/manifests/one": 200, "/v2/image/blobs/" + image.Layer: 200, "/v2/image/blobs/sha256:0": 404,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(reply.Body)
		if err = errors.Join(err, reply.Body.Close()); err != nil || reply.StatusCode != want {
			t.Errorf("%s: %s, %v", path, reply.Status, err)
		}
		if digest := reply.Header.Get("Docker-Content-Digest"); digest != "" && digest != digestOf(data) {
			t.Errorf("%s: the digest is %s", path, digest)
		}
	}
	asked := strings.Join(image.Asked(), " ")
	if !strings.Contains(asked, image.Manifest) || !strings.Contains(asked, image.Layer) {
		t.Errorf("it was asked for %s", asked)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
