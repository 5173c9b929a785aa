package nydus_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// render runs the script that fills in templates, with an environment.
func render(t *testing.T, templates, output string, values []string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(nydusFamily, "render.sh"), templates, output)
	cmd.Env = append(slices.Clone(values), "PATH="+os.Getenv("PATH"))
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// A placeholder without a value is an error that names it, and leaves no file.
func TestUnsetPlaceholders(t *testing.T) {
	for _, value := range nydusValues {
		name, _, _ := strings.Cut(value, "=")
		t.Run(name, func(t *testing.T) {
			output := t.TempDir()
			values := slices.DeleteFunc(slices.Clone(nydusValues), func(v string) bool { return v == value })
			said, err := render(t, filepath.Join(nydusFamily, "templates"), output, values)
			if want := "the placeholder @" + name + "@ has no value: set the variable " + name; err == nil || !strings.Contains(said, want) {
				t.Errorf("%v: %s\nwant %s", err, said, want)
			}
			files, err := filepath.Glob(output + "/*")
			require.NoError(t, err)
			for _, file := range files {
				if data, err := os.ReadFile(file); err != nil || strings.Contains(string(data), "@"+name+"@") || strings.HasSuffix(file, ".new") {
					t.Errorf("%s was left: %v", file, err)
				}
			}
		})
	}
}

func TestBadValues(t *testing.T) {
	for name, test := range map[string]struct{ value, want string }{
		"quote":     {`NYDUS_IMAGE=/a"b`, `NYDUS_IMAGE is "/a"b": want a path without spaces and quotes`},
		"relative":  {"KATA_PREFIX=opt", "want a path that begins with /"},
		"name":      {"SNAPSHOTTER=nydus/x", "want lower case letters, digits and dashes"},
		"unit":      {"CRI_SERVICE=a b", "want the name of a systemd unit"},
		"same name": {"SNAPSHOTTER=nydus-for-kata-tee-host-share", "they would share a data directory"},
		"long name": {"SNAPSHOTTER=" + strings.Repeat("n", 62), "it has 71 bytes, and the snapshotter takes 70"},
	} {
		t.Run(name, func(t *testing.T) {
			said, err := render(t, filepath.Join(nydusFamily, "templates"), t.TempDir(), append(slices.Clone(nydusValues), test.value))
			if err == nil || !strings.Contains(said, test.want) {
				t.Errorf("%v: %s\nwant %s", err, said, test.want)
			}
		})
	}
	if said, err := render(t, t.TempDir(), t.TempDir(), nydusValues); err == nil || !strings.Contains(said, "no template in") {
		t.Errorf("a folder without templates: %v: %s", err, said)
	}
}

// A value is plain text, whatever characters it has, and a line may have several.
func TestRender(t *testing.T) {
	templates, output := t.TempDir(), t.TempDir()
	const template = "a @CRI_SERVICE@ b @KATA_PREFIX@@CRI_SERVICE@ me@example @lower@\n"
	require.WriteFile(t, filepath.Join(templates, "file.in"), template)
	if said, err := render(t, templates, output, append(slices.Clone(nydusValues), "CRI_SERVICE=x@1.service")); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	data, err := os.ReadFile(filepath.Join(output, "file"))
	if want := "a x@1.service b /opt/katax@1.service me@example @lower@\n"; err != nil || string(data) != want {
		t.Errorf("got %q, %v; want %q", data, err, want)
	}
}

// The asset has the options that verify expects.
func TestNydusOptions(t *testing.T) {
	data, err := os.ReadFile(nydusFamily + "/assets.yaml")
	require.NoError(t, err)
	var family struct {
		Assets []struct{ Options map[string]string }
	}
	require.NoError(t, yaml.Unmarshal(data, &family))
	var options []string
	for name, value := range family.Assets[0].Options {
		options = append(options, name+"="+value)
	}
	slices.Sort(options)
	if !slices.Equal(options, nydusValues) {
		t.Errorf("the asset has the options %q: want %q", options, nydusValues)
	}
}
