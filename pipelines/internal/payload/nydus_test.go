package payload

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// nydusTarball packs the asset with the templates of the tree, changed by edit.
func nydusTarball(t testing.TB, edit func(root string)) archive.Component {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "opt/kata/nydus-for-kata-tee")
	from := filepath.Join("..", "..", "..", "assets", "nydus-for-kata-tee", "templates")
	if err := os.CopyFS(filepath.Join(root, "templates"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"containerd-nydus-grpc": 0o755, "nydus-overlayfs": 0o755, "config-guest-pulling.toml": 0o644} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if edit != nil {
		edit(root)
	}
	out := filepath.Join(t.TempDir(), "kata-static-nydus-for-kata-tee.tar.zst")
	if _, err := archive.Pack(t.Context(), dir, out, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	return archive.Component{Name: nydus, Path: out}
}

func TestNydus(t *testing.T) {
	o := options(t)
	o.Components = []archive.Component{nydusTarball(t, nil), o.Components[0]}
	image := make1(t, o)
	layers := image.Layers()
	i := slices.IndexFunc(image.Layers(), func(l Layer) bool { return strings.HasPrefix(l.Title, "files of") })
	if i < 0 {
		t.Fatalf("no layer has its files: %+v", image.Layers())
	}
	list, contents := members(t, layers[i])
	list = slices.DeleteFunc(list, func(line string) bool { return strings.Contains(line, "/templates/") })
	if diff := cmp.Diff([]string{
		"5 0755 opt/", "5 0755 opt/kata-artifacts/", "5 0755 opt/kata-artifacts/nydus-for-kata-tee/",
		"0 0644 opt/kata-artifacts/nydus-for-kata-tee/config-guest-pulling.toml",
		"0 0755 opt/kata-artifacts/nydus-for-kata-tee/containerd-nydus-grpc",
		"0 0755 opt/kata-artifacts/nydus-for-kata-tee/nydus-overlayfs",
		"5 0755 opt/kata-artifacts/nydus-snapshotter/",
		"2 0777 opt/kata-artifacts/nydus-snapshotter/containerd-nydus-grpc -> ../nydus-for-kata-tee/containerd-nydus-grpc",
		"2 0777 opt/kata-artifacts/nydus-snapshotter/nydus-overlayfs -> ../nydus-for-kata-tee/nydus-overlayfs",
		"0 0644 opt/kata-artifacts/nydus-snapshotter/config-guest-pulling.toml",
		"0 0644 opt/kata-artifacts/nydus-snapshotter/nydus-snapshotter.service",
	}, list); diff != "" {
		t.Error(diff)
	}
	// What kata-deploy does with them on a node, for an instance of another name.
	installed := strings.NewReplacer(
		"@SNAPSHOTTER_ROOT_DIR@", "/var/lib/nydus-for-kata-tee-x", "@SNAPSHOTTER_GRPC_SOCKET_ADDRESS@", "/run/nydus-for-kata-tee-x/containerd-nydus-grpc.sock",
		"@NYDUS_OVERLAYFS_PATH@", "/opt/kata-x/nydus-for-kata-tee/nydus-overlayfs", "@CONTAINERD_NYDUS_GRPC_BINARY@", "/opt/kata-x/nydus-for-kata-tee/containerd-nydus-grpc",
		"@CONFIG_GUEST_PULLING@", "/opt/kata-x/nydus-for-kata-tee/config-guest-pulling.toml", "@CRI_SERVICE@", "k3s.service")
	for file, wanted := range map[string][]string{
		"config-guest-pulling.toml": {
			"root = \"/var/lib/nydus-for-kata-tee-x\"\n", "address = \"/run/nydus-for-kata-tee-x/containerd-nydus-grpc.sock\"\n",
			"nydus_overlayfs_path = \"/opt/kata-x/nydus-for-kata-tee/nydus-overlayfs\"\n", "fs_driver = \"proxy\"", "enable_kata_volume = true",
		},
		"nydus-snapshotter.service": {
			"ExecStart=/opt/kata-x/nydus-for-kata-tee/containerd-nydus-grpc --config /opt/kata-x/nydus-for-kata-tee/config-guest-pulling.toml\n",
			"Before=k3s.service\n", "WantedBy=k3s.service\n", "StateDirectory=%N\n", "RuntimeDirectory=%N\n",
		},
	} {
		text := installed.Replace(contents["opt/kata-artifacts/nydus-snapshotter/"+file])
		for _, want := range wanted {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", file, want, text)
			}
		}
		if left := placeholder.FindString(text); left != "" {
			t.Errorf("%s has %s left", file, left)
		}
	}
}

func TestNydusProblems(t *testing.T) {
	write := func(root, name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(root, name string) {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		edit func(root string)
		want string
	}{
		"program":     {func(root string) { remove(root, "nydus-overlayfs") }, "it has no opt/kata/nydus-for-kata-tee/nydus-overlayfs"},
		"template":    {func(root string) { remove(root, "templates/nydus-for-kata-tee.service.in") }, "it has no opt/kata/nydus-for-kata-tee/templates/"},
		"placeholder": {func(root string) { write(root, "templates/config-guest-pulling.toml.in", "a = @NEW_ONE@\n") }, "no value for the placeholder @NEW_ONE@"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Components = []archive.Component{nydusTarball(t, c.edit)}
			if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	o := options(t)
	o.Components = []archive.Component{component(t, nydus, 100, 1)}
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "reading ") {
		t.Errorf("no tarball: %v", err)
	}
}

// TestNydusWithoutIndex has the tarball as another program packs it.
func TestNydusWithoutIndex(t *testing.T) {
	o := options(t)
	o.Components = []archive.Component{nydusTarball(t, nil)}
	want := make1(t, o).Layers()[1]
	plain := filepath.Join(t.TempDir(), "plain.tar.zst")
	script := `zstd -dc "$1" | tar -x -C "$2" && tar -C "$2" -c ./opt | zstd -q -o "$3"`
	if out, err := exec.CommandContext(t.Context(), "sh", "-ec", script, "sh", o.Components[0].Path, t.TempDir(), plain).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o.Components[0].Path = plain
	if got := make1(t, o).Layers()[1]; got.Digest != want.Digest {
		t.Errorf("%s is %s, want %s", got.Title, got.Digest, want.Digest)
	}
}
