package recipe

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
)

// goFiles adds the source of a Go program of the tree, and of all packages of the tree that
// it imports on any system. Tests are left out: they change no program.
func (r Resolver) goFiles(plan *Plan, program string) error {
	mod, err := r.Tree.Content("go.mod")
	if err != nil {
		return fmt.Errorf("the source of %s: %w", program, err)
	}
	module := modfile.ModulePath(mod.Data)
	seen := map[string]bool{program: true}
	for folders := []string{program}; len(folders) > 0; folders = folders[1:] {
		imports, err := r.goPackage(plan, folders[0])
		if err != nil {
			return fmt.Errorf("the source of %s: %w", program, err)
		}
		plan.Below = append(plan.Below, folders[0])
		for _, name := range imports {
			if below, ours := strings.CutPrefix(name, module+"/"); ours && !seen[below] {
				seen[below] = true
				folders = append(folders, below)
			}
		}
	}
	return nil
}

// goPackage adds the files of a package and returns what they import.
func (r Resolver) goPackage(plan *Plan, folder string) (imports []string, err error) {
	entries, err := fs.ReadDir(r.Tree, folder)
	if err != nil {
		return nil, err
	}
	found := false
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		content, err := r.Tree.Content(path.Join(folder, name))
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), content.Path, content.Data, parser.ImportsOnly)
		if err != nil {
			return nil, err
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			imports = append(imports, name)
		}
		plan.Files, found = append(plan.Files, content), true
	}
	if !found {
		return nil, fmt.Errorf("%s has no Go file", folder)
	}
	return imports, nil
}
