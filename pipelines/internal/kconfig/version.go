package kconfig

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// VersionFile holds the number that Kata raises with every change of the fragments;
// it is part of the names of installed kernels.
const VersionFile = Root + "/kata_config_version"

// ConfigVersion reads kernel-configs/kata_config_version.
func ConfigVersion(tree fs.FS) (int, error) {
	data, err := fs.ReadFile(tree, VersionFile)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: write the number of the configuration to it", VersionFile, strictyaml.Cause(err))
	}
	text := strings.TrimSpace(string(data))
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 || strconv.Itoa(number) != text {
		return 0, fmt.Errorf("%s:1: %s is not a positive number such as 188", VersionFile, quote(text))
	}
	return number, nil
}

// number has no leading zero: package semver takes no version that has one.
const number = `(?:0|[1-9]\d{0,5})`

var (
	// A release candidate counts as its release, because it has the same options. A build
	// can append anything, as in "-rc1+" or "-kata".
	versionText = regexp.MustCompile(`^v?(` + number + `\.` + number + `)(\.` + number + `)?(?:[-+].*)?$`)
	boundText   = regexp.MustCompile(`^(>=|<) *(` + number + `\.` + number + `(?:\.` + number + `)?)$`)
)

// parseVersion returns the numbers of a version of Linux, for package semver.
func parseVersion(text string) (string, error) {
	m := versionText.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s is not a version of Linux such as v6.18.15 or 6.19-rc1", quote(text))
	}
	return m[1] + cmp.Or(m[2], ".0"), nil
}

// bound is one end of a range of versions: at least version, or below it.
type bound struct {
	below   bool
	version string
}

// parseRange reads bounds separated by commas; "" is the range of all versions.
func parseRange(text string) ([]bound, error) {
	if text == "" {
		return nil, nil
	}
	var bounds []bound
	for part := range strings.SplitSeq(text, ",") {
		m := boundText.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return nil, fmt.Errorf("versions are %s: want a range such as \">=6.18, <6.20\"", quote(text))
		}
		version, _ := parseVersion(m[2]) // No other version matches.
		bounds = append(bounds, bound{m[1] == "<", version})
	}
	return bounds, nil
}

// holds compares a version that parseVersion has returned.
func (b bound) holds(version string) bool { return semver.Newer(b.version, version) == b.below }

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
