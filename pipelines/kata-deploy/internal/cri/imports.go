package cri

import (
	"bytes"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Main is what matters of containerd's configuration.
type Main struct {
	Version int      `toml:"version"`
	Imports []string `toml:"imports"`
	Plugins table    `toml:"plugins"`
}

// Plugin returns the table of the CRI plugin of version 2, nil if there is none.
func (m Main) Plugin() map[string]any {
	plugin, _ := m.Plugins[pluginV2].(table)
	return plugin
}

// ParseMain reads a configuration of containerd.
func ParseMain(data []byte) (Main, error) {
	var m Main
	err := toml.Unmarshal(data, &m)
	return m, err
}

// DropIn returns the path of the drop-in of an installation, as this program sees it, and
// the import that Main needs, "" for none. Of a distribution that overwrites Main, it
// demands that Main imports the folder already.
func (r Runtime) DropIn(m Main, dir, suffix string) (file, imported string, err error) {
	name := strings.TrimSuffix("kata-deploy-"+suffix, "-") + ".toml"
	if m.Version < 2 {
		return "", "", fmt.Errorf("%s has no version = 2 or 3 at its top: add the one of its tables and restart %s", r.MainPath(), r.Service)
	}
	folder, own := r.DropIns[min(m.Version, 3)]
	if !own {
		imported = path.Join(dir, "containerd/config.d/kata-deploy.toml")
		return "/host" + imported, imported, nil
	}
	template := r.Templates[min(m.Version, 3)]
	if template != "" && !slices.ContainsFunc(m.Imports, func(pattern string) bool { return covers(pattern, folder, name) }) {
		return "", "", fmt.Errorf("%s, which %s made, does not import %s: add imports = [%q] to the top of %s in the same folder and restart %s",
			r.MainPath(), r.Name, folder, "<that folder>/"+folder+"/*.toml", template, r.Service)
	}
	return path.Join(ConfigDir, folder, name), "", nil
}

// covers reports whether an import names a file of a folder of drop-ins.
func covers(pattern, folder, name string) bool {
	matches, err := path.Match(path.Base(pattern), name)
	return err == nil && matches && path.Base(path.Dir(pattern)) == folder
}

// Empty is the configuration that means the defaults of containerd, for a node that has
// none.
func Empty(v Version) []byte {
	version := 3
	if v.Major < 2 {
		version = 2
	}
	return fmt.Appendf(nil, "# Made by kata-deploy: there was none, and the defaults of containerd apply.\nversion = %d\n", version)
}

// mark ends a line that AddImport made.
const mark = "# added by kata-deploy"

var versionLine = regexp.MustCompile(`(?m)^[ \t]*version[ \t]*=.*$\n?`)

// AddImport adds a path to the imports of a configuration, after all others, and leaves
// everything else as it is.
func AddImport(data []byte, file string) ([]byte, error) {
	m, err := ParseMain(data)
	if err != nil || slices.Contains(m.Imports, file) {
		return data, err
	}
	edited := slices.Clone(data)
	if array, found := findImports(data); found {
		entry := fmt.Sprintf(", %q", file)
		switch array.lastByte() {
		case '[':
			entry = strings.TrimPrefix(entry, ", ")
		case ',':
			entry = strings.TrimPrefix(entry, ",") + ","
		}
		edited = slices.Insert(edited, array.end, []byte(entry)...)
	} else {
		line := fmt.Sprintf("imports = [%q] %s\n", file, mark)
		at := 0
		if version := versionLine.FindIndex(data); version != nil {
			at = version[1]
			if data[at-1] != '\n' {
				line = "\n" + line
			}
		}
		edited = slices.Insert(edited, at, []byte(line)...)
	}
	return verified(data, edited, append(slices.Clone(m.Imports), file))
}

// RemoveImport is the inverse of AddImport.
func RemoveImport(data []byte, file string) ([]byte, error) {
	m, err := ParseMain(data)
	if err != nil || !slices.Contains(m.Imports, file) {
		return data, err
	}
	rest := slices.DeleteFunc(slices.Clone(m.Imports), func(other string) bool { return other == file })
	array, found := findImports(data)
	if !found {
		return nil, fmt.Errorf("cannot find the imports: remove %q by hand", file)
	}
	if len(rest) == 0 {
		if start, end := array.line(); bytes.HasSuffix(bytes.TrimRight(data[start:end], "\n"), []byte(mark)) {
			return verified(data, slices.Delete(slices.Clone(data), start, end), nil)
		}
	}
	start, end := array.entry(file)
	return verified(data, slices.Delete(slices.Clone(data), start, end), rest)
}

// verified returns an edited configuration if only the imports differ.
func verified(before, after []byte, imports []string) ([]byte, error) {
	var was, is table
	if err := toml.Unmarshal(before, &was); err != nil {
		return nil, err
	}
	if err := toml.Unmarshal(after, &is); err != nil {
		return nil, fmt.Errorf("editing the imports: %w: edit them by hand", err)
	}
	m, err := ParseMain(after)
	delete(was, "imports")
	delete(is, "imports")
	if err != nil || !slices.Equal(m.Imports, imports) || !reflect.DeepEqual(was, is) {
		return nil, fmt.Errorf("cannot edit the imports to %q: write them on one line, before the first table", imports)
	}
	return after, nil
}
