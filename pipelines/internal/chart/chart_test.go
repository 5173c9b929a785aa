package chart_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/chart"
)

// shims returns what the tree ships.
func shims(t *testing.T) *catalog.Shims {
	t.Helper()
	tree := os.DirFS("../../..")
	assets, err := catalog.Load(tree)
	if err != nil {
		t.Fatal(err)
	}
	shims, err := assets.LoadShims(tree)
	if err != nil {
		t.Fatal(err)
	}
	return shims
}

// packaged returns the chart of the tree with some options.
func packaged(t *testing.T, o chart.Options) *chart.Chart {
	t.Helper()
	var err error
	if o.Shims, err = shims(t).JSON(); err != nil {
		t.Fatal(err)
	}
	c, err := chart.Package(os.DirFS("../../.."), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// unpack returns the files of a package.
func unpack(t *testing.T, data []byte) map[string]string {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for from := tar.NewReader(plain); ; {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return content
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		content[header.Name] = string(data)
	}
}

func TestPackage(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("ab", 32)
	o := chart.Options{Version: "3.29.0-rc0", Image: "registry.example/kata-deploy" + digest}
	c := packaged(t, o)
	if c.File() != "kata-deploy-3.29.0-rc0.tgz" || c.Tag() != "3.29.0-rc0" {
		t.Errorf("it is the file %s and the tag %s", c.File(), c.Tag())
	}
	if again := packaged(t, o); !bytes.Equal(again.Data, c.Data) {
		t.Error("packaged twice, it is not the same")
	}
	content := unpack(t, c.Data)
	type image struct{ Reference, Tag string }
	var values struct {
		Image        image
		KubectlImage image `yaml:"kubectlImage"`
	}
	if err := yaml.Unmarshal([]byte(content["kata-deploy/values.yaml"]), &values); err != nil {
		t.Fatal(err)
	}
	if values.Image.Reference != "registry.example/kata-deploy"+digest || values.Image.Tag != "" {
		t.Errorf("the image is %+v", values.Image)
	}
	if values.KubectlImage.Reference != "quay.io/kata-containers/kubectl" || values.KubectlImage.Tag != "latest" {
		t.Errorf("the image of kubectl is %+v, which nothing sets", values.KubectlImage)
	}
	if !strings.Contains(content["kata-deploy/Chart.yaml"], "version: \"3.29.0-rc0\"\nappVersion: \"3.29.0-rc0\"\n") {
		t.Errorf("Chart.yaml has other versions:\n%s", content["kata-deploy/Chart.yaml"])
	}
	if !strings.Contains(content["kata-deploy/"+chart.ShimsFile], `"qemu"`) {
		t.Error("it does not list what is shipped")
	}
	if !strings.Contains(string(c.Config), `"version":"3.29.0-rc0"`) {
		t.Errorf("its config in a registry is %s", c.Config)
	}
}

func TestPackageRefuses(t *testing.T) {
	ok := fstest.MapFS{}
	for name, content := range map[string]string{
		".helmignore": "", "Chart.yaml": "name: x\nversion: 0.0.0\nappVersion: 0.0.0\n", "values.yaml": "image:\n  reference: a\n  tag: b\n",
	} {
		ok[chart.Dir+"/"+name] = &fstest.MapFile{Data: []byte(content)}
	}
	for _, test := range []struct {
		name, file, content, want string
		o                         chart.Options
	}{
		{"no version", "", "", `version of the chart is "latest": want three numbers`, chart.Options{Version: "latest"}},
		{"no chart", "Chart.yaml", "", "chart/Chart.yaml: it has no name", chart.Options{Version: "1.0.0"}},
		{"no image", "values.yaml", "kubectlImage: {}\n", "chart/values.yaml: it has no image.reference", chart.Options{Version: "1.0.0", Image: "a@b"}},
		{"no YAML", "values.yaml", "a: [", "chart/values.yaml: yaml: line 1", chart.Options{Version: "1.0.0", Image: "a@b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := maps.Clone(ok)
			if test.file != "" {
				tree[chart.Dir+"/"+test.file] = &fstest.MapFile{Data: []byte(test.content)}
			}
			if _, err := chart.Package(tree, test.o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
	if _, err := chart.Package(ok, chart.Options{Version: "1.0.0", Image: "a@b"}); err != nil {
		t.Error(err)
	}
}

// The values of the tree list the shims that it ships, on the architectures where it
// ships them.
func TestValuesListTheShims(t *testing.T) {
	var values struct {
		Shims map[string]any
	}
	data, err := os.ReadFile("../../../" + chart.Dir + "/values.yaml")
	if err == nil {
		err = yaml.Unmarshal(data, &values)
	}
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string][]string{}
	for name, shim := range values.Shims {
		if about, ok := shim.(map[string]any); ok {
			for _, arch := range about["supportedArches"].([]any) {
				listed[name] = append(listed[name], arch.(string))
			}
		}
	}
	shipped := map[string][]string{}
	for _, class := range shims(t).Classes {
		for _, arch := range catalog.Arches() {
			if len(class.Components[arch]) > 0 {
				shipped[class.Name] = append(shipped[class.Name], arch.GoArch())
			}
		}
	}
	for _, arches := range []map[string][]string{listed, shipped} {
		for _, list := range arches {
			slices.Sort(list)
		}
	}
	if diff := cmp.Diff(shipped, listed); diff != "" {
		t.Errorf("values.yaml differs from assets/shims.yaml (-shipped +listed):\n%s", diff)
	}
}
