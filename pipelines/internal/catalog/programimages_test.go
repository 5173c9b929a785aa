package catalog

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const goodImages = `kubectl:
  description: a client
  base: example.org/base@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
  arches: [x86_64]
  programs:
    usr/bin/b: {asset: tiny-user, path: opt/kata/bin/b}
    usr/bin/a: {asset: tiny, path: opt/kata/bin/a}
  files: {usr/bin/c: assets/c.sh}
  command: [/usr/bin/a]
`

func loadImages(t *testing.T, yaml string) ([]ProgramImage, error) {
	t.Helper()
	files := tree(good)
	c, err := Load(files)
	require.NoError(t, err)
	files["assets/c.sh"] = &fstest.MapFile{}
	if yaml != "" {
		files[ImagesFile] = &fstest.MapFile{Data: []byte(yaml)}
	}
	return c.LoadImages(files)
}

func TestProgramImages(t *testing.T) {
	images, err := loadImages(t, goodImages)
	require.NoError(t, err)
	if len(images) != 1 || images[0].Name != "kubectl" || images[0].Pos != "assets/images.yaml:1" || !slices.Equal(images[0].Assets(), []string{"tiny", "tiny-user"}) {
		t.Errorf("got %+v", images)
	}
	if images, err := loadImages(t, ""); err != nil || len(images) != 0 {
		t.Errorf("without the file: %v, %v", images, err)
	}
}

func TestProgramImagesRefuse(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"kubectl:", "Kubectl:", `assets/images.yaml:1: image "Kubectl": want lower-case letters`},
		{"base@sha256:", "base:", `assets/images.yaml:3: base "example.org/base:d7e`},
		{"[x86_64]", "[amd64]", "assets/images.yaml:4: write amd64 as x86_64"},
		{"[x86_64]", "[]", "assets/images.yaml:1: kubectl needs arches, an entrypoint or a command, and programs or files"},
		{"  command: [/usr/bin/a]\n", "", "kubectl needs arches, an entrypoint or a command"},
		{"asset: tiny,", "asset: tinny,", `assets/images.yaml:5: unknown asset "tinny"`},
		{"opt/kata/bin/a", "/opt/kata/bin/a", `assets/images.yaml:7: path "/opt/kata/bin/a": want that of a file in the tarball of tiny`},
		{"usr/bin/c: ", "/usr/bin/c: ", "/usr/bin/c: want a path in a folder of the image"},
		{"assets/c.sh", "assets/d.sh", "assets/images.yaml:8: file assets/d.sh does not exist"},
		{"command:", "comand:", `assets/images.yaml:9: unknown field "comand"`},
	} {
		if _, err := loadImages(t, strings.Replace(goodImages, test.old, test.new, 1)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q instead of %q: %v, want %q", test.new, test.old, err, test.want)
		}
	}
}
