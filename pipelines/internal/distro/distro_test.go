package distro

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const good = `manager: apk
epoch: 2
releases: {"3.22": {image: unknown}}
parts: {base: {packages: [bash]}}
`

func TestLoadErrors(t *testing.T) {
	for name, test := range map[string]struct{ old, edited, want string }{
		"manager":      {"apk", "apkt", `f/a.yaml:1: manager is "apkt": want one of apk, apt, tdnf; did you mean "apk"?`},
		"epoch":        {"epoch: 2", "epoch: 0", "f/a.yaml:2: epoch is 0: it starts at 1"},
		"releases":     {`{"3.22": {image: unknown}}`, "{}", "f/a.yaml:3: a has no releases"},
		"image":        {"image: unknown", "image: alpine", `f/a.yaml:3: image "alpine": want NAME:TAG@sha256:<64 hex digits>, or unknown`},
		"version":      {"[bash]", "[bash=5]", `f/a.yaml:4: package "bash=5": want the name of a package, with a version only as NAME=${PIN}`},
		"twice":        {"[bash]", "[bash, bash]", "f/a.yaml:4: duplicate package bash"},
		"architecture": {"[bash]", "[bash], arches: {arm64: [dash]}", `f/a.yaml:4: unknown architecture "arm64"`},
		"field":        {"epoch", "epok", `f/a.yaml:2: unknown field "epok"; did you mean "epoch"?`},
	} {
		tree := fstest.MapFS{"f/a.yaml": {Data: []byte(strings.Replace(good, test.old, test.edited, 1))}}
		if _, err := Load(tree, "f", "a"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestLock writes a lock and reads it.
func TestLock(t *testing.T) {
	lock := Lock{"alpine", "3.22", []Package{{"bash", "5.2-r0", "Q1abc="}, {"musl", "1.2", "Q1def="}}}
	data, err := lock.Write()
	require.NoError(t, err)
	want := "# All packages of this root filesystem. Written by `pipelines rootfs lock`.\n" + `distribution: alpine
release: "3.22"
packages:
  - {name: bash, version: 5.2-r0, hash: Q1abc=}
  - {name: musl, version: "1.2", hash: Q1def=}
`
	if string(data) != want {
		t.Errorf("wrote\n%s", data)
	}
	got, found, err := ReadLock(fstest.MapFS{"l": {Data: data}}, "l")
	if err != nil || !found || len(got.Packages) != 2 || got.Packages[1] != lock.Packages[1] {
		t.Errorf("read %+v, %v, %v", got, found, err)
	}
	for edit, want := range map[[2]string]string{
		{`"1.2"`, `""`}:    "l:6: a locked package needs a name, a version and a hash: run `pipelines rootfs lock`",
		{"musl", "abash"}:  "l:6: abash comes after bash: locked packages are sorted, each once",
		{"hash", "sha256"}: `l:5: unknown field "sha256"`,
	} {
		text := strings.Replace(string(data), edit[0], edit[1], 1)
		if _, _, err := ReadLock(fstest.MapFS{"l": {Data: []byte(text)}}, "l"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", edit, err, want)
		}
	}
}
