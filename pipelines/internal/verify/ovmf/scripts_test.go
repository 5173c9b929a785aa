package ovmf

import (
	"archive/tar"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// family is the folder of the firmware.
const family = "../../../../assets/ovmf"

// submodules are the folders of the list, and for those that are used the source and a
// file of it.
func submodules(t *testing.T) (list [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(family, "submodules"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] != "#" {
			list = append(list, words)
		}
	}
	return list
}

// write writes a tar with these files.
func write(t *testing.T, file string, files map[string]string) {
	t.Helper()
	out, err := os.Create(file)
	require.NoError(t, err)
	defer out.Close()
	w := tar.NewWriter(out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}))
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	require.NoError(t, w.Close())
}

// sources writes those of one version: edk2 in a folder, with its submodules in their
// folders or as archives of their own.
func sources(t *testing.T, dir, folder string, whole bool) {
	t.Helper()
	edk2 := map[string]string{folder + "/.gitmodules": "", folder + "/OvmfPkg/a": "old\n"}
	archives := map[string]map[string]string{}
	for _, words := range submodules(t) {
		edk2[folder+"/.gitmodules"] += "\tpath = " + words[0] + "\n"
		if words[1] != "-" {
			archives[words[1]] = map[string]string{"source/" + words[2]: "x"}
			if whole {
				edk2[path.Join(folder, words[0], words[2])] = "x"
			}
		}
	}
	write(t, filepath.Join(dir, "edk2"), edk2)
	for name, files := range archives {
		if whole {
			files = edk2
		}
		write(t, filepath.Join(dir, name), files)
	}
}

func TestUnpack(t *testing.T) {
	const patch = "--- a/OvmfPkg/a\n+++ b/OvmfPkg/a\n@@ -1 +1 @@\n-old\n+new\n"
	debian := map[string]string{
		"debian/changelog":      "edk2 (2025.02-8+deb13u1) trixie; urgency=medium\n",
		"debian/patches/series": "# all\na.patch\n", "debian/patches/a.patch": patch,
	}
	changed := func(file, content string) map[string]string {
		files := maps.Clone(debian)
		files[file] = content
		return files
	}
	for title, test := range map[string]struct {
		version, folder string
		whole           bool
		patches         map[string]string
		// want is the version that guests see and the content of the patched file, or what
		// a step that fails prints.
		want string
	}{
		"commit":          {"edk2-stable202508", "source", false, nil, "edk2-stable202508\nold\n"},
		"upstream":        {"edk2-stable202502", "edk2-edk2-stable202502", false, debian, "edk2-stable202502-debian-2025.02-8+deb13u1\nnew\n"},
		"debian":          {"edk2-stable202502", "edk2-2025.02", true, debian, "edk2-stable202502-debian-2025.02-8+deb13u1\nnew\n"},
		"another version": {"edk2-stable202508", "edk2-2025.02", true, debian, "the source is edk2-2025.02, but versions.yaml pins edk2-stable202508"},
		"no changelog":    {"edk2-stable202502", "edk2-2025.02", true, changed("debian/changelog", "linux\n"), `the source "patches" is not Debian's of edk2`},
		"bad patch":       {"edk2-stable202502", "edk2-2025.02", true, changed("debian/patches/a.patch", strings.Replace(patch, "-old", "-odd", 1)), "Debian's patch a.patch does not apply to edk2-2025.02"},
	} {
		t.Run(title, func(t *testing.T) {
			dir := t.TempDir()
			sources(t, dir, test.folder, test.whole)
			if test.patches != nil {
				write(t, filepath.Join(dir, "patches"), test.patches)
			}
			build := filepath.Join(dir, "build")
			files, err := filepath.Abs("../../../..")
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(family, "unpack.sh"))
			cmd.Env = []string{
				"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "EDK2_VERSION=" + test.version,
				"FILES=" + files, "BUILD=" + build, "SOURCES=" + dir,
			}
			printed, err := cmd.CombinedOutput()
			got := string(printed)
			if err == nil {
				version, _ := os.ReadFile(filepath.Join(build, "version"))
				file, _ := os.ReadFile(filepath.Join(build, "edk2/OvmfPkg/a"))
				got = string(version) + string(file)
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %v and\n%s\nwant %s", err, got, test.want)
			}
		})
	}
}
