package kconfig

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// MenuFile is the name of the fragment that a menu's changes are written to.
const MenuFile = "menuconfig.conf"

// Edited is the final configuration of a kernel before and after somebody
// changed it in the kernel's own menu. Minimal and Defaults hold the options of
// After that a person can set: Minimal, as `make savedefconfig` writes it, those
// whose values are not the defaults, and Defaults, as `make listnewconfig`
// prints them, all others. The rest of After follows from these.
type Edited struct{ Before, After, Minimal, Defaults []byte }

// Changes are what somebody did in a menu, as far as it has to be written down.
type Changes struct {
	// Chosen are the options that were set. Opened are those that only these
	// made visible and that are on by default: a kernel for which everything is
	// off that nobody requests has them only where they are requested, too.
	Chosen, Opened []Option
	// Contradicted are requested options that the menu has at another value, in
	// the order of the places that request them.
	Contradicted []Contradiction
}

// Contradiction is an option as it is requested, and the value that it has got
// in a menu instead, "n" for none.
type Contradiction struct {
	Option
	Menu string
}

// Changes returns what must be requested beside the set to get what was saved.
func (s *Set) Changes(e Edited) (Changes, error) {
	options := make([][]Option, 3)
	for i, file := range []struct {
		what string
		data []byte
	}{{"the configuration before the menu", e.Before}, {"the saved configuration", e.After}, {"the minimal configuration", e.Minimal}} {
		var err error
		if options[i], err = ParseConfig(file.what, file.data); err != nil {
			return Changes{}, err
		}
	}
	before, requested, minimal, defaults := byName(options[0]), byName(s.Options), byName(options[2]), map[string]bool{}
	for _, line := range lines(e.Defaults) {
		if name, _, ok := split(line); ok {
			defaults[name] = true
		}
	}
	var changes Changes
	for _, d := range Compare(Side{Options: options[0], Final: true}, Side{Options: options[1], Final: true}) {
		now := Option{Name: d.Name, Value: "n"}
		if d.B != nil {
			now.Value = d.B.Value
		}
		switch want := requested[d.Name]; {
		case want != nil && want.Value != now.Value:
			changes.Contradicted = append(changes.Contradicted, Contradiction{*want, now.Value})
		case want != nil:
		case minimal[d.Name] != nil, defaults[d.Name] && before[d.Name] != nil:
			changes.Chosen = append(changes.Chosen, now)
		case defaults[d.Name] && (now.Value == "y" || now.Value == "m"):
			changes.Opened = append(changes.Opened, now)
		}
	}
	slices.SortFunc(changes.Contradicted, func(a, b Contradiction) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), a.Line-b.Line)
	})
	return changes, nil
}

// Fragment returns the options that were chosen as a fragment; whose are they is
// said in a comment.
func (c Changes) Fragment(whose string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Chosen in the menu of %s. Say here what in Kata needs it.\n", whose)
	write := func(options []Option) {
		for _, option := range options {
			b.WriteString(Statement(option.Name, option.Value) + "\n")
		}
	}
	write(c.Chosen)
	if len(c.Opened) > 0 {
		b.WriteString("\n# On by default, once the above is set. Remove what nothing needs.\n")
		write(c.Opened)
	}
	return b.Bytes()
}

// MenuFragment returns the path of the fragment for a menu's changes in a folder
// below Root. The folder must be one that a kernel of these folders and this
// architecture reads, such as debug, debug/arm64 or arm64, and must not have that
// fragment yet.
func MenuFragment(tree fs.FS, folder string, folders []string, kernelArch string) (string, error) {
	readable := []string{kernelArch}
	for _, name := range folders {
		readable = append(readable, name, name+"/"+kernelArch)
	}
	if !slices.Contains(readable, folder) {
		return "", fmt.Errorf("the kernel reads no folder %q of %s: it reads %s%s", folder, Root, strings.Join(readable, ", "), nearest.Hint(folder, readable))
	}
	file := path.Join(Root, folder, MenuFile)
	if _, err := fs.Stat(tree, file); err == nil {
		return "", fmt.Errorf("%s is there already: move its options to a fragment with the name of their concern, or name another folder", file)
	}
	return file, nil
}
