package nydus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever an instance does to its data directory when it stops is seen, but for what
// databases do.
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
			if err := os.MkdirAll(filepath.Join(dir, "snapshots/1/fs"), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"metadata.db", "snapshots/1/fs/mark"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte("content"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before, err := contents(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			after, err := contents(dir)
			if err != nil {
				t.Fatal(err)
			}
			err = lost(instances[0], before, after)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestTables(t *testing.T) {
	const dump = `version = 3
[plugins]
  [plugins.'io.containerd.cri.v1.images']
    snapshotter = 'overlayfs'
    disable_snapshot_annotations = false
[proxy_plugins."a-b".exports]
root = "/x"
`
	got := tables(dump)
	for table, want := range map[string][2]string{
		"":                                    {"version", "3"},
		"plugins.io.containerd.cri.v1.images": {"disable_snapshot_annotations", "false"},
		"proxy_plugins.a-b.exports":           {"root", "/x"},
	} {
		if value := got[table][want[0]]; value != want[1] {
			t.Errorf("[%s] %s is %q: want %q", table, want[0], value, want[1])
		}
	}
}
