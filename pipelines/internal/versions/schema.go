package versions

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// problem is one thing wrong in a file: what, where, and what to do about it.
type problem struct {
	line, column int
	text         string
}

// problems collects everything wrong in one file, so that a user sees it at once.
type problems []problem

func (p *problems) at(node *yaml.Node, format string, args ...any) {
	*p = append(*p, problem{node.Line, node.Column, fmt.Sprintf(format, args...)})
}

// join returns one error with a line "file:line:column: text" for each problem, in
// the order of the file, or nil.
func (p problems) join(file string) error {
	slices.SortStableFunc(p, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	errs := make([]error, len(p))
	for i, problem := range p {
		errs[i] = fmt.Errorf("%s:%d:%d: %s", file, problem.line, problem.column, problem.text)
	}
	return errors.Join(errs...)
}

// parse returns the root of the one document in the data, or nil and a problem.
func (p *problems) parse(data []byte) *yaml.Node {
	lines := bytes.SplitAfter(data, []byte("\n"))
	for i, line := range lines {
		if !utf8.Valid(line) {
			bad := bytes.IndexRune(line, utf8.RuneError)
			*p = append(*p, problem{i + 1, utf8.RuneCount(line[:bad]) + 1, fmt.Sprintf("byte 0x%02x is not UTF-8; save the file as UTF-8", line[bad])})
			return nil
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		*p = append(*p, problem{1, 1, "the file is empty; it needs at least the group assets"})
		return nil
	}
	if err == nil {
		err = decoder.Decode(&second)
	}
	switch {
	case err == nil:
		p.at(&second, "a second document; keep one, without a further --- line")
		return nil
	case !errors.Is(err, io.EOF):
		i := broken(lines, syntaxError(err))
		indent := len(lines[i]) - len(bytes.TrimLeft(lines[i], " \t"))
		*p = append(*p, problem{i + 1, indent + 1, "not YAML: " + syntaxError(err) + "; correct this line or the one before it"})
		return nil
	}
	return document.Content[0]
}

// broken finds the line with a syntax error: the first whose predecessors have not
// the same error. The parser itself often names the beginning of the block.
func broken(lines [][]byte, text string) int {
	i := sort.Search(len(lines), func(i int) bool {
		decoder := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:i+1], nil)))
		var err error
		for err == nil {
			err = decoder.Decode(new(yaml.Node))
		}
		return syntaxError(err) == text
	})
	return min(i, len(lines)-1)
}

// syntaxError returns the parser's message without the line.
func syntaxError(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if _, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "line ") {
		return rest
	}
	return text
}

// pair is one key of a mapping and its value.
type pair struct {
	name       string
	key, value *yaml.Node
}

// pairs returns the content of a mapping, each key once and without aliases.
func (p *problems) pairs(node *yaml.Node, where string) []pair {
	if node.Kind != yaml.MappingNode || node.ShortTag() != "!!map" {
		p.at(node, "%s: %s where a mapping belongs; write key: value lines below it", where, shape(node))
		return nil
	}
	if len(node.Content) == 0 {
		p.at(node, "%s: an empty mapping; fill or remove it", where)
	}
	var pairs []pair
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.ShortTag() == "!!merge":
			p.at(key, "%s: a merge key; write the keys out", where)
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			p.at(key, "%s: %s as a key; quote it or use a name", where, shape(key))
		case first[key.Value] != 0:
			p.at(key, "%s: duplicate %q, first on line %d; remove one", where, key.Value, first[key.Value])
		case value.Kind == yaml.AliasNode:
			first[key.Value] = key.Line
			p.at(value, "%s.%s: the alias *%s; write the value out", where, key.Value, value.Value)
		default:
			first[key.Value] = key.Line
			pairs = append(pairs, pair{key.Value, key, value})
		}
	}
	return pairs
}

// shape says what a node is, for messages.
func shape(node *yaml.Node) string {
	kinds := map[string]string{
		"!!map": "a mapping", "!!seq": "a list", "!!str": "a string", "!!null": "nothing", "!!int": "the number " + node.Value,
		"!!float": "the decimal number " + node.Value, "!!bool": "the boolean " + node.Value, "!!timestamp": "the date " + node.Value,
	}
	if node.Kind == yaml.AliasNode {
		return "an alias"
	}
	if text, known := kinds[node.ShortTag()]; known {
		return text
	}
	return "a value of type " + node.ShortTag()
}

// groups are the mappings of entries at the top of the file. Entries with a
// version need a url in the groups that are true: languages and images come by
// name, from a builder or a registry.
var groups = map[string]bool{"assets": true, "externals": true, "languages": false, "docker_images": false}

// The keys of an entry: strings for people, pins, and mappings of pins. A mapping
// below any other key but sources is an entry of its own.
var (
	proseKeys = strings.Fields("desc description format issue notes uscan-opts uscan-url")
	pinKeys   = strings.Fields(`active branch commit container_image digest extension_image image image_tag ita_image
		ita_image_tag latest lts minimum name package package_output_dir pkg ref registry release repo tag tarball_url
		toolchain url variant version`)
	tableKeys = strings.Fields("checksum images meta")
)

// entryKeys are all keys of an entry, for hints.
var entryKeys = slices.Concat(proseKeys, pinKeys, tableKeys, []string{"architecture", "sources"})

// An entry with one of versionKeys is something to download, and needs one of
// addressKeys, or the url of an entry around it.
var (
	versionKeys = []string{"version", "tag", "ref", "commit", "release", "branch", "digest", "latest", "minimum"}
	addressKeys = []string{"url", "repo", "registry", "name"}
)

// placeKinds are the keys that decide the kind of a place: it has exactly one.
var placeKinds = []string{"url", "debian", "git", "go", "goproxy"}

var (
	// plainName has no dot, which separates the names of a path.
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
	commitHex = regexp.MustCompile(`^[0-9a-f]{40}$`)
	goSum     = regexp.MustCompile(`^h1:[A-Za-z0-9+/]{43}=$`)
)
