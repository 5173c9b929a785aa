package parity

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
)

// folder is where Kata keeps its kernels, below the root of its repository.
const folder = "tools/packaging/kernel"

// Kata is a checkout of Kata Containers.
type Kata struct {
	// ConfigVersion is its kata_config_version.
	ConfigVersion int

	tree fs.FS
}

// Open opens the checkout in a folder.
func Open(dir string) (*Kata, error) {
	name := path.Join(folder, "kata_config_version")
	k := &Kata{tree: os.DirFS(dir)}
	data, err := fs.ReadFile(k.tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s: is it a checkout of Kata Containers?", dir, name)
	}
	if err != nil {
		return nil, err
	}
	if k.ConfigVersion, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		return nil, fmt.Errorf("%s/%s: %.20q is not a number", dir, name, data)
	}
	return k, nil
}

// variable is a shell variable in a fragment that Kata's build fills in; all of them are
// empty there.
var variable = regexp.MustCompile(`\$\{\w+\}`)

// requested returns the options that Kata requests for a kernel, sorted by name, and none
// if this version of Kata does not build it. Of two lines for an option the later one
// wins, as in merge_config.sh of Linux.
func (r *Rules) requested(kata *Kata, kernel, arch string) ([]kconfig.Option, error) {
	build, err := r.build(kernel, arch, kata.ConfigVersion)
	if build == nil || err != nil {
		return nil, err
	}
	found := map[string]kconfig.Option{}
	for _, part := range r.Parts {
		if !slices.Contains(build.Parts, part.Name) {
			continue
		}
		for _, pattern := range part.Files {
			options, err := kata.read(strings.ReplaceAll(pattern, "ARCH", arch), append([]string{arch}, build.Parts...))
			if err != nil {
				return nil, fmt.Errorf("%s: part %s: %w", File, part.Name, err)
			}
			for _, option := range options {
				found[option.Name] = option
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b kconfig.Option) int { return strings.Compare(a.Name, b.Name) }), nil
}

// read returns the options of the fragments that a pattern matches, except those that
// exclude one of the tags: they contain "!TAG", as in "# !s390x !confidential".
func (k *Kata) read(pattern string, tags []string) (options []kconfig.Option, err error) {
	root := path.Join(folder, "configs/fragments")
	names, err := fs.Glob(k.tree, path.Join(root, pattern))
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("the checkout has no file %s/%s: correct the pattern", root, pattern)
	}
	for _, name := range names {
		data, err := fs.ReadFile(k.tree, name)
		if err != nil {
			return nil, err
		}
		text := string(data)
		if slices.ContainsFunc(tags, func(tag string) bool { return strings.Contains(text, "!"+tag) }) {
			continue
		}
		// merge_config.sh skips a line that is not a statement.
		found, _ := kconfig.Statements(strings.TrimPrefix(name, root+"/"), variable.ReplaceAll(data, nil))
		options = append(options, found...)
	}
	return options, err
}
