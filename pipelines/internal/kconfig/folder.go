package kconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// fragments returns the paths of the fragments to read, in order, and the problems of the
// folders. The folder of the architecture must exist too: a kernel would build without
// it, but lack half of what its guests need.
func fragments(tree fs.FS, folders []string, kernelArch string) (files []string, problems []error) {
	if len(folders) == 0 {
		return nil, []error{fmt.Errorf("%s: no folder named: name at least one", Root)}
	}
	all := slices.Insert(slices.Clone(folders), 1, kernelArch)
	for i, folder := range all {
		found, err := list(tree, folder, kernelArch)
		if slices.Contains(all[:i], folder) {
			err = fmt.Errorf("%s/%s: duplicate folder: name it once, and never that of an architecture", Root, folder)
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		files = append(files, found...)
	}
	return files, problems
}

// list returns the fragments of a folder, which must have at least one.
func list(tree fs.FS, folder, kernelArch string) ([]string, error) {
	if folder == "" || folder == "." || strings.Contains(folder, "/") || !fs.ValidPath(folder) {
		return nil, fmt.Errorf("%s: %q is not the name of a folder in it", Root, folder)
	}
	dir := path.Join(Root, folder)
	files, err := inFolder(tree, folder, kernelArch)
	if err != nil || len(files) > 0 {
		return files, err
	}
	if _, err := fs.Stat(tree, dir); err != nil {
		names := known(tree)
		return nil, fmt.Errorf("%s: no such folder: choose one of %s%s", dir, strings.Join(names, ", "), nearest.Hint(folder, names))
	}
	return nil, fmt.Errorf("%s: no fragment for this architecture: add a .conf file, or remove the folder from the kernel", dir)
}

// inFolder returns the *.conf files of a folder, and then those of its subfolder for the
// architecture, each sorted. Either folder may be missing.
func inFolder(tree fs.FS, folder, kernelArch string) (files []string, err error) {
	for _, dir := range []string{path.Join(Root, folder), path.Join(Root, folder, kernelArch)} {
		entries, err := fs.ReadDir(tree, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", dir, cause(err))
		}
		for _, entry := range entries {
			if path.Ext(entry.Name()) == ".conf" {
				files = append(files, path.Join(dir, entry.Name()))
			}
		}
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
