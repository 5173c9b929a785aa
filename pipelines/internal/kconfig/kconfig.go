// Package kconfig reads the kernel configuration fragments of kernel-configs/ and
// checks the final configuration of a kernel against them: it has every requested
// option by exact name and value, or an exception says why not, and no option of
// the debug folder that the kernel does not request. See Plan.
//
// A fragment is written like a .config of Linux, with one statement per line:
// CONFIG_NAME=value, "# CONFIG_NAME is not set", a comment, or nothing. Values
// are y, m, n, a number, 0x and hex digits, or a string in double quotes.
//
// Nothing depends on the order of fragments: a duplicate option is an error. Paths
// in results and errors are relative to the repository root.
//
// The package does not evaluate Kconfig files: Linux does that during a build, and
// a final .config shows the result.
package kconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// Root is the folder of the fragments, below the repository root.
const Root = "kernel-configs"

// Option is one requested option. Name includes CONFIG_; Value is as in a
// .config, "n" for an option that must not be set. Path and Line are the place
// that requests it.
type Option struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Path  string `json:"path"`
	Line  int    `json:"line"`
}

// Pos returns "path:line".
func (o Option) Pos() string { return fmt.Sprintf("%s:%d", o.Path, o.Line) }

// Set is everything that the fragments of one kernel request.
type Set struct {
	// Files are the paths of the fragments, in the order they were read.
	Files []string
	// Options are sorted by name, each once.
	Options []Option
}

// Load reads the fragments of the named folders of kernel-configs/ for an
// architecture, named as ARCH in a Linux build. From every folder it takes
// *.conf and then <kernelArch>/*.conf; kernel-configs/<kernelArch>/*.conf, which
// every kernel of that architecture gets, comes right after the first folder.
//
// The error has a line for each problem: a folder without fragments, a line that
// is not a statement, a duplicate option.
func Load(tree fs.FS, folders []string, kernelArch string) (*Set, error) {
	files, problems := fragments(tree, folders, kernelArch)
	options, wrong := read(tree, files)
	problems = append(problems, wrong...)
	slices.SortStableFunc(options, func(a, b Option) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(options); i++ {
		if options[i].Name == options[i-1].Name {
			problems = append(problems, clash(options[i], options[i-1]))
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return &Set{files, options}, nil
}

func clash(option, other Option) error {
	if option.Value == other.Value {
		return fmt.Errorf("%s: duplicate %s=%s, already set at %s: remove one of the two",
			option.Pos(), option.Name, option.Value, other.Pos())
	}
	return fmt.Errorf("%s: %s is set to %s here and to %s at %s: keep one of the two",
		option.Pos(), option.Name, option.Value, other.Value, other.Pos())
}

// Merged returns all options as the file for KCONFIG_ALLCONFIG in a Linux build.
// It depends only on names and values, not on the fragments they come from.
func (s *Set) Merged() []byte {
	var b bytes.Buffer
	for _, option := range s.Options {
		b.WriteString(Statement(option.Name, option.Value))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

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
			return nil, fmt.Errorf("%s: %w", dir, strictyaml.Cause(err))
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
