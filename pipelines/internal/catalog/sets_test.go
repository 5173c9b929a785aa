package catalog

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const goodSets = `# a comment
kata-static:
  x86_64: [tiny-user, tiny]
  aarch64: [tiny]
kata-tools: {}
`

func loadSets(yaml string) (*Catalog, error) {
	files := tree(good)
	files[SetsFile] = &fstest.MapFile{Data: []byte(yaml)}
	return Load(files)
}

func TestSets(t *testing.T) {
	c, err := loadSets(goodSets)
	require.NoError(t, err)
	set, err := c.FindSet("kata-static")
	require.NoError(t, err)
	if set.Pos != "assets/sets.yaml:2" {
		t.Errorf("pos = %s", set.Pos)
	}
	if names, err := set.On(X86_64); err != nil || !slices.Equal(names, []string{"tiny-user", "tiny"}) {
		t.Errorf("on x86_64: %q, %v: the order is that of the file", names, err)
	}
	for _, test := range []struct {
		name string
		arch Arch
		want string
	}{
		{"kata-static", S390X, "assets/sets.yaml:2: release set kata-static has no assets on s390x, only on x86_64, aarch64"},
		{"kata-tools", X86_64, "assets/sets.yaml:5: release set kata-tools has no assets yet: add the first one there"},
		{"kata-statc", X86_64, `unknown release set "kata-statc": assets/sets.yaml declares kata-static, kata-tools; did you mean "kata-static"?`},
	} {
		set, err := c.FindSet(test.name)
		if err == nil {
			_, err = set.On(test.arch)
		}
		if err == nil || err.Error() != test.want {
			t.Errorf("%s on %s: %v, want %s", test.name, test.arch, err, test.want)
		}
	}
	// A tree that releases nothing has no file.
	c, err = Load(tree(good))
	if err != nil || c.Sets != nil {
		t.Errorf("without a file: %v, %v", c.Sets, err)
	}
}

// TestSetErrors has one edit of the good file, or another file, for each rule.
func TestSetErrors(t *testing.T) {
	for name, test := range map[string]struct{ from, to, want string }{
		"unknown asset":      {"[tiny-user, tiny]", "[tiny-user, tyny]", `assets/sets.yaml:3: unknown asset "tyny"; did you mean "tiny"?`},
		"twice":              {"[tiny-user, tiny]", "[tiny, tiny-user, tiny]", "assets/sets.yaml:3: duplicate asset tiny"},
		"not on the arch":    {"aarch64: [tiny]", "aarch64: [tiny-user]", "assets/sets.yaml:4: tiny-user does not exist on aarch64: assets/tiny/assets.yaml:18 declares it for x86_64"},
		"unknown arch":       {"aarch64: [tiny]", "aarch65: [tiny]", `assets/sets.yaml:4: unknown architecture "aarch65"`},
		"Go's name":          {"aarch64: [tiny]", "arm64: [tiny]", "assets/sets.yaml:4: write arm64 as aarch64"},
		"empty list":         {"aarch64: [tiny]", "aarch64: []", "assets/sets.yaml:4: kata-static has no assets on aarch64: name some, or leave the architecture out"},
		"bad name":           {"kata-tools:", "Kata_Tools:", `assets/sets.yaml:5: release set "Kata_Tools"`},
		"set twice":          {"kata-tools: {}", "kata-static: {}", `assets/sets.yaml:5: mapping key "kata-static" already defined at line 2`},
		"not a list":         {"aarch64: [tiny]", "aarch64: tiny", "assets/sets.yaml:4: want a list, and found `tiny`"},
		"broken":             {"{}", "{", "assets/sets.yaml:5: did not find expected node content"},
		"empty":              {goodSets, "", "assets/sets.yaml: the file is empty"},
		"only a comment":     {goodSets, "# none\n", "assets/sets.yaml: the file is empty"},
		"two documents":      {"kata-tools: {}\n", "kata-tools: {}\n---\na: {}\n", "assets/sets.yaml: more than one document in the file"},
		"list":               {goodSets, "- kata-static\n", "assets/sets.yaml:1: want a mapping, and found a list"},
		"asset has problems": {"[tiny-user, tiny]", "[a, b]", "assets/sets.yaml:3: unknown asset \"a\" (`list` prints all assets)\nassets/sets.yaml:3: unknown asset \"b\""},
	} {
		yaml := strings.Replace(goodSets, test.from, test.to, 1)
		if yaml == goodSets {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := loadSets(yaml); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

func TestBudget(t *testing.T) {
	with := func(budget string) (*Catalog, error) {
		return Load(tree(strings.Replace(good, "    files: [data]\n", "    files: [data]\n    budget: "+budget+"\n", 1)))
	}
	for text, want := range map[string]Bytes{"40 MiB": 40 << 20, "1.5GiB": 3 << 29, "512 B": 512, "2 KiB": 2048} {
		c, err := with(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if a, err := c.Find("tiny", X86_64); err != nil || a.Budget != want {
			t.Errorf("%s is %d (%v), want %d", text, a.Budget, err, want)
		}
	}
	for _, text := range []string{"40", "40 MB", "0 MiB", "-1 MiB", "NaN MiB", "Inf MiB", "1e300 GiB", "MiB", "[1]"} {
		_, err := with(text)
		if err == nil || !strings.HasPrefix(err.Error(), "assets/tiny/assets.yaml:18: ") || !strings.Contains(err.Error(), "such as 40 MiB") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestRepositorySets holds the tree's sets to the names that releases have, on all
// architectures of Kata's releases.
func TestRepositorySets(t *testing.T) {
	c, err := Load(os.DirFS("../../.."))
	require.NoError(t, err)
	set, err := c.FindSet("kata-static")
	require.NoError(t, err)
	if _, err := c.FindSet("kata-tools"); err != nil {
		t.Error(err)
	}
	for _, arch := range []Arch{X86_64, AArch64, S390X, PPC64LE} {
		if _, err := set.On(arch); err != nil {
			t.Error(err)
		}
	}
}
