package versions

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// maxSize is far more than any versions.yaml: a bigger file is another one.
const maxSize = 1 << 20

// Load reads a file. It refuses, each with "file:line:column: what; what to do" and
// all of them in one error: anything but one UTF-8 YAML document of at most 1 MiB,
// unknown and duplicate keys, aliases and merge keys, numbers and dates where a
// string belongs, a version without a url, and a place that lacks a hash or is not
// of exactly one kind.
//
// The warnings, in the order of the file, name the entries that a build could not
// download: in assets or externals, with a url and a version, and without sources.
// A distribution, which has a name, is not a download.
func Load(path string) (*File, []Warning, error) {
	data, err := files.ReadNamed(path, maxSize)
	if err != nil {
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		return nil, nil, fmt.Errorf("%s: not readable: %w; give the path of a versions.yaml", path, err)
	}
	return Parse(path, data)
}

// Parse is Load for the content of a file.
func Parse(path string, data []byte) (*File, []Warning, error) {
	if len(data) > maxSize {
		return nil, nil, fmt.Errorf("%s: %d bytes, want at most %d", path, len(data), maxSize)
	}
	l := loader{file: &File{Path: path, pins: map[string]string{}, sources: map[string]Source{}}}
	if root := l.parse(data); root != nil {
		l.document(root)
	}
	if err := l.join(path); err != nil {
		return nil, nil, err
	}
	return l.file, l.warnings, nil
}

// loader fills a file from its nodes.
type loader struct {
	problems
	file     *File
	warnings []Warning
}

// inherited is what an entry has from those around it.
type inherited struct {
	needsURL, sources bool
	url               string
}

func (l *loader) document(root *yaml.Node) {
	for _, top := range l.pairs(root, "the file") {
		needsURL, known := groups[top.name]
		switch {
		case slices.Contains(proseKeys, top.name):
			l.text(top, "")
		case !known:
			l.unknown(top, "the file", slices.Sorted(maps.Keys(groups)))
		default:
			l.group(top, inherited{needsURL: needsURL})
		}
	}
}

func (l *loader) group(group pair, from inherited) {
	for _, pair := range l.pairs(group.value, group.name) {
		if slices.Contains(proseKeys, pair.name) {
			l.text(pair, group.name)
		} else {
			l.entry(group.name, pair, from)
		}
	}
}

func (l *loader) entry(parent string, entry pair, from inherited) {
	path := parent + "." + entry.name
	if !plainName.MatchString(entry.name) {
		l.at(entry.key, "%s: the name %q has characters other than letters, digits, - and _; rename it", parent, entry.name)
	}
	pairs := l.pairs(entry.value, path)
	versioned := scalarOf(pairs, versionKeys) != nil
	if from.needsURL && versioned && from.url == "" && scalarOf(pairs, addressKeys) == nil {
		l.at(entry.key, "%s has a version but no url; add url: \"https://...\"", path)
	}
	// Sources belong to the url of the same entry, not to another one.
	if own := scalarOf(pairs, []string{"url"}); own != nil && own.Value != from.url {
		from.url, from.sources = own.Value, false
	}
	from.sources = from.sources || slices.ContainsFunc(pairs, func(p pair) bool { return p.name == "sources" })
	if from.needsURL && versioned && from.url != "" && !from.sources && scalarOf(pairs, []string{"name"}) == nil {
		l.warnings = append(l.warnings, Warning{l.file.Path, entry.key.Line, path +
			" has no sources, so it cannot be downloaded; add sources: with a place and its sha256"})
	}
	for _, pair := range pairs {
		l.field(path, pair, from)
	}
}

// scalarOf returns the value of the first key that has one of the names and a
// scalar, or nil.
func scalarOf(pairs []pair, names []string) *yaml.Node {
	for _, pair := range pairs {
		if slices.Contains(names, pair.name) && pair.value.Kind == yaml.ScalarNode {
			return pair.value
		}
	}
	return nil
}

// field reads one key of an entry.
func (l *loader) field(path string, pair pair, from inherited) {
	switch {
	case slices.Contains(proseKeys, pair.name):
		l.text(pair, path)
	case pair.name == "sources":
		l.sources(path, pair)
	case slices.Contains(tableKeys, pair.name):
		l.table(path+"."+pair.name, pair.value)
	case pair.value.Kind == yaml.MappingNode:
		l.entry(path, pair, from)
	case slices.Contains(pinKeys, pair.name):
		l.pin(path, pair)
	default:
		l.unknown(pair, path, entryKeys)
	}
}

// table reads a mapping whose keys are names of any kind.
func (l *loader) table(path string, node *yaml.Node) {
	for _, row := range l.pairs(node, path) {
		if slices.Contains(proseKeys, row.name) {
			l.text(row, path)
		} else {
			l.pin(path, row)
		}
	}
}

func (l *loader) pin(path string, pair pair) {
	if value, ok := l.text(pair, path); ok {
		l.file.pins[path+"."+pair.name] = value
	}
}

func (l *loader) unknown(pair pair, where string, known []string) {
	hint := nearest.Hint(pair.name, known)
	if hint == "" {
		hint = "; known keys are " + strings.Join(known, ", ")
	}
	l.at(pair.key, "%s: unknown key %q%s", where, pair.name, hint)
}

// text returns a string that is not empty.
func (l *loader) text(pair pair, path string) (string, bool) {
	name := strings.TrimPrefix(path+"."+pair.name, ".")
	value := pair.value
	if value.Kind != yaml.ScalarNode {
		l.at(value, "%s: %s where a string belongs; write %s: \"...\"", name, shape(value), pair.name)
		return "", false
	}
	if value.ShortTag() != "!!str" {
		advice := fmt.Sprintf("quote it: %s: %q", pair.name, value.Value)
		if value.Value == "" {
			advice = fmt.Sprintf("write %s: \"...\"", pair.name)
		}
		l.at(value, "%s: %s where a string belongs; %s", name, shape(value), advice)
		return "", false
	}
	if strings.TrimSpace(value.Value) == "" {
		l.at(value, "%s is empty; write a value or remove the key", name)
		return "", false
	}
	return value.Value, true
}
