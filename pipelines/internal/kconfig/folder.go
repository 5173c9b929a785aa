package kconfig

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// fragments returns the paths of the fragments to read, in order, and the problems
// of the folders. The folder of the architecture must exist too: a kernel without
// it would build, but lack half of what its guests need.
func fragments(tree fs.FS, folders []string, kernelArch string) ([]string, []error) {
	if len(folders) == 0 {
		return nil, []error{fmt.Errorf("%s: no folder named: name at least one", Root)}
	}
	var files []string
	var problems []error
	add := func(folder string, subfolders ...string) {
		found, err := list(tree, folder, subfolders)
		files = append(files, found...)
		if err != nil {
			problems = append(problems, err)
		}
	}
	for i, folder := range folders {
		if slices.Contains(folders[:i], folder) || folder == kernelArch {
			problems = append(problems, fmt.Errorf("%s/%s: duplicate folder: name it once, and never that of an architecture",
				Root, folder))
			continue
		}
		add(folder, ".", kernelArch)
		if i == 0 {
			add(kernelArch, ".")
		}
	}
	return files, problems
}

// list returns the *.conf files in the subfolders of one folder, sorted within
// each. Subfolders may be missing, but at least one file must exist.
func list(tree fs.FS, folder string, subfolders []string) ([]string, error) {
	if folder == "" || folder == "." || strings.Contains(folder, "/") || !fs.ValidPath(folder) {
		return nil, fmt.Errorf("%s: %q is not the name of a folder in it", Root, folder)
	}
	dir := path.Join(Root, folder)
	if info, err := fs.Stat(tree, dir); err != nil || !info.IsDir() {
		names := known(tree)
		return nil, fmt.Errorf("%s: no such folder: choose one of %s%s", dir, strings.Join(names, ", "), nearest.Hint(folder, names))
	}
	files, err := inFolder(tree, folder, subfolders...)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s: no fragment for this architecture: add a .conf file, or remove the folder from the kernel", dir)
	}
	return files, err
}

// inFolder returns the *.conf files in the subfolders of a folder, sorted within each.
func inFolder(tree fs.FS, folder string, subfolders ...string) (files []string, err error) {
	for _, subfolder := range subfolders {
		found, err := fs.Glob(tree, path.Join(Root, folder, subfolder, "*.conf"))
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", Root, folder, err)
		}
		files = append(files, found...)
	}
	return files, nil
}

// known returns the names of all folders, for hints.
func known(tree fs.FS) []string {
	entries, err := fs.ReadDir(tree, Root)
	if err != nil {
		return nil // The caller reports a missing folder anyway.
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}
