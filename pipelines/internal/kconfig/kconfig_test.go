package kconfig

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// TestCases goes the way of a build with each tree in testdata/cases. The first
// line of a case holds architecture, version and folders, its file "want" what
// came out. An error ends a case.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
			archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(runCase(archive))})
			require.Golden(t, file, txtar.Format(archive))
		})
	}
}

func runCase(archive *txtar.Archive) string {
	tree := fstest.MapFS{}
	var final []byte
	var facts *Facts
	for _, file := range archive.Files {
		switch file.Name {
		case "final.config":
			final = file.Data
			continue
		case "final.config.facts":
			var err error
			if facts, err = ParseFacts(file.Data); err != nil {
				return fmt.Sprintf("ParseFacts: %v\n", err)
			}
			continue
		}
		tree[file.Name] = &fstest.MapFile{Data: file.Data, Mode: 0o644}
	}
	line, _, _ := strings.Cut(string(archive.Comment), "\n")
	fields := strings.Fields(line)
	arch, version, folders := fields[0], fields[1], fields[2:]
	set, err := Load(tree, folders, arch)
	if err != nil {
		return fmt.Sprintf("Load: %v\n", err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "files: %s\n", strings.Join(set.Files, " "))
	fmt.Fprintf(&out, "merged:\n%s", set.Merged())
	if _, ok := tree[ExceptionsFile]; !ok && final != nil {
		tree[ExceptionsFile] = &fstest.MapFile{Data: []byte("exceptions: []\n")}
	}
	tree[VersionFile] = &fstest.MapFile{Data: []byte("188\n")}
	plan, err := NewPlan(tree, folders, arch, version)
	if err != nil {
		fmt.Fprintf(&out, "NewPlan: %v\n", err)
		return out.String()
	}
	fmt.Fprintf(&out, "tolerated: %v\n", plan.Tolerated())
	if final != nil {
		fmt.Fprintf(&out, "Check: %v\n", plan.Check(final, facts))
	}
	return out.String()
}

func TestLoadKeepsPlaces(t *testing.T) {
	tree := fstest.MapFS{
		"kernel-configs/common/base.conf": {Data: []byte("# first\n\nCONFIG_SMP=y\nCONFIG_AIO=n")},
		"kernel-configs/x86_64/a.conf":    {Data: []byte("# CONFIG_KVM is not set\n")},
	}
	set, err := Load(tree, []string{"common"}, "x86_64")
	require.NoError(t, err)
	want := []Option{
		{"CONFIG_AIO", "n", "kernel-configs/common/base.conf", 4},
		{"CONFIG_KVM", "n", "kernel-configs/x86_64/a.conf", 1},
		{"CONFIG_SMP", "y", "kernel-configs/common/base.conf", 3},
	}
	if diff := cmp.Diff(want, set.Options); diff != "" {
		t.Error(diff)
	}
}

// What txtar cannot hold: carriage returns, other bytes, an unreadable file.
func TestLoadRefusesOddBytes(t *testing.T) {
	for name, data := range map[string]string{
		"carriage return": "CONFIG_SMP=y\r\n",
		"not UTF-8":       "CONFIG_SMP=\xff\n",
		"zero byte":       "CONFIG_SMP=y\x00\n",
		"tab in a string": "CONFIG_CMDLINE=\"a\tb\"\n",
		"byte order mark": "\ufeffCONFIG_SMP=y\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := parse("f.conf", []byte(data))
			if len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), "f.conf:1: ") {
				t.Errorf("problems are %v, want one at f.conf:1", problems)
			}
		})
	}
}

func TestLoadNamesUnreadableFiles(t *testing.T) {
	tree := fstest.MapFS{
		"kernel-configs/common/base.conf": {Data: []byte("CONFIG_SMP=y\n")},
		"kernel-configs/x86_64/a.conf":    {Mode: fs.ModeSymlink | 0o777, Data: []byte("nowhere")},
	}
	_, err := Load(tree, []string{"common"}, "x86_64")
	if err == nil || !strings.HasPrefix(err.Error(), "kernel-configs/x86_64/a.conf: ") {
		t.Errorf("error is %v, want one that begins with the path", err)
	}
}

func TestToleratedIsNeverNil(t *testing.T) {
	if got := (&Plan{Requested: &Set{}}).Tolerated(); got == nil || len(got) != 0 {
		t.Errorf("%#v, want an empty list", got)
	}
}

func TestConfigVersion(t *testing.T) {
	for _, test := range []struct {
		data string
		want int
		err  string
	}{
		{"188\n", 188, ""},
		{"1", 1, ""},
		{"", 0, `kernel-configs/kata_config_version:1: "" is not a positive number such as 188`},
		{"0\n", 0, `kernel-configs/kata_config_version:1: "0" is not a positive number such as 188`},
		{"+7\n", 0, `kernel-configs/kata_config_version:1: "+7" is not a positive number such as 188`},
		{"188dev\n", 0, `kernel-configs/kata_config_version:1: "188dev" is not a positive number such as 188`},
		{"-", 0, `kernel-configs/kata_config_version: file does not exist: write the number of the configuration to it`},
	} {
		tree := fstest.MapFS{}
		if test.data != "-" {
			tree[VersionFile] = &fstest.MapFile{Data: []byte(test.data)}
		}
		got, err := ConfigVersion(tree)
		if got != test.want || fmt.Sprint(err) != cmpOr(test.err, "<nil>") {
			t.Errorf("%q: got %d, %v", test.data, got, err)
		}
	}
}

func cmpOr(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// TestRepositoryExceptions reads what no kernel of the tree's tests would.
func TestRepositoryExceptions(t *testing.T) {
	tree := os.DirFS("../../..")
	if _, err := LoadExceptions(tree); err != nil {
		t.Error(err)
	}
	if _, err := ConfigVersion(tree); err != nil {
		t.Error(err)
	}
}

// FuzzParse: whatever is accepted comes back the same from a merged file, and
// is met by a final .config of just these lines.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"CONFIG_SMP=y\n# CONFIG_AIO is not set\n", "CONFIG_A=\"\\\"\"", "# x\n\nCONFIG_B=0x1f\r\n", "CONFIG_C=-0", "\xff", "CONFIG_=n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree := fstest.MapFS{
			"kernel-configs/a/a.conf":    {Data: data},
			"kernel-configs/s390/a.conf": {Data: []byte("CONFIG_S390=y\n")},
		}
		set, err := Load(tree, []string{"a"}, "s390")
		if err != nil {
			return
		}
		merged := set.Merged()
		require.NoError(t, (&Plan{Arch: "s390", Version: "6.18", Requested: set}).Check(merged, nil))
		again, problems := parse("merged", merged)
		if len(problems) > 0 || len(again) != len(set.Options) {
			t.Fatalf("merged file is not read back: %v", problems)
		}
		for i, option := range again {
			if o := set.Options[i]; o.Name != option.Name || o.Value != option.Value {
				t.Fatalf("%v came back as %v", o, option)
			}
		}
	})
}

// A .config means the same with the line ends of Windows. A fragment has them only by
// mistake: its bytes are in the key.
func TestLineEndsOfWindows(t *testing.T) {
	text := "CONFIG_SMP=y\n# CONFIG_AIO is not set\nCONFIG_NAME=\"a\"\n"
	want, err := ParseConfig("c", []byte(text))
	require.NoError(t, err)
	windows := []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	if got, err := ParseConfig("c", windows); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	tree := fstest.MapFS{
		"kernel-configs/common/base.conf": {Data: append([]byte("# first\n"), windows...)},
		"kernel-configs/x86_64/a.conf":    {Data: []byte("CONFIG_KVM=y\n")},
	}
	const refused = "kernel-configs/common/base.conf:2: the lines end in CR LF, as on Windows: check the file out again, or convert it with dos2unix"
	if _, err := Load(tree, []string{"common"}, "x86_64"); err == nil || err.Error() != refused {
		t.Errorf("got %v, want %s", err, refused)
	}
}

// TestLineEndsOfGit: a checkout has the bytes that are committed.
func TestLineEndsOfGit(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skip("not a checkout")
	}
	for _, file := range []string{"versions.yaml", "assets/kernel/build.sh", "kernel-configs/common/base.conf"} {
		cmd := exec.CommandContext(t.Context(), "git", "check-attr", "text", "--", file)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != file+": text: unset\n" {
			t.Errorf("%s, %v", out, err)
		}
	}
}

// FuzzConfig looks for a .config that is read as something else when it is written again.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("CONFIG_SMP=y\n# CONFIG_AIO is not set\nCONFIG_NAME=\"a\"\n# a comment\n"))
	f.Add([]byte("CONFIG_SMP=y\r\n# !s390x\r\n# CONFIG_AIO is not set.\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fragment, problems := parse("f", data)
		for _, err := range problems {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("no position: %v", err)
			}
		}
		if config, err := ParseConfig("f", data); err == nil {
			again, err := ParseConfig("f", (&Set{Options: config}).Merged())
			if err != nil || len(again) != len(config) {
				t.Errorf("%v became %v, %v", config, again, err)
			}
		}
		if len(problems) > 0 {
			return
		}
		again, problems := parse("f", (&Set{Options: fragment}).Merged())
		if len(problems) > 0 || len(again) != len(fragment) {
			t.Errorf("%v became %v, %v", fragment, again, problems)
		}
	})
}

// FuzzExceptions looks for exceptions that pass the checks without their bounds.
func FuzzExceptions(f *testing.F) {
	f.Add([]byte("exceptions:\n  - {option: CONFIG_A, reason: \"b\", arches: [arm64], versions: \">=6.18, <6.20\"}\n"))
	f.Add([]byte("exceptions: []\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		exceptions, err := LoadExceptions(fstest.MapFS{ExceptionsFile: {Data: data}})
		if err != nil {
			if !strings.HasPrefix(err.Error(), ExceptionsFile+":") {
				t.Errorf("no position: %v", err)
			}
			return
		}
		for _, e := range exceptions {
			if (e.Versions == "") != (len(e.bounds) == 0) || e.Line == 0 {
				t.Errorf("%+v", e)
			}
		}
	})
}
