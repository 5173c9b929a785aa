package nydus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// Any change of the data directory when an instance stops is found, except in databases.
func TestLost(t *testing.T) {
	for name, test := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"nothing":  {func(string) error { return nil }, ""},
		"database": {func(dir string) error { return os.WriteFile(dir+"/metadata.db", []byte("more"), 0o600) }, ""},
		"new file": {func(dir string) error { return os.WriteFile(dir+"/more", nil, 0o600) }, ""},
		"no database": {func(dir string) error { return os.Remove(dir + "/metadata.db") },
			"stopping nydus-for-kata-tee removed"},
		"no snapshot": {func(dir string) error { return os.RemoveAll(dir + "/snapshots/1") },
			"snapshots/1"},
		"other content": {func(dir string) error { return os.WriteFile(dir+"/snapshots/1/fs/mark", []byte("x"), 0o600) },
			"stopping nydus-for-kata-tee changed"},
		"link instead": {func(dir string) error {
			path := dir + "/snapshots/1/fs/mark"
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink("/dev/null", path)
		}, "changed"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "snapshots/1/fs"), 0o700))
			for _, file := range []string{"metadata.db", "snapshots/1/fs/mark"} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte("content"), 0o600))
			}
			before, err := contents(dir)
			require.NoError(t, err)
			require.NoError(t, test.change(dir))
			after, err := contents(dir)
			require.NoError(t, err)
			err = lost(instances[0], before, after)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestCheckDump(t *testing.T) {
	const dump = `version = 3
[plugins]
  [plugins.'io.containerd.cri.v1.images']
    snapshotter = 'overlayfs'
    disable_snapshot_annotations = false
[proxy_plugins.nydus-for-kata-tee]
type = "snapshot"
address = "/x/run/nydus-for-kata-tee/containerd-nydus-grpc.sock"
exports = { root = "/x/lib/nydus-for-kata-tee" }
[proxy_plugins."nydus-for-kata-tee-host-share"]
type = "snapshot"
address = "/x/run/nydus-for-kata-tee-host-share/containerd-nydus-grpc.sock"
[proxy_plugins."nydus-for-kata-tee-host-share".exports]
root = "/x/lib/nydus-for-kata-tee-host-share"
`
	r := &run{dir: "/x"}
	if err := r.checkDump(dump); err != nil {
		t.Error(err)
	}
	for _, test := range []struct{ old, new, want string }{
		{"annotations = false", "annotations = true", `disable_snapshot_annotations is "true" in [plugins.io.containerd.cri.v1.images]`},
		{"disable_snapshot_annotations = false", "", `disable_snapshot_annotations is "<nil>"`},
		{`type = "snapshot"`, `type = "content"`, `the proxy plugin nydus-for-kata-tee has type "content"`},
		{`root = "/x/lib/nydus-for-kata-tee-host-share"`, `root = "/y"`, `nydus-for-kata-tee-host-share exports the root "/y"`},
		{"version = 3", "version = [", "reading the dumped configuration"},
	} {
		if err := r.checkDump(strings.Replace(dump, test.old, test.new, 1)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}
