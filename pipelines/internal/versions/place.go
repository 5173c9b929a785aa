package versions

import (
	"io/fs"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

func (l *loader) sources(path string, field pair) {
	for _, source := range l.pairs(field.value, path+".sources") {
		where := path + "." + source.name
		if !plainName.MatchString(source.name) {
			l.at(source.key, "%s: the source name %q has characters other than letters, digits, - and _; rename it", path, source.name)
		}
		if source.value.Kind != yaml.SequenceNode {
			l.at(source.value, "%s: %s where a list of places belongs; write - name: lines below it", where, shape(source.value))
			continue
		}
		l.file.sources[where] = Source{Name: source.name, Places: l.places(where, source.value)}
	}
}

func (l *loader) places(source string, list *yaml.Node) []Place {
	if len(list.Content) == 0 {
		l.at(list, "%s: no places; add one, or remove the source", source)
	}
	places := make([]Place, len(list.Content))
	first := map[string]int{}
	for i, node := range list.Content {
		places[i] = l.place(source, node)
		name := places[i].Name
		switch {
		case name == "":
		case first[name] != 0:
			l.at(node, "%s: duplicate place %q, first on line %d; rename one", source, name, first[name])
		default:
			first[name] = node.Line
		}
	}
	return places
}

// place reads one place; its problems are reported with the path of the source.
func (l *loader) place(source string, node *yaml.Node) Place {
	place := Place{Line: node.Line}
	values := l.fill(node, source+", a place", reflect.ValueOf(&place).Elem())
	if values == nil {
		return place
	}
	l.kind(source+", a place", node, values)
	l.matches(values["sha256"], sha256Hex, place.SHA256, source+": the sha256 %q is not 64 lower-case hex digits; take it from sha256sum")
	if place.URL != "" {
		l.address(values["url"], place.URL, source)
	}
	if g := place.Git; g != nil {
		l.git(g, values["git"], source)
	}
	if d := place.Debian; d != nil && strings.Contains(d.File, "/") {
		l.at(values["debian"], "%s: the file %q has a folder; write only its name", source, d.File)
	}
	if g := place.Go; g != nil {
		l.matches(values["go"], goSum, g.Sum, source+": the sum %q is not h1: and 44 characters; take it from go mod download -json")
	}
	return place
}

// fill reads a mapping into a struct, by the yaml tags of its fields, and returns
// the values by name, nil for anything but a mapping. A field with omitempty may be
// missing.
func (l *loader) fill(node *yaml.Node, where string, into reflect.Value) map[string]*yaml.Node {
	pairs := l.pairs(node, where)
	if pairs == nil {
		return nil
	}
	values := map[string]*yaml.Node{}
	for _, pair := range pairs {
		values[pair.name] = pair.value
	}
	var known []string
	for i := range into.NumField() {
		name, optional, _ := strings.Cut(into.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		known = append(known, name)
		if values[name] == nil && optional == "" {
			l.at(node, "%s without a %s; add it", where, name)
		} else if values[name] != nil {
			l.value(pair{name: name, value: values[name]}, where, into.Field(i))
		}
	}
	for _, pair := range pairs {
		if !slices.Contains(known, pair.name) {
			l.unknown(pair, where, known)
		}
	}
	return values
}

// value reads one value of a struct: a string, a size or a struct.
func (l *loader) value(pair pair, where string, into reflect.Value) {
	switch into.Kind() {
	case reflect.String:
		text, _ := l.text(pair, where)
		into.SetString(text)
	case reflect.Int64:
		size, err := strconv.ParseInt(pair.value.Value, 10, 64)
		if err != nil || size <= 0 || pair.value.ShortTag() != "!!int" {
			l.at(pair.value, "%s: the %s %q is not a number of bytes; write one like 157422084, or none", where, pair.name, pair.value.Value)
		}
		into.SetInt(size)
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		l.fill(pair.value, where+" of kind "+pair.name, into.Elem())
	}
}

// kind checks that a place is of exactly one kind, and that it has a hash.
func (l *loader) kind(where string, node *yaml.Node, values map[string]*yaml.Node) {
	kinds := slices.DeleteFunc(slices.Clone(placeKinds), func(kind string) bool { return values[kind] == nil })
	switch {
	case len(kinds) == 0:
		l.at(node, "%s without a kind; add one of %s", where, strings.Join(placeKinds, ", "))
	case len(kinds) > 1:
		l.at(node, "%s of several kinds: %s; make a place of each", where, strings.Join(kinds, " and "))
	case kinds[0] == "go" && values["sha256"] != nil:
		l.at(node, "%s that is a Go module with a sha256; remove it, the sum is the hash", where)
	case kinds[0] != "go" && kinds[0] != "git" && values["sha256"] == nil:
		l.at(node, "%s without a sha256; add that of the file", where)
	}
}

// matches checks the form of a value unless it is empty.
func (l *loader) matches(node *yaml.Node, form *regexp.Regexp, value, format string) {
	if value != "" && !form.MatchString(value) {
		l.at(node, format, value)
	}
}

// address checks the address of a download.
func (l *loader) address(node *yaml.Node, value, where string) {
	parsed, err := url.Parse(value)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
		l.at(node, "%s: %q is not an address; write https://host/path", where, value)
	}
}

func (l *loader) git(g *Git, node *yaml.Node, where string) {
	if (g.Commit == "") == (g.Ref == "") {
		l.at(node, "%s, a git place: it needs either a commit, or a ref whose commit is not known yet; write one of them", where)
	}
	if g.URL != "" {
		l.address(node, g.URL, where)
	}
	l.matches(node, commitHex, g.Commit, where+": the commit %q is not 40 lower-case hex digits; a tag or branch may move, so take what git rev-parse TAG^{commit} prints")
	if g.Path != "" && (!fs.ValidPath(g.Path) || g.Path == ".") {
		l.at(node, "%s: the path %q is not one below the root of the repository; write folder/folder", where, g.Path)
	}
}
