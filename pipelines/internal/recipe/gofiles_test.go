package recipe

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// goInput is the kernel of start as a Go program that imports a package of the tree.
func goInput() input {
	in := start()
	for name, text := range map[string]string{
		"go.mod": "module example.org/m\n", "cmd/main.go": "package main\nimport (\n\t\"fmt\"\n\t\"example.org/m/lib\"\n\t\"example.org/other\"\n)\n",
		"cmd/main_test.go": "package main\n", "lib/lib.go": "package lib\nimport \"example.org/m/lib/deep\"\n", "lib/deep/deep.go": "package deep\n",
		"lib/deep/notes.txt": "notes\n", "unused/unused.go": "package unused\n",
	} {
		in.tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	in.edit(declared, "files: [patches]", "files: [patches]\n    go: cmd")
	return in
}

func TestGoProgram(t *testing.T) {
	var got []string
	before := goInput().plan(t)
	for _, file := range before.Recipe.Files {
		if strings.HasSuffix(file.Path, ".go") {
			got = append(got, file.Path)
		}
	}
	if want := []string{"cmd/main.go", "lib/deep/deep.go", "lib/lib.go"}; !slices.Equal(got, want) {
		t.Errorf("the program is %q, want %q", got, want)
	}
	for name, changes := range map[string]bool{"cmd/main.go": true, "lib/deep/deep.go": true, "cmd/main_test.go": false, "unused/unused.go": false, "lib/deep/notes.txt": false} {
		in := goInput()
		in.tree[name].Data = append(in.tree[name].Data, '\n')
		if (in.plan(t).Key != before.Key) != changes {
			t.Errorf("a change of %s changes the key: %v, want %v", name, !changes, changes)
		}
	}
}

func TestGoProgramProblems(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"syntax":  {"lib/lib.go", "package\n", "assets/kernel/assets.yaml:20: kernel: the source of cmd: lib/lib.go:1:9: expected 'IDENT'"},
		"nothing": {"cmd/main.go", "package main\nimport \"example.org/m/unused/none\"\n", "the source of cmd: open unused/none: file does not exist"},
		"folder":  {"cmd/main.go", "package main\nimport \"example.org/m/kernel-configs\"\n", "the source of cmd: kernel-configs has no Go file"},
	} {
		in := goInput()
		in.tree[c.file].Data = []byte(c.text)
		if _, err := in.resolve(t); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want %q", name, err, c.want)
		}
	}
}
