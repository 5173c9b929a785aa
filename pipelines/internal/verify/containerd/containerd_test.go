package containerd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// machine has a Go that prints its arguments, and a containerd that prints a version,
// unless that is empty.
func machine(t *testing.T, version string) host.Host {
	t.Helper()
	scripts := map[string]string{"go": `echo "compiling: $*"; exit 1`}
	if version != "" {
		scripts["containerd"] = "echo '" + version + "'"
	}
	h := verifytest.Host(t, scripts)
	h.Root, h.Cache = "../../../..", t.TempDir()
	return h
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
			found, err := Find(t.Context(), machine(t, test.says))
			if test.version == "" {
				// One that is too old is not taken, and another compiled.
				if err == nil || !strings.Contains(err.Error(), "compiling: build") || !strings.Contains(err.Error(), "cmd/containerd") {
					t.Errorf("got %v, %v: want one to be compiled", found, err)
				}
			} else if err != nil || found.Version != test.version {
				t.Errorf("got %+v, %v", found, err)
			}
		})
	}
}

func TestFindNothing(t *testing.T) {
	h := machine(t, "")
	require.NoError(t, os.Remove(filepath.Join(h.Tools, "go")))
	if _, err := Find(t.Context(), h); err == nil || !strings.Contains(err.Error(), "no go in PATH") {
		t.Errorf("without Go: %v", err)
	}
}

// A compiled program is cached, and one that failed to compile is not.
func TestCompiled(t *testing.T) {
	h := machine(t, "")
	if _, err := Find(t.Context(), h); err == nil {
		t.Fatal("a compiler that fails gave a program")
	}
	if left, err := os.ReadDir(h.Cache); err != nil || len(left) != 0 {
		t.Errorf("the cache has %v, %v", left, err)
	}
	compiler, err := h.LookPath("go")
	require.NoError(t, err)
	script := "#!/bin/sh\nfor last; do\n\tif [ \"$out\" = next ]; then printf '#!/bin/sh\\necho containerd x v2.2.2\\n' > \"$last\"; chmod 755 \"$last\"; out=; fi\n\t[ \"$last\" = -o ] && out=next\ndone\ntrue\n"
	require.NoError(t, os.WriteFile(compiler, []byte(script), 0o755))
	first, err := Find(t.Context(), h)
	if err != nil || first.Version != "2.2.2" {
		t.Fatalf("got %v, %v", first, err)
	}
	require.NoError(t, os.Remove(compiler))
	if second, err := Find(t.Context(), h); err != nil || first != second {
		t.Errorf("got %v, then %v, %v", first, second, err)
	}
}

// fake is a containerd with two plugins and two snapshots.
type fake struct {
	introspection.UnimplementedIntrospectionServer
	snapshots.UnimplementedSnapshotsServer
	asked metadata.MD
}

func (f *fake) Plugins(ctx context.Context, _ *introspection.PluginsRequest) (*introspection.PluginsResponse, error) {
	if until, limited := ctx.Deadline(); !limited || time.Until(until) > time.Minute {
		return nil, status.Error(codes.InvalidArgument, "the request has no limit of time")
	}
	f.asked, _ = metadata.FromIncomingContext(ctx)
	const kind = "io.containerd.snapshotter.v1"
	return &introspection.PluginsResponse{Plugins: []*introspection.Plugin{
		{Type: kind, ID: "overlayfs"}, {Type: kind, ID: "nydus", InitErr: status.New(codes.Unknown, "no socket").Proto()},
	}}, nil
}

func (f *fake) List(_ *snapshots.ListSnapshotsRequest, stream snapshots.Snapshots_ListServer) error {
	if until, limited := stream.Context().Deadline(); !limited || time.Until(until) > time.Minute {
		return status.Error(codes.InvalidArgument, "the stream has no limit of time")
	}
	for _, key := range []string{"child", "parent"} {
		if err := stream.Send(&snapshots.ListSnapshotsResponse{Info: []*snapshots.Info{{Name: key}}}); err != nil {
			return err
		}
	}
	return nil
}

func TestClient(t *testing.T) {
	f, server := &fake{}, grpc.NewServer()
	introspection.RegisterIntrospectionServer(server, f)
	snapshots.RegisterSnapshotsServer(server, f)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	s, err := Connect(listener.Addr().String())
	require.NoError(t, err)
	defer s.connection.Close()
	s = s.In(CRI)
	const kind = "io.containerd.snapshotter.v1"
	if err := s.Plugin(t.Context(), kind, "overlayfs"); err != nil {
		t.Error(err)
	}
	if got := f.asked.Get("containerd-namespace"); !slices.Equal(got, []string{CRI}) {
		t.Errorf("the namespace was %q", got)
	}
	if err := s.Plugin(t.Context(), kind, "nydus"); err == nil || !strings.Contains(err.Error(), "did not load the plugin nydus: no socket") {
		t.Errorf("got %v", err)
	}
	if err := s.Plugin(t.Context(), kind, "zfs"); err == nil || !strings.Contains(err.Error(), "has no plugin zfs of the type "+kind) {
		t.Errorf("got %v", err)
	}
	if keys, err := s.Snapshots(t.Context(), "overlayfs"); err != nil || !slices.Equal(keys, []string{"child", "parent"}) {
		t.Errorf("got %q, %v", keys, err)
	}
	if err := s.Remove(t.Context(), "overlayfs", "child"); err == nil || !strings.Contains(err.Error(), `Snapshots/Remove of containerd with snapshotter:"overlayfs"`) {
		t.Errorf("got %v", err)
	}
}

func TestConfigure(t *testing.T) {
	for version := 2; version <= ConfigVersion; version++ {
		dir := filepath.Join(t.TempDir(), "c")
		path, err := Configure(dir, "# drop-in\n"+Settings(dir, "one"), version)
		require.NoError(t, err)
		main, err := os.ReadFile(path)
		require.NoError(t, err)
		dropIn, err := os.ReadFile(filepath.Join(dir, "drop-in-"+strings.TrimPrefix(filepath.Base(path), "config-")))
		require.NoError(t, err)
		if want := `[plugins."io.containerd.cri.v1.images".runtime_platforms."one"]`; !strings.HasPrefix(string(dropIn), "# drop-in\n") || !strings.Contains(string(dropIn), want) {
			t.Errorf("version %d: the drop-in is\n%s", version, dropIn)
		}
		for _, line := range strings.Split(string(main)+string(dropIn), "\n") {
			if _, value, found := strings.Cut(line, ` = "/`); found && !strings.HasPrefix("/"+value, dir) {
				t.Errorf("version %d: %s is outside of %s", version, line, dir)
			}
		}
	}
}

// The registry serves the image, and records the requests.
func TestImage(t *testing.T) {
	image, err := ServeImage(t.Context(), "name", "content")
	require.NoError(t, err)
	address, name, _ := strings.Cut(image.Ref, "/")
	if name != "image@"+image.Manifest.String() {
		t.Errorf("the reference is %s", image.Ref)
	}
	for path, want := range map[string]int{
		"/v2/": 200, "/v2/image/manifests/" + image.Manifest.String(): 200, "/v2/image/blobs/" + image.Layer.String(): 200, "/v2/image/blobs/sha256:0": 404,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		require.NoError(t, err)
		reply, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		data, err := io.ReadAll(reply.Body)
		if err = errors.Join(err, reply.Body.Close()); err != nil || reply.StatusCode != want {
			t.Errorf("%s: %s, %v", path, reply.Status, err)
		}
		if got := reply.Header.Get("Docker-Content-Digest"); got != "" && got != digest.FromBytes(data).String() {
			t.Errorf("%s: the digest is %s", path, got)
		}
	}
	if asked := image.Asked(); !slices.Contains(asked, image.Manifest) || !slices.Contains(asked, image.Layer) {
		t.Errorf("it was asked for %s", asked)
	}
	if err := image.Close(); err != nil {
		t.Error(err)
	}
}
