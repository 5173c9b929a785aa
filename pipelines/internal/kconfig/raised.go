package kconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// CheckRaised fails if the fragments request other options than those of an earlier tree
// and the number in VersionFile is not higher. It compares the value of each option of a
// folder: comments, and moves between the files of a folder, change no kernel. Base names
// the earlier tree in the error, which has a line for each change.
func CheckRaised(earlier, now fs.FS, base string) error {
	before, err := requests(earlier)
	if err != nil {
		return fmt.Errorf("reading the fragments of %s: %w", base, err)
	}
	after, err := requests(now)
	if err != nil {
		return err
	}
	changes := changes(before, after)
	if len(changes) == 0 || len(before) == 0 {
		return nil
	}
	old, err := ConfigVersion(earlier)
	if err != nil {
		return fmt.Errorf("reading the configuration version of %s: %w", base, err)
	}
	version, err := ConfigVersion(now)
	if err != nil || version > old {
		return err
	}
	const limit = 10
	if more := len(changes) - limit; more > 0 {
		changes = append(changes[:limit:limit], fmt.Sprintf("and %d more changes of requested options", more))
	}
	return fmt.Errorf("%s\n%s:1: requested options changed since %s, but the version is %d here and %d there: raise it to %d",
		strings.Join(changes, "\n"), VersionFile, base, version, old, old+1)
}

// requests returns the options of all fragments of a tree, by folder and name, because two
// folders may set the same option.
func requests(tree fs.FS) (map[string]Option, error) {
	var files []string
	err := fs.WalkDir(tree, Root, func(file string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && file == Root {
			return nil // A tree without fragments.
		}
		if err == nil && !entry.IsDir() && path.Ext(file) == ".conf" {
			files = append(files, file)
		}
		return err
	})
	options, problems := read(tree, files)
	found := map[string]Option{}
	for _, option := range options {
		found[path.Join(path.Dir(option.Path), option.Name)] = option
	}
	return found, errors.Join(append(problems, err)...)
}

// changes describes the differences between two trees, by folder and name.
func changes(before, after map[string]Option) []string {
	all := maps.Clone(before)
	maps.Copy(all, after)
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		was, had := before[key]
		is, has := after[key]
		switch {
		case !has:
			texts = append(texts, fmt.Sprintf("%s: %s=%s is gone", path.Dir(was.Path), was.Name, was.Value))
		case !had:
			texts = append(texts, fmt.Sprintf("%s: %s=%s is new", is.Pos(), is.Name, is.Value))
		case was.Value != is.Value:
			texts = append(texts, fmt.Sprintf("%s: %s is %s and was %s", is.Pos(), is.Name, is.Value, was.Value))
		}
	}
	return texts
}
