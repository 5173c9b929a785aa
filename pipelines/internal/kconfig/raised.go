package kconfig

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// CheckRaised refuses fragments that request anything else than those of an earlier
// tree while the number in VersionFile is not higher. It compares the value of each
// option of a folder: comments, and moves between the files of a folder, change no
// kernel. Base names the earlier tree in the error, which has a line for each
// change.
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

// request is an option that a folder sets; another folder may set it too.
type request struct{ folder, name string }

// requests returns the options of all fragments of a tree.
func requests(tree fs.FS) (map[request]Option, error) {
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
	found := map[request]Option{}
	for _, option := range options {
		found[request{path.Dir(option.Path), option.Name}] = option
	}
	return found, errors.Join(append(problems, err)...)
}

// changes describes the differences of the second to the first, ordered by place.
func changes(before, after map[request]Option) []string {
	var changed []Option
	for r, option := range after {
		if was, there := before[r]; !there || was.Value != option.Value {
			changed = append(changed, option)
		}
	}
	slices.SortFunc(changed, func(a, b Option) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line))
	})
	var texts []string
	for _, o := range changed {
		text := fmt.Sprintf("%s: %s=%s is new", o.Pos(), o.Name, o.Value)
		if was, there := before[request{path.Dir(o.Path), o.Name}]; there {
			text = fmt.Sprintf("%s: %s is %s and was %s", o.Pos(), o.Name, o.Value, was.Value)
		}
		texts = append(texts, text)
	}
	var gone []string
	for r, option := range before {
		if _, there := after[r]; !there {
			gone = append(gone, fmt.Sprintf("%s: %s=%s is gone", r.folder, r.name, option.Value))
		}
	}
	slices.Sort(gone)
	return append(texts, gone...)
}
