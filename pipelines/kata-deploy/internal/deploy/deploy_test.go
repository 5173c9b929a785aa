package deploy

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs: run go test -update and look at the difference\n%s", name, got)
	}
}

// uninstall removes the DaemonSet and cleans up.
func (w *world) uninstall(changes ...string) error {
	w.t.Helper()
	w.api.daemonSets = nil
	return w.cleanup(changes...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestInstallAndRemove(t *testing.T) {
	w := newWorld(t)
	before, files := w.read("/etc/containerd/config.toml"), w.tree("/")
	must(t, w.install())
	golden(t, "tree.txt", w.tree("/"))
	golden(t, "dropin-v3.toml", w.read("/host/opt/kata/containerd/config.d/kata-deploy.toml"))
	golden(t, "config.toml", w.read("/etc/containerd/config.toml"))
	if got := w.called(); got != "daemon-reload; restart containerd" {
		t.Errorf("systemctl was asked: %s", got)
	}
	if w.api.labels["katacontainers.io/kata-runtime"] != "true" || strings.Join(w.api.events, " ") != "KataInstalled" {
		t.Errorf("labels %v, events %v", w.api.labels, w.api.events)
	}
	// Nothing changes the second time, and nothing is restarted.
	must(t, w.install())
	if got := w.called(); got != "" {
		t.Errorf("the second install asked systemctl: %s", got)
	}
	// While the DaemonSet exists, the installation stays.
	must(t, w.cleanup())
	if !strings.Contains(w.tree("/"), "/host/opt/kata/bin/") {
		t.Error("cleanup removed the installation of a DaemonSet that exists")
	}
	must(t, w.uninstall())
	if got := w.tree("/"); got != files+"/host/run/kata-deploy/opt-kata.lock\n" && got != strings.Replace(files, "\n", "\n/host/run/kata-deploy/opt-kata.lock\n", 1) {
		t.Errorf("left behind:\n%s", got)
	}
	if got := w.read("/etc/containerd/config.toml"); got != before {
		t.Errorf("containerd's configuration is not as before:\n%s", got)
	}
	if got := w.called(); got != "daemon-reload; restart containerd" {
		t.Errorf("systemctl was asked: %s", got)
	}
	if _, found := w.api.labels["katacontainers.io/kata-runtime"]; found {
		t.Error("the label is still there")
	}
}
