package payload

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// layoutOf makes an OCI layout of one layer.
func layoutOf(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	dir := t.TempDir()
	put := func(data []byte) digest.Digest {
		d := digest.FromBytes(data)
		write(t, blob(dir, d), string(data))
		return d
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, h := range headers {
		h.Mode = 0o755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	manifest, _ := json.Marshal(map[string]any{"layers": []any{map[string]any{"digest": put(layer.Bytes())}}})
	index, _ := json.Marshal(map[string]any{"manifests": []any{map[string]any{"digest": put(manifest)}}})
	write(t, filepath.Join(dir, "index.json"), string(index))
	return dir
}

func TestImage(t *testing.T) {
	program := tar.Header{Name: installer, Typeflag: tar.TypeReg}
	for name, test := range map[string]struct{ layout, want string }{
		"none":         {t.TempDir(), "write one with payload build"},
		"no installer": {layoutOf(t, tar.Header{Name: "opt/x", Typeflag: tar.TypeReg}), "without --installer none"},
		"no shims":     {layoutOf(t, program), "shim-components.json"},
		"outside":      {layoutOf(t, tar.Header{Name: "opt", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, tar.Header{Name: "opt/x", Typeflag: tar.TypeReg}), "path escapes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Payload{Layout: test.layout, Arch: "x86_64"}.image(filepath.Join(t.TempDir(), "image"))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A node's tree notices what is there, how it changes, and not what belongs to others.
func TestTree(t *testing.T) {
	root, cache := t.TempDir(), treeCache{}
	read := func() tree {
		got, err := cache.read(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	write(t, filepath.Join(root, "opt/kata/bin/qemu"), "one")
	write(t, filepath.Join(root, "etc/same"), "same")
	before := read()
	write(t, filepath.Join(root, "opt/kata/bin/qemu"), "two")
	write(t, filepath.Join(root, "opt/new"), "")
	write(t, filepath.Join(root, "var/lib/nydus-for-kata-tee-two/data"), "")
	if err := os.Remove(filepath.Join(root, "etc/same")); err != nil {
		t.Fatal(err)
	}
	diff := before.differences(read())
	for i, want := range []string{"- /etc/same", "~ /opt/kata/bin/qemu ", "+ /opt/new", "+ /var/lib"} {
		if i >= len(diff) || !strings.HasPrefix(diff[i], want) {
			t.Fatalf("got %q, want %s", diff, want)
		}
	}
	if part := before.installation(); len(part) != 3 || len(part.differences(read().installation())) != 1 {
		t.Errorf("got %v", part)
	}
}

// The container of a DaemonSet has its variables, and the node's folders in their places.
func TestPodOfTemplate(t *testing.T) {
	var rendered object
	err := yaml.Unmarshal([]byte(`metadata: {name: kata-deploy-two}
spec:
  template:
    spec:
      serviceAccountName: sa
      containers:
        - command: [/usr/bin/kata-deploy, install]
          env:
            - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
            - {name: DEBUG, value: "false"}
          volumeMounts: [{name: conf, mountPath: /etc/containerd/}, {name: host, mountPath: /host/}]
      volumes: [{name: host, hostPath: {path: /}}, {name: conf, hostPath: {path: /etc/k0s/}}]
`), &rendered)
	if err != nil {
		t.Fatal(err)
	}
	var p pod
	p.read(rendered)
	if diff := cmp.Diff([]string{"NODE_NAME=node", "DEBUG=false"}, p.env); diff != "" || p.name != "kata-deploy-two" || p.account != "sa" {
		t.Errorf("got %+v\n%s", p, diff)
	}
	for at, want := range map[string]string{"/host/opt/kata": "/opt/kata", "/etc/containerd/containerd.d/x": "/etc/k0s/containerd.d/x", "/usr/bin": "/usr/bin"} {
		if got := p.onNode(at); got != want {
			t.Errorf("%s is %s on the node: want %s", at, got, want)
		}
	}
}

func TestImporting(t *testing.T) {
	if got := importing("version = 3\nimports = ['a']\nroot = 'b'", "/c/*.toml"); got != "version = 3\nimports = [\"/c/*.toml\"]\nroot = 'b'" {
		t.Errorf("got %s", got)
	}
}

// Without an image there is one check.
func TestCheckWithoutImage(t *testing.T) {
	r := &report.Report{}
	if err := (Payload{Layout: t.TempDir()}).Check(t.Context(), r, host.Host{}); err != nil || r.Failed != 1 || len(r.Checks) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}
